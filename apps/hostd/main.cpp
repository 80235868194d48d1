// bootseal-hostd: the virtual machines of one host.
#include <fmt/format.h>
#include <getopt.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <optional>

#include "bootseal/host/api.h"
#include "bootseal/host/disk_tools.h"
#include "bootseal/host/guestd_services.h"
#include "bootseal/host/http_peers.h"
#include "bootseal/host/netd_networks.h"
#include "bootseal/host/qemu_hypervisor.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"
#include "bootseal/sandbox/vm_process.h"

namespace {

using namespace bootseal;

// VMs that start at once share these threads; each start blocks one of them for about a second.
constexpr unsigned kWorkers = 16;
// Questions to attestd wait here: one that is silent takes no thread from the work on VMs.
constexpr unsigned kQuestions = 8;
// Long polls and attestations wait in their handlers.
constexpr std::size_t kHandlers = 32;
constexpr std::size_t kLargestBody = (std::size_t{8} << 20) + 65536;  // a piece of a disk
constexpr std::chrono::milliseconds kStopGrace{3000};

constexpr std::string_view kUsage =
    "usage: bootseal-hostd [--accelerator auto|kvm|tcg] [--boot-deadline SECONDS] [--stop-limit SECONDS]\n"
    "Runs the virtual machines of this host. Folders come from BOOTSEAL_HOME and BOOTSEAL_RUN.\n"
    "As root it keeps CAP_CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, SYS_ADMIN, "
    "IPC_LOCK and NET_BIND_SERVICE.\n";

struct Settings {
  host::AcceleratorChoice accelerator = host::AcceleratorChoice::automatic;
  host::VmOptions options;
};

Result<std::chrono::seconds> seconds(std::string_view name, std::string_view text) {
  unsigned value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || value == 0 || value > 86400) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: '{}' is no number of seconds from 1 to 86400", name, text));
  }
  return std::chrono::seconds(value);
}

Result<std::optional<Settings>> read_arguments(int argc, char** argv) {
  constexpr option kOptions[] = {{"accelerator", required_argument, nullptr, 'a'},
                                 {"boot-deadline", required_argument, nullptr, 'b'},
                                 {"stop-limit", required_argument, nullptr, 's'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  Settings settings;
  for (int choice = 0; (choice = ::getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    const std::string_view value = optarg != nullptr ? optarg : "";
    if (choice == 'a' && value == "kvm") {
      settings.accelerator = host::AcceleratorChoice::kvm;
    } else if (choice == 'a' && value == "tcg") {
      settings.accelerator = host::AcceleratorChoice::tcg;
    } else if (choice == 'b') {
      BOOTSEAL_TRY(settings.options.boot_deadline, seconds("--boot-deadline", value));
    } else if (choice == 's') {
      BOOTSEAL_TRY(settings.options.stop_limit, seconds("--stop-limit", value));
    } else if (choice == 'h') {
      return std::optional<Settings>();
    } else if (choice != 'a' || value != "auto") {
      return fail(ErrorCode::invalid_argument, "the arguments are not understood; see --help");
    }
  }
  if (optind != argc)
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' is not understood; see --help", argv[optind]));
  return std::optional(settings);
}

// The name by which the control plane and the vault know this host; made at the first start.
Result<std::string> host_identity(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "host.json";
  const Result<Bytes> text = read_file(file, 65536);
  if (!text && text.error().code != ErrorCode::not_found) return tl::unexpected(text.error());
  if (!text) {
    const std::string id = Guid::random().to_string();
    BOOTSEAL_TRY_STATUS(replace_file(file, as_bytes(json::serialize_pretty(json::Object{{"hostId", id}}))));
    return id;
  }
  BOOTSEAL_TRY(const json::Value value, json::parse(as_text(*text)));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, file.native()));
  BOOTSEAL_TRY(const std::string id, reader.string("hostId"));
  BOOTSEAL_TRY(const Guid guid, Guid::parse(id));
  return guid.to_string();
}

Status serve(const Settings& settings) {
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  const std::filesystem::path folder = paths.folder_of("hostd");
  BOOTSEAL_TRY_STATUS(make_folder(paths.home, 0711));
  BOOTSEAL_TRY_STATUS(make_folder(paths.run, 0711));
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  // Everybody may connect; who may call is decided by the uid.
  BOOTSEAL_TRY(UniqueFd listener, listen_unix(paths.socket_of("hostd"), 0666));
  BOOTSEAL_TRY_STATUS(sandbox::enter_hostd());
  BOOTSEAL_TRY(const std::string host_id, host_identity(folder));

  BOOTSEAL_TRY(const auto loop, host::EventLoop::start());
  host::WorkerPool pool(kWorkers);
  host::WorkerPool questions(kQuestions);
  host::QemuOptions qemu;
  qemu.paths = paths;
  qemu.host_id = host_id;
  qemu.accelerator = settings.accelerator;
  const host::Firmware firmware = qemu.firmware;
  BOOTSEAL_TRY(const auto hypervisor, host::create_qemu_hypervisor(std::move(qemu), *loop, pool));
  const auto guests = host::create_guestd_services({paths, {}, std::chrono::seconds(30)}, *loop);
  BOOTSEAL_TRY(const auto vault, host::create_vault_client(paths.socket_of("vaultd"), host_id));
  BOOTSEAL_TRY(const auto attestor, host::create_attest_client(paths.socket_of("attestd")));
  const auto disks = host::create_disk_tools(paths, firmware);
  const auto networks = host::create_netd_networks({paths, {}}, *loop);
  host::DiskStore store(paths);
  host::HostService service({paths, *hypervisor, *guests, *vault, *attestor, *disks, store, *networks,
                             Clock::system(), settings.options,
                             [&]() { return host::Strand::create(*loop, pool); },
                             [&](host::Task task) { questions.post(std::move(task)); }});
  BOOTSEAL_TRY_STATUS(store.recover());
  BOOTSEAL_TRY_STATUS(service.recover());

  net::ServerOptions options;
  options.unix_listener = std::move(listener);
  options.workers = kHandlers;
  options.body_bytes = kLargestBody;
  BOOTSEAL_TRY(
      const auto server,
      net::Server::start(std::move(options),
                         host::make_router(service, {sandbox::daemon_uid(sandbox::Role::controld)})));
  log::info("host.serving",
            {{"socket", paths.socket_of("hostd").native()},
             {"hostId", host_id},
             {"accelerator", std::string(host::accelerator_name(hypervisor->facts().accelerator.kind))},
             {"reason", hypervisor->facts().accelerator.reason}});
  int signal_number = 0;
  ::sigwait(&stop_signals, &signal_number);
  log::info("host.stopping", {{"signal", signal_number}});
  server->stop(kStopGrace);
  // hostd may end at any moment (that is what its records are for), and its VMs go on without it: the threads
  // that work on them are not waited for.
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const Result<std::optional<Settings>> settings = read_arguments(argc, argv);
  if (settings && !*settings) {
    std::fputs(std::string(kUsage).c_str(), stdout);
    return 0;
  }
  log::start("hostd");
  const Status status = settings ? serve(**settings) : Status(tl::unexpected(settings.error()));
  if (!status) {
    log::error("host.failed", {{"code", std::string(error_info(status.error().code).name)},
                               {"message", status.error().describe()}});
    return error_info(status.error().code).exit_code;
  }
  return 0;
}
