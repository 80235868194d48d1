#include "nic.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace bootseal::netd {
namespace {

constexpr std::size_t kMostQueued = std::size_t{1} << 20;
constexpr std::size_t kReadSize = 65536;
constexpr int kClientsAtOnce = 32;
constexpr std::size_t kMostFlows = 1024;
constexpr std::uint16_t kFirstFlowPort = 49152;
constexpr std::chrono::seconds kFlowLife{120};
constexpr std::size_t kMostAnswers = 1024;
constexpr std::chrono::seconds kAnswerLife{5};

sockaddr_in socket_address(Ipv4Address address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = htonl(address.value);
  result.sin_port = htons(port);
  return result;
}

}  // namespace

// Packets to an own address come from that address; no packet is sent.
bool HostAddresses::contains(Ipv4Address address) {
  const auto now = std::chrono::steady_clock::now();
  const auto known = answers_.find(address);
  if (known != answers_.end() && now < known->second.until) return known->second.own;
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to = socket_address(address, 9);
  sockaddr_in from{};
  socklen_t size = sizeof(from);
  // No route: it is not the host's, and libslirp tells the guest.
  const bool own = fd.valid() &&
                   ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 &&
                   ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&from), &size) == 0 &&
                   from.sin_addr.s_addr == to.sin_addr.s_addr;
  if (answers_.size() >= kMostAnswers) answers_.clear();
  answers_[address] = {own, now + kAnswerLife};
  return own;
}

Result<std::unique_ptr<Nic>> Nic::create(Interface interface, std::size_t index) {
  std::unique_ptr<Nic> nic(new Nic(std::move(interface), index));
  BOOTSEAL_TRY(nic->stack_,
               Stack::create(nic->interface_, [raw = nic.get()](ByteSpan frame) { raw->send(frame); }));
  return nic;
}

Status Nic::update(Interface interface) {
  if (!interface_.same_hardware(interface))
    return fail(
        ErrorCode::conflict,
        fmt::format("{} cannot change its addresses while the virtual machine runs", interface_.nic_id));
  interface_ = std::move(interface);
  return {};
}

void Nic::link(UniqueFd qemu) {
  qemu_ = std::move(qemu);
  ::fcntl(qemu_.get(), F_SETFL, O_NONBLOCK);
  splitter_ = {};
  queue_.clear();
}

std::string Nic::socket_name(std::uint16_t port) const {
  return fmt::format("netd-{}-{}.sock", number_, port);
}

