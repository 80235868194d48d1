#include "bootseal/host/netd_networks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "bootseal/host/qemu_command.h"
#include "bootseal/log/log.h"
#include "process_watch.h"
#include "qemu_machine.h"
#include "vm_confinement.h"

namespace bootseal::host {
namespace {

using netd::Interface;
using netd::Opening;

constexpr int kControlFd = 3;
constexpr std::chrono::milliseconds kCallLimit{5000};
constexpr std::size_t kLargestAnswer = std::size_t{1} << 20;

// Requests to netd, one at a time, with a socket beside them.
class Control {
 public:
  Control(const VmId& vm, UniqueFd socket) : name_("netd of " + vm.to_string()), socket_(std::move(socket)) {}

  Result<json::Value> call(std::string_view method, const json::Value& parameters, const UniqueFd* socket) {
    const std::string line = format_request(Dialect::bootseal, ++last_id_, method, parameters) + "\n";
    const Status sent = socket != nullptr ? send_with_fd(socket_.get(), as_bytes(line), socket->get())
                                          : write_all(socket_.get(), as_bytes(line));
    if (!sent) return fail(ErrorCode::unavailable, fmt::format("{}: {}", name_, sent.error().describe()));
    BOOTSEAL_TRY(const std::string text, read_line());
    BOOTSEAL_TRY(PeerMessage answer, parse_peer_message(Dialect::bootseal, text));
    if (answer.kind != PeerMessage::Kind::answer || answer.id != last_id_)
      return fail(ErrorCode::corrupt, fmt::format("{} answered another question", name_));
    if (answer.error) return tl::unexpected(answer.error->wrap(name_));
    return std::move(answer.content);
  }

 private:
  Result<std::string> read_line() {
    const auto deadline = std::chrono::steady_clock::now() + kCallLimit;
    std::string text;
    while (!text.ends_with('\n')) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      BOOTSEAL_TRY(const bool readable,
                   wait_readable(socket_.get(), std::max(left, std::chrono::milliseconds(0))));
      if (!readable) return fail(ErrorCode::timeout, fmt::format("{} does not answer", name_));
      std::array<char, 65536> buffer;
      const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (got <= 0 || text.size() > kLargestAnswer)
        return fail(ErrorCode::unavailable, fmt::format("{} closed the connection", name_));
      text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    text.pop_back();
    return text;
  }

  const std::string name_;
  UniqueFd socket_;
  std::uint64_t last_id_ = 0;
};

struct OpenPort {
  Opening opening;
  netd::Ipv4Address address;
};
struct LinkStatus {
  bool linked = false;
  std::vector<OpenPort> ports;
};

Result<std::vector<LinkStatus>> parse_netd_status(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "netd's status"));
  BOOTSEAL_TRY(std::vector<json::Reader> interfaces, reader.objects("interfaces"));
  std::vector<LinkStatus> result;
  for (json::Reader& interface : interfaces) {
    LinkStatus status;
    BOOTSEAL_TRY(status.linked, interface.boolean("linked"));
    BOOTSEAL_TRY(std::vector<json::Reader> openings, interface.objects("openings"));
    for (json::Reader& opening : openings) {
      OpenPort port;
      BOOTSEAL_TRY(const std::string protocol, opening.string("protocol"));
      BOOTSEAL_TRY(const std::string address, opening.string("address"));
      BOOTSEAL_TRY(const std::uint64_t number, opening.unsigned_integer("port"));
      port.opening = {protocol == "Tcp" ? netd::Protocol::tcp : netd::Protocol::udp,
                      static_cast<std::uint16_t>(number)};
      BOOTSEAL_TRY(port.address, netd::Ipv4Address::parse(address));
      status.ports.push_back(port);
    }
    result.push_back(std::move(status));
  }
  return result;
}

json::Object port_parameters(std::size_t index, Opening opening) {
  return {{"interface", index}, {"protocol", netd::protocol_name(opening.protocol)}, {"port", opening.port}};
}

class NetdNetwork final : public VmNetwork {
 public:
  NetdNetwork(NetworkConfig config, const ProcessIdentity& process, UniqueFd control)
      : config_(std::move(config)), process_(process), control_(config_.vm, std::move(control)) {}

  Status watch(EventLoop& loop, std::function<void()> ended) {
    BOOTSEAL_TRY(watch_, ProcessWatch::start(loop, process_, std::move(ended)));
    return {};
  }

  [[nodiscard]] ProcessIdentity process() const override { return process_; }

  Result<std::vector<InterfaceStatus>> apply(const std::vector<Interface>& interfaces) override {
    json::Array texts;
    for (const Interface& interface : interfaces) texts.push_back(netd::to_json(interface));
    BOOTSEAL_TRY_STATUS(control_.call("configure", json::Object{{"interfaces", std::move(texts)}}, nullptr));
    BOOTSEAL_TRY(const json::Value now, control_.call("status", nullptr, nullptr));
    BOOTSEAL_TRY(const std::vector<LinkStatus> links, parse_netd_status(now));
    if (links.size() != interfaces.size())
      return fail(ErrorCode::conflict, "netd has other interfaces than the virtual machine");
    std::vector<InterfaceStatus> result;
    for (std::size_t i = 0; i < interfaces.size(); ++i) {
      if (!links[i].linked) BOOTSEAL_TRY_STATUS(link(i));
      BOOTSEAL_TRY(InterfaceStatus status, apply_ports(i, interfaces[i], links[i].ports));
      result.push_back(std::move(status));
    }
    return result;
  }

  void end() override {
    watch_.reset();
    end_process(process_);
  }

