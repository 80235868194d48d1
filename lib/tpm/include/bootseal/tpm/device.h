// A TPM behind a file: /dev/tpmrm0, /dev/tpm0, or a Unix socket on which commands and responses follow each
// other.
#pragma once

#include <filesystem>

#include "bootseal/base/fds.h"
#include "bootseal/tpm/client.h"

namespace bootseal::tpm {

class Device final : public Transport {
 public:
  // An empty path means the kernel's resource manager, else the bare device. not_found when there is neither.
  static Result<Device> open(const std::filesystem::path& path);
  Result<Bytes> transceive(ByteSpan command) override;

 private:
  explicit Device(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace bootseal::tpm
