#include "qemu_machine.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "bootseal/host/qemu_command.h"
#include "bootseal/log/log.h"
#include "display_text.h"

namespace bootseal::host {
namespace {

constexpr std::size_t kQmpLine = std::size_t{1} << 20;
constexpr std::size_t kAgentLine = std::size_t{2} << 20;
// QEMU itself limits the events that a guest causes to about one a second of each kind.
constexpr LineRate kQmpRate{.per_second = 20, .burst = 200};
constexpr LineRate kAgentRate{.per_second = 20, .burst = 100};
constexpr std::size_t kConsoleInput = 64 * 1024;
constexpr std::chrono::seconds kReconnectDelay{5};
constexpr std::chrono::seconds kLogInterval{5};
constexpr std::chrono::seconds kDumpLimit{120};

constexpr std::size_t kShortText = 200;
constexpr std::size_t kLastWords = 600;

std::string short_text(std::string_view text) {
  return display_text(text, kShortText);
}

}  // namespace

Result<AgentHello> parse_agent_hello(const json::Value& event) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(event, "the agent's hello"));
  AgentHello hello;
  BOOTSEAL_TRY(const std::string version, reader.string("agentVersion"));
  BOOTSEAL_TRY(const std::string kernel, reader.string_or("kernelRelease", ""));
  BOOTSEAL_TRY(const std::string system, reader.string_or("osName", ""));
  BOOTSEAL_TRY(const std::string boot, reader.string_or("bootId", ""));
  return AgentHello{short_text(version), short_text(kernel), short_text(system), short_text(boot)};
}

Result<UniqueFd> connect_checked(const std::filesystem::path& path, std::initializer_list<uid_t> owners) {
  BOOTSEAL_TRY(UniqueFd socket, connect_unix(path));
  BOOTSEAL_TRY(const PeerCredentials peer, peer_credentials(socket.get()));
  if (std::ranges::find(owners, peer.uid) == owners.end()) {
    return fail(ErrorCode::permission_denied,
                fmt::format("{} was made by uid {}: it is not used", path.native(), peer.uid));
  }
  return socket;
}

QemuMachine::~QemuMachine() {
  if (qmp_) qmp_->close();
  if (agent_) agent_->close();
  if (serial_) serial_->close();
}

Status QemuMachine::connect(std::chrono::milliseconds limit, bool fresh) {
  if (!fresh) console_.reset(console_file_.read());
  logs_ = LogKeeper::start(loop_, pool_, kLogInterval, {console_file_, hypervisor_log_});
  BOOTSEAL_TRY_STATUS(connect_qmp(limit));
  BOOTSEAL_TRY_STATUS(connect_console());
  BOOTSEAL_TRY_STATUS(connect_agent());
  if (fresh) {
    drop_first_sets();
  } else {
    greet_agent();
  }
  // Last: `ended` comes only for a machine that the caller was given.
  BOOTSEAL_TRY(watch_, ProcessWatch::start(loop_, process_, [weak = weak_from_this()]() {
                 if (const auto self = weak.lock()) self->on_ended();
               }));
  return {};
}

Status QemuMachine::connect_qmp(std::chrono::milliseconds limit) {
  BOOTSEAL_TRY(UniqueFd socket, connect_checked(config_.run_folder / "qmp.sock", {::geteuid(), config_.uid}));
  const auto greeted = std::make_shared<std::promise<Status>>();
  const auto told = std::make_shared<std::atomic<bool>>(false);
  PeerClient::Handlers handlers;
  handlers.event = [weak = weak_from_this(), greeted, told](const PeerMessage& message) {
    if (message.kind == PeerMessage::Kind::greeting) {
      if (!told->exchange(true)) greeted->set_value({});
      return;
    }
    if (const auto self = weak.lock()) self->on_qmp_event(message);
  };
  handlers.closed = [greeted, told](const Error& reason) {
    if (!told->exchange(true)) greeted->set_value(tl::unexpected(reason));
  };
  BOOTSEAL_TRY(qmp_, PeerClient::open(loop_, std::move(socket), Dialect::qmp,
                                      fmt::format("QMP of {}", config_.vm.to_string()), kQmpLine, kQmpRate,
                                      std::move(handlers)));
  auto future = greeted->get_future();
  if (future.wait_for(limit) != std::future_status::ready)
    return fail(ErrorCode::timeout, fmt::format("QEMU did not answer within {} ms", limit.count()));
  BOOTSEAL_TRY_STATUS(future.get());
  BOOTSEAL_TRY_STATUS(execute("qmp_capabilities", nullptr));
  return {};
}

Status QemuMachine::connect_console() {
  BOOTSEAL_TRY(UniqueFd socket,
               connect_checked(config_.run_folder / "serial.sock", {::geteuid(), config_.uid}));
  StreamChannel::Handlers handlers;
  handlers.data = [weak = weak_from_this()](std::string_view data) {
    if (const auto self = weak.lock()) self->on_console_data(data);
  };
  handlers.closed = [weak = weak_from_this()](const Error&) {
    if (const auto self = weak.lock()) self->reconnect_later("console", &QemuMachine::connect_console);
  };
  BOOTSEAL_TRY(auto channel,
               StreamChannel::open(loop_, std::move(socket), kConsoleInput, std::move(handlers)));
  const std::lock_guard lock(mutex_);
  serial_ = std::move(channel);
  return {};
}

