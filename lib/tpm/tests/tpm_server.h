// A software TPM behind a Unix socket, as /dev/tpmrm0 would be.
#pragma once

#include <filesystem>
#include <functional>
#include <thread>

#include "bootseal/base/fds.h"
#include "software_tpm.h"

namespace bootseal::tpm::testing {

class TpmServer {
 public:
  // Serves `tpm` on the socket `path`, one connection after the other, until destruction. `before_quote`,
  // when given, runs before each TPM2_Quote, on the server's thread and with the TPM at hand.
  TpmServer(SoftwareTpm& tpm, const std::filesystem::path& path,
            std::function<void(Client&)> before_quote = {});
  ~TpmServer();

 private:
  void serve(int connection);

  SoftwareTpm& tpm_;
  std::function<void(Client&)> before_quote_;
  UniqueFd listener_;
  Pipe stop_;
  std::thread thread_;
};

}  // namespace bootseal::tpm::testing
