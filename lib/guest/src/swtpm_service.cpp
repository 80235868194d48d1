#include "swtpm_service.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "bootseal/crypto/secret.h"

namespace bootseal::guest {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxOutput = std::size_t{1} << 20;  // then nothing more is read from that client
constexpr milliseconds kRememberInterval{200};
// As swtpm 0.7.1, and LOCK_STORAGE.
constexpr std::uint32_t kCapabilities = 0x1FFFF;
// For a TPM 1.2 exactly swtpm's: no framing, and LOCK_STORAGE works unannounced.
constexpr std::uint32_t kCapabilitiesTpm12 = 0x7FFF;
constexpr std::uint32_t kConfigFileKey = 0x1;
constexpr std::uint32_t kConfigMigrationKey = 0x2;

// TPM2_Startup, or TPM_Startup, whose types count from 1 (TCG TPM Main, Part 2, 4.5).
Bytes startup_command(TpmVersion version, SwtpmOptions::Startup startup) {
  const bool tpm2 = version == TpmVersion::v2_0;
  const auto type = static_cast<std::uint16_t>(startup);  // clear 1, state 2, deactivated 3
  ByteWriter command;
  command.be16(tpm2 ? 0x8001 : 0x00C1).be32(12).be32(tpm2 ? 0x144 : 0x99);
  command.be16(tpm2 ? static_cast<std::uint16_t>(type - 1) : type);
  return command.take();
}

}  // namespace

SwtpmService::SwtpmService(SwtpmOptions options)
    : options_(std::move(options)),
      keys_{.file = options_.file_key, .migration = options_.migration_key},
      fixed_data_(options_.data_listener.valid() || options_.data_client.valid()),
      engine_(
          keeper_, TpmEngine::WhenMissing::manufacture,
          [this](const std::string& message) { options_.say(message); }, options_.version) {
  keeper_.check_after_commit([this] { return options_.store->check_current(); });
  engine_.trace(options_.log_level, options_.say);
  if (options_.control_client.valid()) attach_control(std::move(options_.control_client));
  if (options_.data_client.valid()) attach_data(std::move(options_.data_client));
}

Status SwtpmService::run() {
  BOOTSEAL_TRY_STATUS(start());
  if (options_.on_ready) BOOTSEAL_TRY_STATUS(options_.on_ready());
  while (!ending_) {
    BOOTSEAL_TRY_STATUS(wait());
    if (polled_.events_of(options_.signals.get()) != 0) break;
    serve_data();  // before control, which may bring another data channel
    serve_control();
    accept_clients();
    remember(false);
  }
  finish();
  return {};
}

// Without --flags not-need-init (or a startup flag, which implies it) the TPM waits for INIT.
Status SwtpmService::start() {
  if (options_.need_init) return {};
  if (const TpmResult result = power_on(false); result != kTpmSuccess)
    return fail(ErrorCode::unavailable, fmt::format("the TPM could not be started (0x{:x})", result));
  if (options_.startup == SwtpmOptions::Startup::none) return {};
  const Bytes response = engine_.execute(startup_command(options_.version, options_.startup));
  if (const std::uint32_t code = load_be32(response, 6); code != kTpmSuccess)
    options_.say(fmt::format("the startup command was answered with 0x{:x}", code));
  return {};
}

void SwtpmService::finish() {
  engine_.power_off();
  remember(true);
  if (control_) static_cast<void>(control_->connection.send_pending());
}

// The generation, in the file beside the state: written after each commit, before its answer goes out; made
// durable a few times a second at most, and at the end.
bool SwtpmService::is_to_be_remembered() const {
  return options_.store != nullptr && keeper_.has_state() && !keeper_.failure() &&
         keeper_.generation() != remembered_;
}

void SwtpmService::note_generation() {
  if (!is_to_be_remembered() || noted_ == keeper_.generation()) return;
  noted_ = keeper_.generation();
  if (const Status done = options_.store->note(noted_); !done) options_.say(done.error().describe());
}

void SwtpmService::remember(bool at_once) {
  if (!is_to_be_remembered()) return;
  note_generation();
  const Time now = std::chrono::steady_clock::now();
  if (!at_once && now < last_remembered_ + kRememberInterval) return;
  remembered_ = keeper_.generation();
  last_remembered_ = now;
  if (const Status done = options_.store->remember(remembered_); !done) options_.say(done.error().describe());
}

