#include "bootseal/tpm/device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace bootseal::tpm {
namespace {

constexpr std::size_t kMaximumResponse = 4096, kResponseHeader = 10;

}  // namespace

Result<Device> Device::open(const std::filesystem::path& path) {
  if (!path.empty()) {
    std::error_code ignored;
    auto fd = std::filesystem::is_socket(path, ignored) ? connect_unix(path) : open_file(path, O_RDWR);
    if (!fd) return tl::unexpected(fd.error().wrap("the TPM"));
    return Device(*std::move(fd));
  }
  for (const char* device : {"/dev/tpmrm0", "/dev/tpm0"}) {
    auto fd = open_file(device, O_RDWR);
    if (fd) return Device(*std::move(fd));
    if (fd.error().code != ErrorCode::not_found) return tl::unexpected(fd.error().wrap("the TPM"));
  }
  return fail(ErrorCode::not_found, "this machine has no TPM 2.0 (neither /dev/tpmrm0 nor /dev/tpm0)");
}

Result<Bytes> Device::transceive(ByteSpan command) {
  BOOTSEAL_TRY_STATUS(write_all(fd_.get(), command));
  Bytes response(kMaximumResponse);
  std::size_t received = 0;
  // The kernel gives a response in one piece; a socket may give it in several.
  for (std::size_t wanted = kResponseHeader; received < wanted;) {
    const ssize_t count = read(fd_.get(), response.data() + received, response.size() - received);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, "reading the TPM's response");
    if (count == 0) return fail(ErrorCode::unavailable, "the TPM closed its connection");
    received += static_cast<std::size_t>(count);
    if (received >= kResponseHeader) wanted = load_be32(response, 2);
    if (wanted < kResponseHeader || wanted > response.size() || received > wanted) {
      return fail(ErrorCode::corrupt,
                  fmt::format("a TPM response of {} bytes says it has {}", received, wanted));
    }
  }
  response.resize(received);
  return response;
}

}  // namespace bootseal::tpm
