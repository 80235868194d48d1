#include "bootseal/host/guestd_services.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <future>

#include "bootseal/host/peer_client.h"
#include "bootseal/log/log.h"
#include "guestd_messages.h"
#include "process_watch.h"
#include "qemu_machine.h"
#include "vm_confinement.h"

namespace bootseal::host {
namespace {

constexpr std::size_t kManagementLine = std::size_t{1} << 20;
// guestd tells its generation a few times a second at most.
constexpr LineRate kManagementRate{.per_second = 20, .burst = 200};
constexpr std::chrono::seconds kCallLimit{10};
// Keys and OpenSSL's copies of them; far below what a machine offers.
constexpr std::uint64_t kLockedMemory = std::uint64_t{64} << 20;

// Descriptor numbers in guestd.
constexpr int kStateFd = 3, kKeyFd = 4, kTpmFd = 5, kNbdFd = 6, kManagementFd = 7, kReadyFd = 8,
              kVariablesFd = 9;

class GuestdService final : public GuestService, public std::enable_shared_from_this<GuestdService> {
 public:
  GuestdService(const VmId& vm, const ProcessIdentity& process, Generation generation,
                GuestServiceEvents events)
      : vm_(vm), process_(process), generation_(generation.value), events_(std::move(events)) {}
  ~GuestdService() override {
    if (management_) management_->close();
  }

  Status connect(EventLoop& loop, UniqueFd socket) {
    PeerClient::Handlers handlers;
    handlers.event = [weak = weak_from_this()](const PeerMessage& message) {
      if (const auto self = weak.lock()) self->on_event(message);
    };
    BOOTSEAL_TRY(management_, PeerClient::open(loop, std::move(socket), Dialect::bootseal,
                                               fmt::format("guestd of {}", vm_.to_string()), kManagementLine,
                                               kManagementRate, std::move(handlers)));
    BOOTSEAL_TRY(const json::Value status, management_->call("status", nullptr, kCallLimit));
    BOOTSEAL_TRY(const GuestdStatus now, parse_guestd_status(status));
    if (now.vm != vm_)
      return fail(ErrorCode::conflict,
                  fmt::format("guestd serves {}, not {}", now.vm.to_string(), vm_.to_string()));
    raise(now.generation);
    BOOTSEAL_TRY(watch_, ProcessWatch::start(loop, process_, [weak = weak_from_this()]() {
                   if (const auto self = weak.lock()) self->on_ended();
                 }));
    return {};
  }

  [[nodiscard]] ProcessIdentity process() const override { return process_; }
  [[nodiscard]] Generation generation() const override { return Generation{generation_.load()}; }

  Generation shut_down(std::chrono::milliseconds limit) override {
    const Result<json::Value> asked = management_->call("shutdown", nullptr, limit);
    if (!asked && is_running(process_))
      log::warning("guestd.shutdown_unanswered",
                   {{"vm", vm_.to_string()}, {"reason", asked.error().describe()}});
    const Result<bool> ended = wait_for_end(process_, limit);
    if (!ended || !*ended) {
      log::warning("guestd.killed",
                   {{"vm", vm_.to_string()}, {"pid", static_cast<std::int64_t>(process_.pid)}});
      end_process(process_);
    }
    return generation();
  }

 private:
  void raise(Generation seen) {
    std::uint64_t known = generation_.load();
    while (seen.value > known && !generation_.compare_exchange_weak(known, seen.value)) {
    }
  }

  void on_event(const PeerMessage& message) {
    Result<GuestdEvent> event = parse_guestd_event(message);
    if (!event) return;
    if (event->kind == GuestdEvent::Kind::generation) {
      raise(event->generation);
      if (events_.generation) events_.generation(generation());
    } else if (event->kind == GuestdEvent::Kind::tpm_failed && events_.tpm_failed) {
      events_.tpm_failed(event->message);
    }
  }

  void on_ended() {
    const auto ended = std::move(events_.ended);
    events_ = {};
    if (ended) ended();
  }