 private:
  Status link(std::size_t index) {
    BOOTSEAL_TRY(const UniqueFd qemu,
                 connect_checked(interface_socket(config_.run_folder, index), {::geteuid(), config_.uid}));
    BOOTSEAL_TRY_STATUS(control_.call("link", json::Object{{"interface", index}}, &qemu));
    return {};
  }

  Result<InterfaceStatus> apply_ports(std::size_t index, const Interface& interface,
                                      const std::vector<OpenPort>& open) {
    netd::OpeningPlan plan = netd::plan_openings(interface);
    InterfaceStatus status{interface.nic_id, "user", {}, std::move(plan.problems), false};
    for (const OpenPort& port : open) {
      const bool wanted = port.address == interface.public_address &&
                          std::ranges::find(plan.openings, port.opening) != plan.openings.end();
      if (!wanted) BOOTSEAL_TRY_STATUS(control_.call("close", port_parameters(index, port.opening), nullptr));
    }
    for (const Opening opening : plan.openings) {
      const netd::Ipv4Address address = *interface.public_address;
      const bool is_open = std::ranges::any_of(
          open, [&](const OpenPort& port) { return port.opening == opening && port.address == address; });
      if (!is_open) {
        const Result<UniqueFd> socket = open_public_port(address, opening, status.try_again);
        if (!socket) {
          status.problems.push_back(socket.error().message);
          continue;
        }
        BOOTSEAL_TRY_STATUS(control_.call("open", port_parameters(index, opening), &*socket));
      }
      status.forwards.push_back({opening.protocol, address, opening.port, opening.port});
    }
    return status;
  }

  const NetworkConfig config_;
  const ProcessIdentity process_;
  Control control_;
  std::unique_ptr<ProcessWatch> watch_;
};

class NetdNetworks final : public Networks {
 public:
  NetdNetworks(NetdOptions options, EventLoop& loop) : options_(std::move(options)), loop_(loop) {
    if (options_.program.empty()) options_.program = options_.paths.programs / "bootseal-netd";
  }

  Result<std::shared_ptr<VmNetwork>> start(
      const NetworkConfig& config, std::function<void()> ended,
      const std::function<void(const ProcessIdentity&)>& started) override {
    BOOTSEAL_TRY(UniqueFd control, listen_unix(socket_of(config)));
    Command command;
    command.arguments = {options_.program.native(), "--vm-id", config.vm.to_string(), "--control-fd",
                         std::to_string(kControlFd)};
    command.environment.emplace();
    // The names of its sockets are relative: a name in a deep folder would be too long for one.
    command.working_folder = config.run_folder / "own";
    command.fds = {{kControlFd, control.get()}};
    command.new_session = true;
    BOOTSEAL_TRY(command.before_exec, confine_in_home(options_.paths, config.uid, std::nullopt,
                                                      {{config.run_folder, false}}, 0, NetworkView::host));
    BOOTSEAL_TRY(const UniqueFd program, open_file(options_.program, O_PATH));
    command.program_fd = program.get();
    BOOTSEAL_TRY(const ProcessIdentity process, spawn(command));
    started(process);
    // The listening socket ends with netd.
    control.reset();
    Result<std::shared_ptr<VmNetwork>> network = attach(config, process, std::move(ended));
    if (!network) end_process(process);
    return network;
  }

  Result<std::shared_ptr<VmNetwork>> attach(const NetworkConfig& config, const ProcessIdentity& process,
                                            std::function<void()> ended) override {
    if (!is_running(process))
      return fail(ErrorCode::not_found, fmt::format("the netd process {} has ended", process.pid));
    BOOTSEAL_TRY(UniqueFd control, connect_checked(socket_of(config), {::geteuid()}));
    auto network = std::make_shared<NetdNetwork>(config, process, std::move(control));
    BOOTSEAL_TRY_STATUS(network->watch(loop_, std::move(ended)));
    return std::shared_ptr<VmNetwork>(network);
  }

 private:
  static std::filesystem::path socket_of(const NetworkConfig& config) {
    return config.run_folder / "netd.sock";
  }

  NetdOptions options_;
  EventLoop& loop_;
};

std::string reason_of(int problem, bool& passing) {
  switch (problem) {
    case EADDRINUSE:
      passing = true;
      return "another program of this host has it; end that, or use another port or address (it is tried "
             "again)";
    case EACCES:
      return "ports below 1024 are root's on this host; use a higher port, run the host as root, or allow it "
             "with: "
             "sysctl net.ipv4.ip_unprivileged_port_start=0";
    case EADDRNOTAVAIL:
      passing = true;
      return "the address is none of this host's; add it to an interface with: ip address add ADDRESS/32 dev "
             "INTERFACE (it is tried again)";
    default:
      passing = true;
      return std::generic_category().message(problem) + " (it is tried again)";
  }
}

}  // namespace

Result<UniqueFd> open_public_port(netd::Ipv4Address address, netd::Opening opening, bool& passing) {
  const bool is_tcp = opening.protocol == netd::Protocol::tcp;
  UniqueFd fd(::socket(AF_INET, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(address.value);
  name.sin_port = htons(opening.port);
  const int on = 1;
  // Connections of an earlier netd that are still being closed do not keep the port.
  const bool open = fd.valid() &&
                    (!is_tcp || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) &&
                    ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 &&
                    (!is_tcp || ::listen(fd.get(), SOMAXCONN) == 0);
  if (open) return fd;
  const int problem = errno;
  return fail(ErrorCode::conflict,
              fmt::format("{} port {} of {} cannot be opened: {}", netd::protocol_name(opening.protocol),
                          opening.port, address.to_string(), reason_of(problem, passing)));
}

std::unique_ptr<Networks> create_netd_networks(NetdOptions options, EventLoop& loop) {
  return std::make_unique<NetdNetworks>(std::move(options), loop);
}

}  // namespace bootseal::host
