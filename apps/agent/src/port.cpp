#include "port.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace bootseal::agent {
namespace {

constexpr unsigned kKernelEvents = 1;  // multicast group of uevents that the kernel itself sends
constexpr std::size_t kMaximumEvent = 8 << 10;
// Not every event need reach us (the socket's buffer is finite), so the folder is looked at now and then as
// well.
constexpr std::chrono::seconds kLookAgain{10};

Result<UniqueFd> open_kernel_events() {
  UniqueFd events(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!events.valid()) return fail_errno(errno, "opening the kernel's device events");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelEvents;
  if (bind(events.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno(errno, "listening to the kernel's device events");
  }
  return events;
}

void drain(int events) {
  std::array<std::byte, kMaximumEvent> event;
  while (recv(events, event.data(), event.size(), 0) > 0 || errno == EINTR || errno == ENOBUFS) {
  }
}

}  // namespace

std::optional<std::filesystem::path> find_port(const std::filesystem::path& class_folder,
                                               std::string_view name) {
  constexpr std::size_t kMaximumName = 256;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(class_folder, error)) {
    const auto content = read_file(entry.path() / "name", kMaximumName);
    if (!content) continue;
    std::string_view found = as_text(*content);
    if (found.ends_with('\n')) found.remove_suffix(1);
    if (found == name) return std::filesystem::path("/dev") / entry.path().filename();
  }
  return std::nullopt;
}

Result<std::filesystem::path> wait_for_port(const std::filesystem::path& class_folder,
                                            std::string_view name) {
  // Listening before looking: an event between the two is not lost.
  BOOTSEAL_TRY(const UniqueFd events, open_kernel_events());
  while (true) {
    if (auto found = find_port(class_folder, name)) {
      if (access(found->c_str(), F_OK) == 0) return *std::move(found);
    }
    BOOTSEAL_TRY_STATUS(wait_readable(events.get(), kLookAgain));
    drain(events.get());
  }
}

Result<UniqueFd> open_port(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_socket(path, ignored)) return connect_unix(path);
  auto port = open_file(path, O_RDWR | O_NOCTTY);
  if (!port) return tl::unexpected(port.error().wrap("the agent's port"));
  return port;
}

}  // namespace bootseal::agent
