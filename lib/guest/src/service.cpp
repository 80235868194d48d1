#include "service.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <cerrno>

#include "bootseal/log/log.h"

namespace bootseal::guest {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxNbdClients = 4;
constexpr std::size_t kMaxManagementClients = 8;
constexpr std::size_t kMaxTpmOutput = std::size_t{1} << 20;  // then nothing more is read from that client
constexpr std::size_t kMaxManagementOutput = std::size_t{1} << 20;  // then the client is dropped
constexpr milliseconds kAnnouncementInterval{200};
constexpr milliseconds kLastWordsLimit{2000};

constexpr std::string_view kDirections[] = {"none", "outgoing", "incoming"};  // in the order of Migration

Result<json::Value> read_description(StateKeeper& keeper) {
  BOOTSEAL_TRY(const std::optional<Bytes> text, keeper.read(Blob::description));
  if (!text) return json::Value(json::Object{});
  auto description = json::parse(as_text(*text));
  if (!description) {
    return fail(ErrorCode::guest_state_damaged, "the description in the guest state is no JSON",
                description.error());
  }
  return *std::move(description);
}

}  // namespace

Result<std::unique_ptr<Service>> Service::create(std::unique_ptr<GuestState> state, ServeOptions options) {
  auto keeper = std::make_unique<StateKeeper>(std::move(state));
  BOOTSEAL_TRY(const std::optional<Bytes> tpm, keeper->read(Blob::tpm_permanent));
  if (!tpm) {
    return fail(
        ErrorCode::guest_state_missing,
        "the guest state holds no TPM; it was not manufactured to the end. Delete the VM and create it "
        "again");
  }
  BOOTSEAL_TRY(VariableFlash flash, VariableFlash::load(*keeper));
  BOOTSEAL_TRY(json::Value description, read_description(*keeper));
  for (const UniqueFd* listener :
       {&options.tpm_listener, &options.nbd_listener, &options.management_listener})
    BOOTSEAL_TRY_STATUS(make_nonblocking(listener->get()));
  BOOTSEAL_TRY(const PeerCredentials maker, peer_credentials(options.management_listener.get()));
  BOOTSEAL_TRY_STATUS(keeper->advance());
  std::unique_ptr<Service> service(
      new Service(std::move(keeper), std::move(flash), std::move(description), std::move(options)));
  service->management_uid_ = maker.uid;
  return service;
}

Service::Service(std::unique_ptr<StateKeeper> keeper, VariableFlash flash, json::Value description,
                 ServeOptions options)
    : options_(std::move(options)),
      keeper_(std::move(keeper)),
      flash_(std::move(flash)),
      engine_(*keeper_, TpmEngine::WhenMissing::refuse,
              [this](const std::string& message) {
                failure_sent_ = true;
                send_event("tpm.failed", {{"message", message}});
              }),
      description_(std::move(description)),
      announced_(keeper_->generation()) {}

Status Service::run() {
  if (options_.on_ready) BOOTSEAL_TRY_STATUS(options_.on_ready(keeper_->generation()));
  while (!stopped_) {
    BOOTSEAL_TRY_STATUS(wait());
    const Time now = std::chrono::steady_clock::now();
    if (polled_.events_of(options_.signals.get()) != 0) {
      stop();
      break;
    }
    serve_data(now);  // before control, which may bring in a data channel with the number of one just closed
    serve_control();
    serve_nbd(now);
    serve_management();
    accept_clients();
    meet_deadlines(std::chrono::steady_clock::now());
  }
  announce_generation(std::chrono::steady_clock::now(), true);
  send_the_rest();
  return *stopped_;
}

Status Service::wait() {
  polled_.clear();
  polled_.watch(options_.signals.get(), true, false);
  polled_.watch(options_.tpm_listener.get(), true, false);
  if (nbd_.size() < kMaxNbdClients) polled_.watch(options_.nbd_listener.get(), true, false);
  if (management_.size() < kMaxManagementClients)
    polled_.watch(options_.management_listener.get(), true, false);
  if (control_) polled_.watch(control_->connection, control_->connection.output().size() < kMaxTpmOutput);
  if (data_) polled_.watch(data_->connection, data_->connection.output().size() < kMaxTpmOutput);
  for (const NbdClient& client : nbd_)
    polled_.watch(client.connection, client.connection.output().size() <= NbdSession::kOutputLimit);
  for (const ManagementClient& client : management_) polled_.watch(client.connection, true);

  return polled_.wait(next_deadline(), "waiting for QEMU and hostd");
}

