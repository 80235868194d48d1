// tpm_relay SOCKET: joins standard input and output with the TPM behind a control socket, for the "cmd" TCTI
// of tpm2-tools.
#include <poll.h>
#include <unistd.h>

#include <array>

#include "support.h"

int main(int count, char** values) {
  using namespace bootseal;
  if (count != 2) return 2;
  guest::test::ControlClient control{std::filesystem::path(values[1])};
  const guest::test::Socket data = control.open_data_channel();
  std::array<std::byte, 4096> buffer{};
  for (;;) {
    std::array<pollfd, 2> polled{{{STDIN_FILENO, POLLIN, 0}, {data.fd(), POLLIN, 0}}};
    if (::poll(polled.data(), polled.size(), -1) < 0) return 1;
    for (const auto& [from, to] : {std::pair{0, data.fd()}, std::pair{1, STDOUT_FILENO}}) {
      const auto& entry = polled[static_cast<std::size_t>(from)];
      if (entry.revents == 0) continue;
      const ssize_t size = ::read(entry.fd, buffer.data(), buffer.size());
      if (size <= 0) return 0;
      if (!write_all(to, ByteSpan(buffer).first(static_cast<std::size_t>(size)))) return 1;
    }
  }
}