Status SwtpmService::wait() {
  polled_.clear();
  polled_.watch(options_.signals.get(), true, false);
  if (control_) {
    polled_.watch(control_->connection, control_->connection.output().size() < kMaxOutput);
  } else if (options_.control_listener.valid()) {
    polled_.watch(options_.control_listener.get(), true, false);
  }
  if (data_) {
    polled_.watch(data_->connection, data_->connection.output().size() < kMaxOutput);
  } else if (options_.data_listener.valid()) {
    polled_.watch(options_.data_listener.get(), true, false);
  }
  std::optional<Time> deadline = data_ ? data_->session.deadline() : std::nullopt;
  if (is_to_be_remembered())
    deadline = std::min(deadline.value_or(Time::max()), last_remembered_ + kRememberInterval);
  return polled_.wait(deadline, "waiting for the TPM's clients");
}

void SwtpmService::serve_data() {
  if (!data_) return;
  Connection& connection = data_->connection;
  bool alive = true;
  bool answered = false;
  if (polled_.has_input(connection)) {
    const auto received = connection.receive();
    alive = received.has_value();
    if (alive) data_->session.receive(*received, connection.output());
    // A device that hung up gives no data and no end.
    if (alive && received->empty() && (polled_.events_of(connection.fd()) & (POLLHUP | POLLERR)) != 0)
      alive = false;
  }
  if (data_->session.waiting())
    data_->session.give_up_if_late(std::chrono::steady_clock::now(), connection.output());
  answered = !connection.output().empty();
  note_generation();  // a kill after the answer must find it remembered
  if (alive) alive = connection.send_pending();
  if (alive && answered && !options_.keep_connection && connection.output().empty()) alive = false;
  if (alive) return;
  data_.reset();
  if (options_.terminate) ending_ = true;
}

void SwtpmService::serve_control() {
  if (!control_) return;
  bool alive = true;
  if (polled_.has_input(control_->connection)) {
    auto received = control_->connection.receive_with_fd();
    alive = received.has_value();
    if (alive)
      control_->session.receive(received->data, std::move(received->fd), control_->connection.output());
  }
  note_generation();
  if (alive) alive = control_->connection.send_pending();
  if (alive) return;
  control_.reset();
  if (options_.terminate_with_control) ending_ = true;
}

void SwtpmService::accept_clients() {
  if (!control_ && polled_.events_of(options_.control_listener.get()) != 0) {
    if (auto socket = accept_client(options_.control_listener.get())) attach_control(*std::move(socket));
  }
  if (!data_ && polled_.events_of(options_.data_listener.get()) != 0) {
    if (auto socket = accept_client(options_.data_listener.get())) attach_data(*std::move(socket));
  }
}

void SwtpmService::attach_data(UniqueFd fd) {
  const TpmDataProfile profile{
      .framing = options_.version == TpmVersion::v2_0,  // swtpm understands it for this one only
      .set_locality_command = true,
      .allow_set_locality = options_.allow_set_locality,
      .highest_locality = static_cast<std::uint8_t>(options_.reject_locality_4 ? 3 : 4)};
  data_ =
      std::make_unique<DataClient>(DataClient{Connection(std::move(fd)), TpmDataSession(engine_, profile)});
}

void SwtpmService::attach_control(UniqueFd fd) {
  TpmControlProfile profile;
  profile.capabilities = options_.version == TpmVersion::v2_0 ? kCapabilities : kCapabilitiesTpm12;
  profile.configuration =
      (keys_.file != nullptr ? kConfigFileKey : 0U) | (keys_.migration != nullptr ? kConfigMigrationKey : 0U);
  profile.highest_locality = options_.reject_locality_4 ? 3 : 4;
  profile.wrong_order_is_an_error = true;
  profile.keys = &keys_;
  control_ = std::make_unique<ControlClient>(
      ControlClient{Connection(std::move(fd)), TpmControlSession(engine_, *this, profile)});
}

bool SwtpmService::take_data_channel(UniqueFd fd) {
  struct stat status {};
  if (fixed_data_ || ::fstat(fd.get(), &status) != 0 ||
      !(S_ISSOCK(status.st_mode) || S_ISCHR(status.st_mode)))
    return false;
  if (data_ && !data_->connection.hung_up()) return false;
  attach_data(std::move(fd));
  return true;
}

// What swtpm answers when the TPM could not be started: "fail" when another process has the lock, else what
// libtpms says.
TpmResult SwtpmService::not_started() const {
  return options_.version == TpmVersion::v2_0 ? TpmResult{kTpm2ResponseFailure} : kTpmFail;
}