std::optional<Service::Time> Service::next_deadline() const {
  std::optional<Time> next = flash_.deadline();
  const auto also = [&](std::optional<Time> other) {
    if (other && (!next || *other < *next)) next = other;
  };
  if (data_) also(data_->session.deadline());
  if (keeper_->generation() != announced_) also(last_announcement_ + kAnnouncementInterval);
  return next;
}

void Service::serve_data(Time now) {
  if (!data_) return;
  bool alive = true;
  if (polled_.has_input(data_->connection)) {
    const auto received = data_->connection.receive();
    alive = received.has_value();
    if (alive) data_->session.receive(*received, data_->connection.output());
  }
  data_->session.give_up_if_late(now, data_->connection.output());
  if (!alive || !data_->connection.send_pending()) data_.reset();
  if (!data_ && !control_) engine_.shut_down_if_due();  // QEMU ended without a word
}

void Service::serve_control() {
  if (!control_) return;
  bool alive = true;
  if (polled_.has_input(control_->connection)) {
    auto received = control_->connection.receive_with_fd();
    alive = received.has_value();
    if (alive)
      control_->session.receive(received->data, std::move(received->fd), control_->connection.output());
  }
  if (!alive || !control_->connection.send_pending()) control_.reset();
  if (!data_ && !control_) engine_.shut_down_if_due();
}

bool Service::take_data_channel(UniqueFd fd) {
  int type = 0;
  socklen_t size = sizeof(type);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return false;
  if (data_ && !data_->connection.hung_up()) return false;
  data_ = std::make_unique<DataClient>(DataClient{Connection(std::move(fd)), TpmDataSession(engine_)});
  return true;
}

TpmResult Service::prepare_for_state() {
  state_came_in_ = true;
  return kTpmSuccess;
}

TpmResult Service::power_on(bool) {  // volatile state is kept in memory for one INIT, whatever its flag says
  // One announcement, one take-over: what came in is used up or refused by this INIT.
  if (std::exchange(state_came_in_, false)) migration_ = Migration::none;
  return engine_.power_on();
}

Result<json::Value> Service::announce_migration(const json::Value& parameters) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(parameters, "the parameters of migration"));
  BOOTSEAL_TRY(const std::string direction, reader.string("direction"));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  const auto* found = std::find(std::begin(kDirections), std::end(kDirections), direction);
  if (found == std::end(kDirections)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the migration's direction '{}' is none of none, outgoing and incoming",
                            direction.substr(0, 64)));
  }
  const auto wanted = static_cast<Migration>(found - std::begin(kDirections));
  if (wanted == Migration::incoming && engine_.running()) {
    return fail(ErrorCode::conflict,
                "the TPM is running; an incoming migration is announced before the VM's QEMU goes on");
  }
  migration_ = wanted;
  log::info("guestd.migration_announced", {{"vm", options_.vm.to_string()}, {"direction", direction}});
  return json::Value{{"direction", direction}, {"generation", keeper_->generation().value}};
}

void Service::serve_nbd(Time now) {
  for (auto client = nbd_.begin(); client != nbd_.end();) {
    Connection& connection = client->connection;
    bool alive = true;
    if (polled_.has_input(connection)) {
      const auto received = connection.receive();
      alive = received.has_value();
      if (alive) client->session.receive(*received, now, connection.output());
    }
    while (alive) {
      const bool full = connection.output().size() > NbdSession::kOutputLimit;
      alive = connection.send_pending();
      if (!full || connection.output().size() > NbdSession::kOutputLimit) break;
      client->session.receive({}, now, connection.output());  // requests that had to wait
    }
    if (alive && !client->session.open() && connection.output().empty()) alive = false;
    if (alive) {
      ++client;
      continue;
    }
    client = nbd_.erase(client);
    static_cast<void>(flash_.flush());  // a failure is remembered and reported by the keeper
  }
}

void Service::serve_management() {
  for (auto client = management_.begin(); client != management_.end();) {
    bool alive = true;
    if (polled_.has_input(client->connection)) {
      const auto received = client->connection.receive();
      alive = received && client->lines.append(*received);
      while (alive) {
        const auto line = client->lines.next();
        if (!line) break;
        handle_request(*client, *line);
      }
    }
    if (alive) alive = client->connection.send_pending();
    if (alive && client->connection.output().size() > kMaxManagementOutput) {
      log::warning("management.client_dropped", {{"message", "it does not read what it is sent"}});
      alive = false;
    }
    client = alive ? std::next(client) : management_.erase(client);
  }
}