Status QemuMachine::connect_agent() {
  BOOTSEAL_TRY(UniqueFd socket,
               connect_checked(config_.run_folder / "agent.sock", {::geteuid(), config_.uid}));
  PeerClient::Handlers handlers;
  handlers.event = [weak = weak_from_this()](const PeerMessage& message) {
    if (const auto self = weak.lock()) self->on_agent_event(message);
  };
  handlers.closed = [weak = weak_from_this()](const Error&) {
    if (const auto self = weak.lock()) self->reconnect_later("agent", &QemuMachine::connect_agent);
  };
  BOOTSEAL_TRY(auto client, PeerClient::open(loop_, std::move(socket), Dialect::bootseal,
                                             fmt::format("the agent of {}", config_.vm.to_string()),
                                             kAgentLine, kAgentRate, std::move(handlers)));
  const std::lock_guard lock(mutex_);
  agent_ = std::move(client);
  return {};
}

void QemuMachine::reconnect_later(std::string_view which, Status (QemuMachine::*open_channel)()) {
  loop_.post_after(kReconnectDelay, [weak = weak_from_this(), which = std::string(which), open_channel]() {
    const auto self = weak.lock();
    if (!self || self->ended_) return;
    self->pool_.post([self, which, open_channel]() {
      const Status connected = (*self.*open_channel)();
      if (connected) return;
      log::warning("machine.reconnect_failed", {{"vm", self->config_.vm.to_string()},
                                                {"channel", which},
                                                {"reason", connected.error().describe()}});
      if (!self->ended_) self->reconnect_later(which, open_channel);
    });
  });
}

Result<json::Value> QemuMachine::execute(std::string_view command, const json::Value& arguments,
                                         std::chrono::milliseconds limit) {
  return qmp_->call(command, arguments, limit);
}

Status QemuMachine::resume() {
  BOOTSEAL_TRY_STATUS(execute("cont", nullptr));
  return {};
}

Status QemuMachine::pause() {
  BOOTSEAL_TRY_STATUS(execute("stop", nullptr));
  return {};
}

Status QemuMachine::press_power_button() {
  BOOTSEAL_TRY_STATUS(execute("system_powerdown", nullptr));
  return {};
}

Status QemuMachine::dump_memory(const std::filesystem::path& file) {
  const json::Object arguments{
      {"val", 0}, {"size", low_memory_bytes(config_.memory_mib)}, {"filename", file.native()}};
  BOOTSEAL_TRY_STATUS(execute("pmemsave", arguments, kDumpLimit));
  return {};
}

void QemuMachine::kill() {
  if (const Status sent = signal_process(process_, SIGKILL); !sent) {
    log::error("machine.kill_failed", {{"vm", config_.vm.to_string()}, {"reason", sent.error().describe()}});
  }
}

bool QemuMachine::wait_ended(std::chrono::milliseconds limit) {
  const Result<bool> ended = wait_for_end(process_, limit);
  return ended && *ended;
}

std::string QemuMachine::last_words() const {
  const std::string content = hypervisor_log_.read();
  std::string_view text = content;
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (text.size() > kLastWords) text.remove_prefix(text.size() - kLastWords);
  return display_text(text, kLastWords);
}

void QemuMachine::type_on_console(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (serial_) serial_->send(std::string(text));
}

void QemuMachine::ask_agent(std::string_view method, const json::Value& parameters,
                            std::chrono::milliseconds limit, std::function<void(Result<json::Value>)> done) {
  const std::lock_guard lock(mutex_);
  agent_->call_async(method, parameters, limit, std::move(done));
}

void QemuMachine::greet_agent() {
  const std::lock_guard lock(mutex_);
  if (agent_) agent_->notify("hello");
}

void QemuMachine::on_qmp_event(const PeerMessage& event) {
  if (ended_) return;
  if (event.name == "SHUTDOWN") {
    std::string reason = "unknown";
    bool by_guest = false;
    if (Result<json::Reader> reader = json::Reader::object(event.content, "SHUTDOWN")) {
      reason = short_text(reader->string_or("reason", reason).value_or(reason));
      by_guest = reader->boolean_or("guest", false).value_or(false);
    }
    if (events_.shutdown) events_.shutdown(reason, by_guest);
  } else if (event.name == "RESET" && events_.reset) {
    events_.reset();
  }
}

void QemuMachine::on_console_data(std::string_view data) {
  console_.append(data);
  since_trim_ += data.size();
  if (since_trim_ > kConsoleLogBytes / 4) {
    since_trim_ = 0;
    logs_->look();
  }
  if (!ended_ && events_.serial) events_.serial();
}

void QemuMachine::on_agent_event(const PeerMessage& event) {
  if (ended_ || event.name != "hello" || !events_.agent_hello) return;
  const Result<AgentHello> hello = parse_agent_hello(event.content);
  if (hello) events_.agent_hello(*hello);
}

void QemuMachine::on_ended() {
  if (ended_.exchange(true)) return;
  const auto ended = std::move(events_.ended);
  events_ = {};
  if (ended) ended();
}

}  // namespace bootseal::host