Status Nic::open(Opening opening, UniqueFd socket) {
  if (ports_.size() >= kMostOpenings && !ports_.contains(opening))
    return fail(ErrorCode::exhausted, fmt::format("{} ports are open already", kMostOpenings));
  if (::fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno(errno, "preparing a socket");
  if (opening.protocol == Protocol::tcp && !ports_.contains(opening))
    BOOTSEAL_TRY_STATUS(stack_->open_port(socket_name(opening.port), interface_.address, opening.port));
  ports_[opening].socket = std::move(socket);
  return {};
}

void Nic::close(Opening opening) {
  if (ports_.erase(opening) == 0) return;
  if (opening.protocol == Protocol::tcp) stack_->close_port(socket_name(opening.port));
  std::erase_if(flows_, [&](const auto& flow) { return flow.second.opening == opening; });
}

json::Value Nic::status() const {
  json::Array openings;
  for (const auto& [opening, port] : ports_) {
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    if (::getsockname(port.socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) continue;
    openings.push_back(json::Object{{"protocol", protocol_name(opening.protocol)},
                                    {"address", Ipv4Address{ntohl(address.sin_addr.s_addr)}.to_string()},
                                    {"port", opening.port}});
  }
  return json::Object{{"nicId", interface_.nic_id},
                      {"linked", is_linked()},
                      {"connections", connections_.size()},
                      {"openings", std::move(openings)}};
}

void Nic::prepare(PollSet& set, std::uint32_t& milliseconds) {
  qemu_index_ = -1;
  if (qemu_.valid())
    qemu_index_ = set.add(qemu_.get(), static_cast<short>(POLLIN | (queue_.empty() ? 0 : POLLOUT)));
  for (auto& [opening, port] : ports_) port.index = set.add(port.socket.get(), POLLIN);
  stack_->prepare(set, milliseconds);
  connections_.prepare(set, milliseconds);
}

void Nic::handle(PollSet& set) {
  stack_->handle(set);
  const short events = set.events_of(qemu_index_);
  if ((events & POLLOUT) != 0) flush();
  if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) receive();
  connections_.handle(set);
  for (auto& [opening, port] : ports_) {
    if ((set.events_of(port.index) & POLLIN) == 0) continue;
    if (opening.protocol == Protocol::tcp) {
      accept_clients(opening, port.socket.get());
    } else {
      receive_datagrams(opening, port.socket.get());
    }
  }
}

// A frame that QEMU has no room for is lost, as on any network.
void Nic::send(ByteSpan frame) {
  if (!qemu_.valid() || queue_.size() + frame.size() > kMostQueued) return;
  append(queue_, frame_length(frame.size()));
  append(queue_, frame);
  flush();
}

void Nic::flush() {
  while (!queue_.empty() && qemu_.valid()) {
    const ssize_t done = ::send(qemu_.get(), queue_.data(), queue_.size(), MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return;  // full, or gone: then receive() sees it
    queue_.erase(queue_.begin(), queue_.begin() + done);
  }
}

void Nic::receive() {
  std::array<std::byte, kReadSize> buffer;
  const ssize_t got = ::recv(qemu_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const bool good = got > 0 && splitter_.feed(ByteSpan(buffer).first(static_cast<std::size_t>(got)),
                                              [this](ByteSpan frame) { on_frame(frame); });
  // hostd connects it again, if QEMU is there.
  if (!good) qemu_.reset();
}

void Nic::on_frame(ByteSpan frame) {
  const std::optional<Packet> packet = parse_packet(frame);
  if (packet && is_answer(*packet)) return;
  if (judge(interface_, frame, [this](Ipv4Address address) { return host_.contains(address); }) ==
      Verdict::pass)
    stack_->input(frame);
}

// A datagram of the guest to a client of one of its open ports.
bool Nic::is_answer(const Packet& packet) {
  if (packet.protocol != Protocol::udp || packet.later_fragment || packet.source != interface_.address ||
      packet.destination != interface_.gateway)
    return false;
  const auto flow = flows_.find(packet.destination_port);
  if (flow == flows_.end() || flow->second.opening.port != packet.source_port) return false;
  const auto port = ports_.find(flow->second.opening);
  if (port == ports_.end()) return false;
  flow->second.last = std::chrono::steady_clock::now();
  const sockaddr_in to = socket_address(flow->second.client, flow->second.client_port);
  static_cast<void>(::sendto(port->second.socket.get(), packet.payload.data(), packet.payload.size(),
                             MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), sizeof(to)));
  return true;
}

void Nic::accept_clients(Opening opening, int socket) {
  for (int i = 0; i < kClientsAtOnce; ++i) {
    sockaddr_in from{};
    socklen_t size = sizeof(from);
    UniqueFd client(::accept4(socket, reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC));
    if (!client.valid()) return;
    const bool allowed =
        inbound_allowed(interface_, Protocol::tcp, {ntohl(from.sin_addr.s_addr)}, opening.port);
    if (allowed && connections_.add(std::move(client), socket_name(opening.port))) continue;
    if (!client.valid()) continue;
    // Refused, not closed: the client learns it at once.
    const linger reset{1, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
}

void Nic::receive_datagrams(Opening opening, int socket) {
  std::array<std::byte, kReadSize> buffer;
  for (int i = 0; i < kClientsAtOnce; ++i) {
    sockaddr_in from{};
    socklen_t size = sizeof(from);
    const ssize_t got = ::recvfrom(socket, buffer.data(), buffer.size(), MSG_DONTWAIT,
                                   reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) return;
    const Ipv4Address client{ntohl(from.sin_addr.s_addr)};
    if (static_cast<std::size_t>(got) > kLargestPayload ||
        !inbound_allowed(interface_, Protocol::udp, client, opening.port))
      continue;
    const std::optional<std::uint16_t> port = flow_port(opening, client, ntohs(from.sin_port));
    if (port)
      send(make_datagram(interface_, *port, opening.port,
                         ByteSpan(buffer).first(static_cast<std::size_t>(got))));
  }
}

std::optional<std::uint16_t> Nic::flow_port(Opening opening, Ipv4Address client, std::uint16_t port) {
  const auto now = std::chrono::steady_clock::now();
  for (auto& [number, flow] : flows_) {
    if (flow.opening != opening || flow.client != client || flow.client_port != port) continue;
    flow.last = now;
    return number;
  }
  if (flows_.size() >= kMostFlows)
    std::erase_if(flows_, [&](const auto& flow) { return now - flow.second.last > kFlowLife; });
  if (flows_.size() >= kMostFlows) return std::nullopt;
  std::uint16_t number = 0;
  do {
    number = static_cast<std::uint16_t>(kFirstFlowPort + next_flow_);
    next_flow_ = static_cast<std::uint16_t>((next_flow_ + 1) % (65536 - kFirstFlowPort));
  } while (flows_.contains(number));
  flows_[number] = {opening, client, port, now};
  return number;
}

}  // namespace bootseal::netd