void Service::accept_clients() {
  if (polled_.events_of(options_.tpm_listener.get()) != 0) {
    // One client at a time; a second one is turned away at once, so that it does not wait for an answer.
    while (auto socket = accept_client(options_.tpm_listener.get())) {
      if (control_) continue;
      control_ = std::make_unique<ControlClient>(
          ControlClient{Connection(*std::move(socket)), TpmControlSession(engine_, *this)});
    }
  }
  if (polled_.events_of(options_.nbd_listener.get()) != 0 && nbd_.size() < kMaxNbdClients) {
    if (auto socket = accept_client(options_.nbd_listener.get())) {
      nbd_.push_back({Connection(*std::move(socket)), NbdSession(flash_)});
      append(nbd_.back().connection.output(), NbdSession::greeting());
    }
  }
  if (polled_.events_of(options_.management_listener.get()) != 0 &&
      management_.size() < kMaxManagementClients) {
    if (auto socket = accept_client(options_.management_listener.get())) {
      const auto peer = peer_credentials(socket->get());
      if (peer && (peer->uid == 0 || peer->uid == management_uid_)) {
        management_.push_back({Connection(*std::move(socket)), LineBuffer()});
      } else {
        log::warning("management.client_refused", {{"uid", peer ? std::int64_t{peer->uid} : -1}});
      }
    }
  }
}

void Service::handle_request(ManagementClient& client, std::string_view line) {
  const auto answer = [&](const std::string& text) { append(client.connection.output(), as_bytes(text)); };
  const Result<ManagementRequest> request = parse_management_request(line);
  if (!request) return answer(management_error(0, request.error()));
  if (request->method == "status") return answer(management_result(request->id, status()));
  if (request->method == "migration") {
    const auto announced = announce_migration(request->parameters);
    return answer(announced ? management_result(request->id, *announced)
                            : management_error(request->id, announced.error()));
  }
  if (request->method == "shutdown") {
    stop();
    if (!*stopped_) return answer(management_error(request->id, stopped_->error()));
    return answer(management_result(request->id, {{"generation", keeper_->generation().value}}));
  }
  answer(management_error(
      request->id, Error{ErrorCode::not_found,
                         fmt::format("there is no method '{}'; there are status, migration and shutdown",
                                     request->method.substr(0, 64)),
                         nullptr}));
}

json::Value Service::status() const {
  return {{"vmId", options_.vm.to_string()},
          {"generation", keeper_->generation().value},
          {"tpm",
           {{"running", engine_.running()},
            {"commands", engine_.commands()},
            {"commits", keeper_->tpm_commits()}}},
          {"variables", {{"commits", keeper_->variable_commits()}}},
          {"migration", kDirections[static_cast<std::size_t>(migration_)]},
          {"description", description_}};
}

void Service::meet_deadlines(Time now) {
  if (const auto due = flash_.deadline(); due && *due <= now) static_cast<void>(flash_.flush());
  if (keeper_->failure() && !std::exchange(failure_sent_, true))
    send_event("tpm.failed", {{"message", keeper_->failure()->describe()}});
  announce_generation(now, false);
}

void Service::announce_generation(Time now, bool at_once) {
  const Generation generation = keeper_->generation();
  if (generation == announced_ || (!at_once && now - last_announcement_ < kAnnouncementInterval)) return;
  announced_ = generation;
  last_announcement_ = now;
  send_event("generation", {{"generation", generation.value}});
}

void Service::send_event(std::string_view event, json::Object fields) {
  const std::string line = management_event(event, std::move(fields));
  for (ManagementClient& client : management_) {
    append(client.connection.output(), as_bytes(line));
    static_cast<void>(client.connection.send_pending());  // a client that is gone is noticed by poll()
  }
}

void Service::stop() {
  if (stopped_) return;
  engine_.power_off();
  stopped_ = flash_.flush();
  if (keeper_->failure()) stopped_ = tl::unexpected(*keeper_->failure());
  log::info("guestd.stopped", {{"vm", options_.vm.to_string()}, {"generation", keeper_->generation().value}});
}

// What management clients have not taken yet, as far as they take it soon.
void Service::send_the_rest() {
  const Time deadline = std::chrono::steady_clock::now() + kLastWordsLimit;
  for (;;) {
    management_.remove_if([](ManagementClient& client) {
      return !client.connection.send_pending() || client.connection.output().empty();
    });
    if (management_.empty() || std::chrono::steady_clock::now() >= deadline) return;
    polled_.clear();
    for (const ManagementClient& client : management_) polled_.watch(client.connection, false);
    if (!polled_.wait(deadline, "sending the last words")) return;
  }
}

Status serve(std::unique_ptr<GuestState> state, ServeOptions options) {
  BOOTSEAL_TRY(const std::unique_ptr<Service> service, Service::create(std::move(state), std::move(options)));
  return service->run();
}

}  // namespace bootseal::guest
