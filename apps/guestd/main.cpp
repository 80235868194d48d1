// bootseal-guestd: one VM's guest state, TPM and UEFI variables (docs/architecture.md, "guestd").
//
// Everything comes as inherited descriptors; nothing secret is in the arguments or the environment. Rights
// are given up before the first byte from QEMU is read.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "bootseal/guest/guestd.h"
#include "bootseal/json/json.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"
#include "bootseal/uefi/templates.h"

namespace bootseal::guest {
namespace {

constexpr std::size_t kKeySize = 32;
constexpr int kFirstInheritedFd = 3;

constexpr std::string_view kUsage =
    "usage: bootseal-guestd serve --vm-id ID --minimum-generation N --state-fd N --key-fd N --tpm-fd N "
    "--nbd-fd N\n"
    "                             --management-fd N --ready-fd N\n"
    "       bootseal-guestd manufacture --vm-id ID --vm-name NAME --state-fd N --key-fd N --variables-fd N\n"
    "                             --management-fd N --ready-fd N [--after-generation N]\n"
    "       bootseal-guestd secure-boot --vm-id ID --value on|off --minimum-generation N --state-fd N "
    "--key-fd N\n"
    "                             --ready-fd N\n"
    "       bootseal-guestd --version\n"
    "bootseal-hostd starts it; every descriptor is inherited.\n";

// --name value pairs, each wanted exactly once.
class Arguments {
 public:
  static Result<Arguments> parse(int count, char** values, int first) {
    Arguments arguments;
    for (int i = first; i < count; i += 2) {
      const std::string_view name = values[i];
      if (!name.starts_with("--") || i + 1 == count)
        return fail(ErrorCode::invalid_argument, fmt::format("'{}' is no option with a value", name));
      if (!arguments.values_.emplace(name.substr(2), values[i + 1]).second)
        return fail(ErrorCode::invalid_argument, fmt::format("'{}' is given twice", name));
    }
    return arguments;
  }

  [[nodiscard]] bool has(const std::string& name) const { return values_.contains(name); }
  Result<std::string> text(const std::string& name) {
    const auto found = values_.extract(name);
    if (!found) return fail(ErrorCode::invalid_argument, fmt::format("--{} is missing", name));
    return found.mapped();
  }
  Result<std::uint64_t> number(const std::string& name) {
    BOOTSEAL_TRY(const std::string value, text(name));
    std::uint64_t result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size())
      return fail(ErrorCode::invalid_argument, fmt::format("--{}: '{}' is no whole number", name, value));
    return result;
  }
  // An open descriptor that was inherited.
  Result<UniqueFd> descriptor(const std::string& name) {
    BOOTSEAL_TRY(const std::uint64_t value, number(name));
    const int fd = value > INT_MAX ? -1 : static_cast<int>(value);
    if (fd < kFirstInheritedFd || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("--{}: {} is no inherited descriptor", name, value));
    return UniqueFd(fd);
  }
  Result<VmId> vm_id() {
    BOOTSEAL_TRY(const std::string value, text("vm-id"));
    return VmId::parse(value);
  }
  [[nodiscard]] Status no_others() const {
    if (values_.empty()) return {};
    return fail(ErrorCode::invalid_argument, fmt::format("there is no option --{}", values_.begin()->first));
  }

 private:
  std::map<std::string, std::string> values_;
};

// Reads the key to the end of its pipe; nobody else can read it again.
Result<crypto::Secret> read_key(int fd) {
  crypto::Secret key(kKeySize);
  std::size_t size = 0;
  std::byte surplus{};
  for (;;) {
    const bool full = size == kKeySize;
    const ssize_t count =
        full ? ::read(fd, &surplus, 1) : ::read(fd, key.mutable_view().data() + size, kKeySize - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, "reading the guest-state protection key");
    if (count == 0 && full) return key;
    if (count == 0 || full) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the guest-state protection key must have exactly {} bytes", kKeySize));
    }
    size += static_cast<std::size_t>(count);
  }
}