TpmResult SwtpmService::say_failure(const Error& error) {
  options_.say(error.describe());
  if (options_.version == TpmVersion::v1_2) {  // libtpms passes these on for a TPM 1.2 only
    if (error.code == ErrorCode::guest_state_wrong_key) return kTpmDecryptError;
    if (error.code == ErrorCode::invalid_argument) return kTpmBadKeyProperty;
  }
  return error.code == ErrorCode::conflict ? kTpmFail : not_started();
}

bool SwtpmService::is_open() const {
  return keeper_.has_state() && !keeper_.failure() && options_.store->is_current();
}

TpmResult SwtpmService::no_store() {
  options_.say("there is no place for the TPM's state; give --tpmstate dir=FOLDER");
  return not_started();
}

// Opens the state, or opens it again when its file was replaced or took no more changes.
TpmResult SwtpmService::open_state(SwtpmStore::WhenMissing when_missing) {
  if (options_.store == nullptr) return no_store();
  if (is_open()) return kTpmSuccess;
  keeper_.replace(nullptr);
  return take_state(options_.store->open(when_missing));
}

TpmResult SwtpmService::take_state(Result<std::unique_ptr<GuestState>> state) {
  if (!state) return say_failure(state.error());
  keeper_.replace(*std::move(state));
  remembered_ = noted_ = {};                            // open() has tried; the loop says when it could not
  last_remembered_ = std::chrono::steady_clock::now();  // the TPM's first answers do not wait for the flush
  return kTpmSuccess;
}

TpmResult SwtpmService::power_on(bool delete_volatile) {
  using WhenMissing = SwtpmStore::WhenMissing;
  engine_.power_off();
  if (state_came_in_ && !engine_.permanent_came_in()) {
    options_.say(
        "the state that came in has no permanent part that was taken, so the TPM does not start; send it "
        "again, or start bootseal-swtpm again to go on with what is stored");
    return not_started();
  }
  if (const TpmResult result = open_state(state_came_in_ ? WhenMissing::make_for : WhenMissing::make);
      result != kTpmSuccess)
    return result;
  engine_.set_when_missing(keeper_.generation() == kNewSwtpmState ? TpmEngine::WhenMissing::manufacture
                                                                  : TpmEngine::WhenMissing::refuse);
  // What came in over the control channel counts, whatever lies on disk.
  if (state_came_in_) {
    engine_.set_kept_volatile_state({});
  } else if (const TpmResult result = load_volatile(); result != kTpmSuccess) {
    return result;
  }
  const TpmResult result = engine_.power_on();
  if (result == kTpmSuccess) state_came_in_ = false;
  if (result != kTpmSuccess || !delete_volatile) return result;
  if (const Status removed = options_.store->remove_volatile(); !removed) {
    engine_.power_off();
    return say_failure(removed.error());
  }
  return result;
}

TpmResult SwtpmService::load_volatile() {
  auto permanent = keeper_.read(engine_.permanent_blob());
  if (!permanent) return say_failure(permanent.error());
  auto kept = options_.store->read_volatile(permanent->value_or(Bytes()));
  if (*permanent) crypto::wipe(**permanent);
  if (!kept) return say_failure(kept.error());
  if (!kept->ignored_why.empty()) options_.say(kept->ignored_why);
  engine_.set_kept_volatile_state(std::move(kept->state));
  return kTpmSuccess;
}

TpmResult SwtpmService::keep_volatile_state() {
  Bytes state;
  const TpmResult result = engine_.get_state(TpmStateKind::volatile_state, state);
  if (result != kTpmSuccess) return result;
  auto permanent = keeper_.read(engine_.permanent_blob());
  if (!permanent) return say_failure(permanent.error());
  const Status written = options_.store->write_volatile(state, permanent->value_or(Bytes()));
  crypto::wipe(state);
  if (*permanent) crypto::wipe(**permanent);
  return written ? kTpmSuccess : say_failure(written.error());
}

// A state that is there is opened (and so locked); where there is none, INIT makes one for what came in:
// until then it is in memory only, so that a migration that ends early leaves nothing behind.
TpmResult SwtpmService::prepare_for_state() {
  state_came_in_ = true;
  if (options_.store == nullptr) return no_store();
  if (is_open()) return kTpmSuccess;
  keeper_.replace(nullptr);
  auto state = options_.store->open(SwtpmStore::WhenMissing::refuse);
  const bool nothing = !state && (state.error().code == ErrorCode::not_found ||
                                  state.error().code == ErrorCode::guest_state_missing);
  return nothing ? kTpmSuccess : take_state(std::move(state));
}

Status run_swtpm(SwtpmOptions options) {
  SwtpmService service(std::move(options));
  return service.run();
}

}  // namespace bootseal::guest