  const VmId vm_;
  const ProcessIdentity process_;
  std::atomic<std::uint64_t> generation_;
  GuestServiceEvents events_;  // loop thread only, after connect()
  std::shared_ptr<PeerClient> management_;
  std::unique_ptr<ProcessWatch> watch_;
};

Status hand_over_key(UniqueFd pipe, const crypto::Secret& key) {
  return write_all(pipe.get(), key.view());
}

Result<UniqueFd> memory_file(ByteSpan content) {
  UniqueFd fd(::memfd_create("bootseal-variables", MFD_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "making a memory file");
  BOOTSEAL_TRY_STATUS(write_all_at(fd.get(), content, 0));
  return fd;
}

// A socket that the VM's processes may connect to.
Result<UniqueFd> listen_for(const std::filesystem::path& path, uid_t uid) {
  BOOTSEAL_TRY(UniqueFd fd, listen_unix(path));
  if (::geteuid() == 0 && ::lchown(path.c_str(), uid, uid) != 0)
    return fail_errno(errno, fmt::format("giving {} to uid {}", path.native(), uid));
  return fd;
}

class GuestdServices final : public GuestServices {
 public:
  GuestdServices(GuestdOptions options, EventLoop& loop) : options_(std::move(options)), loop_(loop) {
    if (options_.program.empty()) options_.program = options_.paths.programs / "bootseal-guestd";
  }

  Result<Generation> manufacture(const GuestServiceConfig& config, crypto::Secret key, Generation after,
                                 ByteSpan variables,
                                 const std::function<Result<TpmCertificates>(const TpmPublicKeys&)>& certify,
                                 std::chrono::milliseconds limit) override {
    Result<Generation> made = make(config, std::move(key), after, variables, certify, limit);
    if (!made) ::unlink(config.guest_state.c_str());
    return made;
  }

  Result<Generation> set_secure_boot(const GuestServiceConfig& config, crypto::Secret key, Generation minimum,
                                     bool secure_boot) override {
    BOOTSEAL_TRY(const UniqueFd state_fd, open_file(config.guest_state, O_RDWR | O_NOFOLLOW));
    BOOTSEAL_TRY(Pipe key_pipe, make_pipe());
    BOOTSEAL_TRY(Pipe ready, make_pipe());
    Command command =
        guestd_command("secure-boot", config,
                       {"--value", secure_boot ? "on" : "off", "--minimum-generation",
                        std::to_string(minimum.value), "--state-fd", std::to_string(kStateFd), "--key-fd",
                        std::to_string(kKeyFd), "--ready-fd", std::to_string(kReadyFd)});
    command.fds = {
        {kStateFd, state_fd.get()}, {kKeyFd, key_pipe.read_end.get()}, {kReadyFd, ready.write_end.get()}};
    BOOTSEAL_TRY_STATUS(confine(command, config));
    BOOTSEAL_TRY(const UniqueFd program, open_file(options_.program, O_PATH));
    command.program_fd = program.get();
    BOOTSEAL_TRY(const ProcessIdentity process, spawn(command));
    key_pipe.read_end.reset();
    ready.write_end.reset();
    static_cast<void>(hand_over_key(std::move(key_pipe.write_end), key));
    Result<Generation> generation = wait_ready(ready.read_end.get(), options_.ready_limit);
    end_process(process);  // what it told is on disk
    return generation;
  }

  Result<std::shared_ptr<GuestService>> serve(
      const GuestServiceConfig& config, crypto::Secret key, Generation minimum, GuestServiceEvents events,
      const std::function<void(const ProcessIdentity&)>& started) override {
    Result<UniqueFd> state = open_file(config.guest_state, O_RDWR | O_NOFOLLOW);
    if (!state && state.error().code == ErrorCode::not_found) {
      return fail(ErrorCode::guest_state_missing,
                  fmt::format("the guest state file {} is missing; nothing was started or changed. Put the "
                              "file back from a backup, or make a new TPM and new variables for this virtual "
                              "machine with: bootseal vm reset-guest-state {}",
                              config.guest_state.native(), config.name));
    }
    BOOTSEAL_TRY(const UniqueFd state_fd, std::move(state));
    BOOTSEAL_TRY(Pipe key_pipe, make_pipe());
    BOOTSEAL_TRY(Pipe ready, make_pipe());
    std::optional<UniqueFd> tpm, nbd, management;
    BOOTSEAL_TRY(tpm, listen_for(config.run_folder / "tpm.sock", config.uid));
    BOOTSEAL_TRY(nbd, listen_for(config.run_folder / "nbd.sock", config.uid));
    BOOTSEAL_TRY(management, listen_unix(config.run_folder / "guestd.sock"));
    Command command =
        guestd_command("serve", config,
                       {"--minimum-generation", std::to_string(minimum.value), "--state-fd",
                        std::to_string(kStateFd), "--key-fd", std::to_string(kKeyFd), "--tpm-fd",
                        std::to_string(kTpmFd), "--nbd-fd", std::to_string(kNbdFd), "--management-fd",
                        std::to_string(kManagementFd), "--ready-fd", std::to_string(kReadyFd)});
    command.fds = {
        {kStateFd, state_fd.get()}, {kKeyFd, key_pipe.read_end.get()},  {kTpmFd, tpm->get()},
        {kNbdFd, nbd->get()},       {kManagementFd, management->get()}, {kReadyFd, ready.write_end.get()}};
    BOOTSEAL_TRY_STATUS(confine(command, config));
    BOOTSEAL_TRY(const UniqueFd program, open_file(options_.program, O_PATH));
    command.program_fd = program.get();
    BOOTSEAL_TRY(const ProcessIdentity process, spawn(command));
    started(process);
    key_pipe.read_end.reset();
    ready.write_end.reset();
    // A listening socket that only guestd holds ends with guestd.
    tpm.reset();
    nbd.reset();
    management.reset();
    Result<std::shared_ptr<GuestService>> service = [&]() -> Result<std::shared_ptr<GuestService>> {
      // Whether guestd took the key is seen from what it says.
      static_cast<void>(hand_over_key(std::move(key_pipe.write_end), key));
      BOOTSEAL_TRY(const Generation generation, wait_ready(ready.read_end.get(), options_.ready_limit));
      auto made = std::make_shared<GuestdService>(config.vm, process, generation, std::move(events));
      BOOTSEAL_TRY(UniqueFd socket, connect_checked(config.run_folder / "guestd.sock", {::geteuid()}));
      BOOTSEAL_TRY_STATUS(made->connect(loop_, std::move(socket)));
      return std::shared_ptr<GuestService>(made);
    }();
    if (!service) end_process(process);
    return service;
  }

  Result<std::shared_ptr<GuestService>> attach(const GuestServiceConfig& config,
                                               const ProcessIdentity& process,
                                               GuestServiceEvents events) override {
    if (!is_running(process))
      return fail(ErrorCode::not_found, fmt::format("the guestd process {} has ended", process.pid));
    auto service = std::make_shared<GuestdService>(config.vm, process, Generation{}, std::move(events));
    BOOTSEAL_TRY(UniqueFd socket, connect_checked(config.run_folder / "guestd.sock", {::geteuid()}));
    BOOTSEAL_TRY_STATUS(service->connect(loop_, std::move(socket)));
    return std::shared_ptr<GuestService>(service);
  }

 private:
  [[nodiscard]] Command guestd_command(std::string_view verb, const GuestServiceConfig& config,
                                       std::vector<std::string> more) const {
    Command command;
    command.arguments = {options_.program.native(), std::string(verb), "--vm-id", config.vm.to_string()};
    command.arguments.insert(command.arguments.end(), std::make_move_iterator(more.begin()),
                             std::make_move_iterator(more.end()));
    command.environment = {{"BOOTSEAL_HOME", options_.paths.home.native()}};
    command.working_folder = "/";
    command.new_session = true;
    return command;
  }

  Status confine(Command& command, const GuestServiceConfig& config) const {
    BOOTSEAL_TRY(command.before_exec, confine_in_home(options_.paths, config.uid, std::nullopt,
                                                      {{config.run_folder, false}}, kLockedMemory));
    return {};
  }

  Result<Generation> make(const GuestServiceConfig& config, crypto::Secret key, Generation after,
                          ByteSpan variables,
                          const std::function<Result<TpmCertificates>(const TpmPublicKeys&)>& certify,
                          std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    BOOTSEAL_TRY(const UniqueFd state_fd,
                 open_file(config.guest_state, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    BOOTSEAL_TRY(Pipe key_pipe, make_pipe());
    BOOTSEAL_TRY(Pipe ready, make_pipe());
    BOOTSEAL_TRY(SocketPair management, make_socket_pair());
    BOOTSEAL_TRY(const UniqueFd variables_fd, memory_file(variables));
    std::vector<std::string> more{"--vm-name",       config.name,
                                  "--state-fd",      std::to_string(kStateFd),
                                  "--key-fd",        std::to_string(kKeyFd),
                                  "--variables-fd",  std::to_string(kVariablesFd),
                                  "--management-fd", std::to_string(kManagementFd),
                                  "--ready-fd",      std::to_string(kReadyFd)};
    if (after.value != 0) {
      more.emplace_back("--after-generation");
      more.push_back(std::to_string(after.value));
    }
    Command command = guestd_command("manufacture", config, std::move(more));
    command.fds = {{kStateFd, state_fd.get()},
                   {kKeyFd, key_pipe.read_end.get()},
                   {kVariablesFd, variables_fd.get()},
                   {kManagementFd, management.second.get()},
                   {kReadyFd, ready.write_end.get()}};
    BOOTSEAL_TRY_STATUS(confine(command, config));
    BOOTSEAL_TRY(const UniqueFd program, open_file(options_.program, O_PATH));
    command.program_fd = program.get();
    BOOTSEAL_TRY(const ProcessIdentity process, spawn(command));
    key_pipe.read_end.reset();
    ready.write_end.reset();
    management.second.reset();
    static_cast<void>(hand_over_key(std::move(key_pipe.write_end), key));
    const Result<Generation> made =
        wait_manufactured(std::move(management.first), ready.read_end.get(), process, certify, deadline);
    end_process(process);  // it has ended already when all went well
    BOOTSEAL_TRY(const Generation generation, made);
    if (::fsync(state_fd.get()) != 0) return fail_errno(errno, "flushing the new guest state");
    return generation;
  }

  static std::chrono::milliseconds left_until(std::chrono::steady_clock::time_point deadline) {
    return std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(
                                                      deadline - std::chrono::steady_clock::now()));
  }

  // Ready or refused, then the certificates, then the end of the process. Returns the generation that guestd
  // ended with.
  Result<Generation> wait_manufactured(
      UniqueFd socket, int ready, const ProcessIdentity& process,
      const std::function<Result<TpmCertificates>(const TpmPublicKeys&)>& certify,
      std::chrono::steady_clock::time_point deadline) {
    const auto wanted = std::make_shared<std::promise<Result<TpmPublicKeys>>>();
    const auto told = std::make_shared<std::atomic<bool>>(false);
    PeerClient::Handlers handlers;
    handlers.event = [wanted, told](const PeerMessage& message) {
      if (message.name == "certificates.wanted" && !told->exchange(true))
        wanted->set_value(parse_certificates_wanted(message.content));
    };
    handlers.closed = [wanted, told](const Error&) {
      if (!told->exchange(true))
        wanted->set_value(fail(ErrorCode::unavailable, "guestd ended while it made the guest state"));
    };
    // Stays open until guestd has ended: guestd gives up when its peer goes away.
    BOOTSEAL_TRY(const auto client,
                 PeerClient::open(loop_, std::move(socket), Dialect::bootseal, "guestd (manufacture)",
                                  kManagementLine, kManagementRate, std::move(handlers)));
    BOOTSEAL_TRY_STATUS(wait_ready(ready, left_until(deadline)));
    auto future = wanted->get_future();
    if (future.wait_for(left_until(deadline)) != std::future_status::ready)
      return fail(ErrorCode::timeout, "guestd did not make the TPM's keys in time");
    BOOTSEAL_TRY(const TpmPublicKeys keys, future.get());
    BOOTSEAL_TRY(const TpmCertificates certificates, certify(keys));
    BOOTSEAL_TRY(const json::Value finished,
                 client->call("certificates", certificates_json(certificates),
                              std::max(left_until(deadline), std::chrono::milliseconds(1))));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(finished, "guestd's answer"));
    BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
    BOOTSEAL_TRY(const bool ended, wait_for_end(process, left_until(deadline)));
    if (!ended) return fail(ErrorCode::timeout, "guestd did not end after it made the guest state");
    return Generation{generation};
  }

  GuestdOptions options_;
  EventLoop& loop_;
};

}  // namespace

std::unique_ptr<GuestServices> create_guestd_services(GuestdOptions options, EventLoop& loop) {
  return std::make_unique<GuestdServices>(std::move(options), loop);
}

}  // namespace bootseal::host