// SIGTERM and SIGINT as a descriptor.
Result<UniqueFd> block_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno(errno, "blocking signals");
  std::signal(SIGPIPE, SIG_IGN);
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return fail_errno(errno, "making a descriptor for signals");
  return fd;
}

void protect_memory() {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  ::prctl(PR_SET_NAME, "bootseal-guestd", 0, 0, 0);  // hostd runs an open descriptor, which has no name
  constexpr rlimit kNoCore{0, 0};
  ::setrlimit(RLIMIT_CORE, &kNoCore);
  // With a limit, locking what comes later would make allocations fail; keys are locked one by one then
  // (crypto::Secret).
  rlimit locked{};
  const bool unlimited = ::getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur == RLIM_INFINITY;
  if (!unlimited || ::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    log::debug("guestd.memory_not_locked",
               {{"message", "only keys are locked; raise RLIMIT_MEMLOCK to lock all"}});
  }
}

Status send_line(int fd, const json::Object& object) {
  return write_all(fd, as_bytes(json::serialize(object) + "\n"));
}

// Says once whether the start worked.
class Readiness {
 public:
  explicit Readiness(UniqueFd fd) : fd_(std::move(fd)) {}
  Status ready(Generation generation) {
    const UniqueFd fd = std::move(fd_);
    return send_line(fd.get(), {{"event", "ready"}, {"generation", generation.value}});
  }
  void refused(const Error& error) {
    if (!fd_.valid()) return;
    const UniqueFd fd = std::move(fd_);
    static_cast<void>(send_line(
        fd.get(), {{"event", "refused"},
                   {"error", {{"code", error_info(error.code).name}, {"message", error.describe()}}}}));
  }

 private:
  UniqueFd fd_;
};

Status run_serve(Arguments& arguments, Readiness& readiness, UniqueFd signals) {
  ServeOptions options;
  options.signals = std::move(signals);
  BOOTSEAL_TRY(options.vm, arguments.vm_id());
  BOOTSEAL_TRY(const std::uint64_t minimum, arguments.number("minimum-generation"));
  BOOTSEAL_TRY(UniqueFd state_fd, arguments.descriptor("state-fd"));
  BOOTSEAL_TRY(const UniqueFd key_fd, arguments.descriptor("key-fd"));
  BOOTSEAL_TRY(options.tpm_listener, arguments.descriptor("tpm-fd"));
  BOOTSEAL_TRY(options.nbd_listener, arguments.descriptor("nbd-fd"));
  BOOTSEAL_TRY(options.management_listener, arguments.descriptor("management-fd"));
  BOOTSEAL_TRY_STATUS(arguments.no_others());
  BOOTSEAL_TRY(const crypto::Secret key, read_key(key_fd.get()));
  BOOTSEAL_TRY(auto state, GuestState::open(std::move(state_fd), options.vm, key, Generation{minimum}));
  BOOTSEAL_TRY_STATUS(sandbox::install_guestd_filter());
  options.on_ready = [&](Generation generation) { return readiness.ready(generation); };
  return serve(std::move(state), std::move(options));
}

Status run_manufacture(Arguments& arguments, Readiness& readiness, UniqueFd signals) {
  ManufactureOptions options;
  options.signals = std::move(signals);
  BOOTSEAL_TRY(options.vm, arguments.vm_id());
  BOOTSEAL_TRY(options.vm_name, arguments.text("vm-name"));
  if (!is_valid_resource_name(options.vm_name))
    return fail(ErrorCode::invalid_argument,
                fmt::format("--vm-name: '{}' is no name of a VM", options.vm_name));
  BOOTSEAL_TRY(UniqueFd state_fd, arguments.descriptor("state-fd"));
  BOOTSEAL_TRY(const UniqueFd key_fd, arguments.descriptor("key-fd"));
  BOOTSEAL_TRY(options.variables, arguments.descriptor("variables-fd"));
  BOOTSEAL_TRY(options.management, arguments.descriptor("management-fd"));
  std::uint64_t after = 0;
  if (arguments.has("after-generation")) {
    BOOTSEAL_TRY(after, arguments.number("after-generation"));
  }
  BOOTSEAL_TRY_STATUS(arguments.no_others());
  BOOTSEAL_TRY(const crypto::Secret key, read_key(key_fd.get()));
  BOOTSEAL_TRY(auto state, GuestState::format(std::move(state_fd), options.vm, key, Generation{after}));
  BOOTSEAL_TRY_STATUS(sandbox::install_guestd_filter());
  options.on_ready = [&](Generation generation) { return readiness.ready(generation); };
  BOOTSEAL_TRY_STATUS(manufacture(std::move(state), std::move(options)));
  return {};
}

