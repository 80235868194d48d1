#include "stack.h"

#include <fmt/format.h>
#include <slirp/libslirp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "bootseal/base/fds.h"

namespace bootseal::netd {
namespace {

in_addr address_of(Ipv4Address address) {
  return {htonl(address.value)};
}

sockaddr_un unix_address(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

std::int64_t clock_ns(void*) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// libslirp's only timer announces IPv6 routers, and there is no IPv6.
void* no_timer(SlirpTimerCb, void*, void*) {
  return nullptr;
}

// What a guest does wrong is the guest's business.
void ignore_guest_error(const char*, void*) {}

const SlirpCb& callbacks(SlirpWriteCb send) {
  static const SlirpCb kCallbacks = [send]() {
    SlirpCb table{};
    table.send_packet = send;
    table.guest_error = &ignore_guest_error;
    table.clock_get_ns = &clock_ns;
    table.timer_new = &no_timer;
    table.timer_free = [](void*, void*) {};
    table.timer_mod = [](void*, std::int64_t, void*) {};
    table.register_poll_fd = [](int, void*) {};
    table.unregister_poll_fd = [](int, void*) {};
    table.notify = [](void*) {};
    return table;
  }();
  return kCallbacks;
}

}  // namespace

Result<std::unique_ptr<Stack>> Stack::create(const Interface& interface,
                                             std::function<void(ByteSpan frame)> send) {
  std::unique_ptr<Stack> stack(new Stack(std::move(send)));
  SlirpConfig config{};
  config.version = 4;
  config.in_enabled = true;
  config.vnetwork = address_of(interface.subnet.address);
  config.vnetmask = {htonl(interface.subnet.mask())};
  config.vhost = address_of(interface.gateway);
  config.vdhcp_start = address_of(interface.address);
  config.vnameserver = address_of(dns_server(interface));
  config.disable_host_loopback = true;
  const auto send_packet = [](const void* data, std::size_t size, void* opaque) -> ssize_t {
    static_cast<Stack*>(opaque)->send_({static_cast<const std::byte*>(data), size});
    return static_cast<ssize_t>(size);
  };
  stack->slirp_ = slirp_new(&config, &callbacks(send_packet), stack.get());
  if (stack->slirp_ == nullptr)
    return fail(ErrorCode::internal, fmt::format("libslirp does not take the subnet {} of {}",
                                                 interface.subnet.to_string(), interface.nic_id));
  return stack;
}

Stack::~Stack() {
  if (slirp_ != nullptr) slirp_cleanup(slirp_);
}

void Stack::input(ByteSpan frame) {
  slirp_input(slirp_, reinterpret_cast<const std::uint8_t*>(frame.data()), static_cast<int>(frame.size()));
}

Status Stack::open_port(const std::string& name, Ipv4Address guest, std::uint16_t port) {
  const sockaddr_un from = unix_address(name);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr = address_of(guest);
  to.sin_port = htons(port);
  ::unlink(name.c_str());
  errno = 0;
  if (slirp_add_hostxfwd(slirp_, reinterpret_cast<const sockaddr*>(&from), sizeof(from),
                         reinterpret_cast<const sockaddr*>(&to), sizeof(to), 0) == 0)
    return {};
  return fail_errno(errno, fmt::format("making the way to port {} of the guest", port));
}

void Stack::close_port(const std::string& name) {
  const sockaddr_un from = unix_address(name);
  slirp_remove_hostxfwd(slirp_, reinterpret_cast<const sockaddr*>(&from), sizeof(from), 0);
  ::unlink(name.c_str());
}

void Stack::prepare(PollSet& set, std::uint32_t& milliseconds) {
  const auto add = [](int fd, int events, void* opaque) {
    const auto wanted = [&](int flag, int poll_flag) { return (events & flag) != 0 ? poll_flag : 0; };
    return static_cast<PollSet*>(opaque)->add(
        fd, static_cast<short>(wanted(SLIRP_POLL_IN, POLLIN) | wanted(SLIRP_POLL_OUT, POLLOUT) |
                               wanted(SLIRP_POLL_PRI, POLLPRI)));
  };
  slirp_pollfds_fill(slirp_, &milliseconds, add, &set);
}

void Stack::handle(PollSet& set) {
  const auto events = [](int index, void* opaque) {
    const int seen = static_cast<PollSet*>(opaque)->events_of(index);
    const auto told = [&](int poll_flag, int flag) { return (seen & poll_flag) != 0 ? flag : 0; };
    return told(POLLIN, SLIRP_POLL_IN) | told(POLLOUT, SLIRP_POLL_OUT) | told(POLLPRI, SLIRP_POLL_PRI) |
           told(POLLERR, SLIRP_POLL_ERR) | told(POLLHUP, SLIRP_POLL_HUP);
  };
  slirp_pollfds_poll(slirp_, 0, events, &set);
}

}  // namespace bootseal::netd
