#include "tpm_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bootseal::tpm::testing {
namespace {

constexpr std::uint32_t kQuoteCode = 0x158;

// True when `fd` is readable, false when `stop` is.
bool readable_before(int fd, int stop) {
  pollfd waits[] = {{fd, POLLIN, 0}, {stop, POLLIN, 0}};
  while (poll(waits, 2, -1) < 0) {
  }
  return waits[1].revents == 0;
}

// False when the other end is gone.
bool send_all(int connection, ByteSpan bytes) {
  const ssize_t sent = send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(bytes.size());
}

}  // namespace

TpmServer::TpmServer(SoftwareTpm& tpm, const std::filesystem::path& path,
                     std::function<void(Client&)> before_quote)
    : tpm_(tpm), before_quote_(std::move(before_quote)) {
  auto listener = listen_unix(path);
  auto stop = make_pipe();
  BOOTSEAL_CHECK(listener && stop);
  listener_ = *std::move(listener);
  stop_ = *std::move(stop);
  thread_ = std::thread([this] {
    while (readable_before(listener_.get(), stop_.read_end.get())) {
      const UniqueFd connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.valid()) serve(connection.get());
    }
  });
}

TpmServer::~TpmServer() {
  stop_.write_end.reset();
  thread_.join();
}

void TpmServer::serve(int connection) {
  while (readable_before(connection, stop_.read_end.get())) {
    Bytes command(4096);
    const ssize_t size = read(connection, command.data(), command.size());
    if (size <= 0) return;
    command.resize(static_cast<std::size_t>(size));
    if (before_quote_ && command.size() >= 10 && load_be32(command, 6) == kQuoteCode) {
      Client client(tpm_);
      before_quote_(client);
    }
    const auto response = tpm_.transceive(command);
    // In two pieces, as a stream may.
    if (!response || !send_all(connection, ByteSpan(*response).first(5)) ||
        !send_all(connection, ByteSpan(*response).subspan(5))) {
      return;
    }
  }
}

}  // namespace bootseal::tpm::testing