// Changes one variable of a VM that is off, and says the generation when that is on disk.
Status run_secure_boot(Arguments& arguments, Readiness& readiness) {
  BOOTSEAL_TRY(const VmId vm, arguments.vm_id());
  BOOTSEAL_TRY(const std::string value, arguments.text("value"));
  if (value != "on" && value != "off")
    return fail(ErrorCode::invalid_argument, fmt::format("--value: '{}' is neither on nor off", value));
  BOOTSEAL_TRY(const std::uint64_t minimum, arguments.number("minimum-generation"));
  BOOTSEAL_TRY(UniqueFd state_fd, arguments.descriptor("state-fd"));
  BOOTSEAL_TRY(const UniqueFd key_fd, arguments.descriptor("key-fd"));
  BOOTSEAL_TRY_STATUS(arguments.no_others());
  BOOTSEAL_TRY(const crypto::Secret key, read_key(key_fd.get()));
  BOOTSEAL_TRY(const auto state, GuestState::open(std::move(state_fd), vm, key, Generation{minimum}));
  BOOTSEAL_TRY_STATUS(sandbox::install_guestd_filter());
  BOOTSEAL_TRY(const std::optional<Bytes> flash, state->read(Blob::uefi_flash));
  if (!flash) return fail(ErrorCode::guest_state_damaged, "the guest state holds no UEFI variables");
  BOOTSEAL_TRY(const Bytes changed, uefi::with_secure_boot(*flash, value == "on"));
  BOOTSEAL_TRY(const Generation generation, state->commit(Blob::uefi_flash, changed));
  return readiness.ready(generation);
}

int end_with(const Error& error, std::string_view event) {
  log::error(event, {{"code", error_info(error.code).name}, {"message", error.describe()}});
  return error_info(error.code).exit_code;
}

int run(int count, char** values) {
  const std::string_view command = count > 1 ? values[1] : "";
  if (command == "--version") {
    fmt::print("bootseal-guestd {}\n", BOOTSEAL_VERSION);
    return 0;
  }
  if (command == "--help") {
    fmt::print("{}", kUsage);
    return 0;
  }
  if (command != "serve" && command != "manufacture" && command != "secure-boot") {
    fmt::print(stderr, "{}", kUsage);
    return error_info(ErrorCode::invalid_argument).exit_code;
  }
  protect_memory();
  auto arguments = Arguments::parse(count, values, 2);
  if (!arguments) return end_with(arguments.error(), "guestd.refused");
  auto ready_fd = arguments->descriptor("ready-fd");
  if (!ready_fd) return end_with(ready_fd.error(), "guestd.refused");
  Readiness readiness(*std::move(ready_fd));
  const Status outcome = [&]() -> Status {
    if (command == "secure-boot") return run_secure_boot(*arguments, readiness);
    BOOTSEAL_TRY(UniqueFd signals, block_signals());
    return command == "serve" ? run_serve(*arguments, readiness, std::move(signals))
                              : run_manufacture(*arguments, readiness, std::move(signals));
  }();
  if (outcome) return 0;
  readiness.refused(outcome.error());
  return end_with(outcome.error(), "guestd.failed");
}

}  // namespace
}  // namespace bootseal::guest

int main(int count, char** values) {
  bootseal::log::start("guestd");
  return bootseal::guest::run(count, values);
}
