// bootseal-controld: the control plane of a site. Thin: the work is done in lib/api.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "bootseal/api/control_plane.h"
#include "bootseal/base/paths.h"
#include "bootseal/log/log.h"
#include "bootseal/net/client.h"
#include "bootseal/net/daemon.h"
#include "bootseal/net/server.h"
#include "bootseal/sandbox/sandbox.h"
#include "listener.h"
#include "server_certificate.h"

namespace {

using namespace bootseal;

constexpr std::chrono::milliseconds kStopGrace{3000};
constexpr std::chrono::seconds kRenewalCheck{3600};
constexpr std::chrono::seconds kFirstCertificateRetry{1};
constexpr std::chrono::seconds kLastCertificateRetry{15};

std::vector<std::string> server_names(const controld::TcpListener& listener) {
  std::vector<std::string> names = {"localhost", "127.0.0.1"};
  if (listener.address != "0.0.0.0" && listener.address != "::") names.push_back(listener.address);
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) == 0 && host[0] != '\0') names.emplace_back(host.data());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<UniqueFd> duplicate(const UniqueFd& fd) {
  UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy.valid()) return fail_errno(errno, "duplicating a listener");
  return copy;
}

struct Listeners {
  UniqueFd unix_socket;
  controld::TcpListener tcp;
};

class Daemon {
 public:
  Daemon(Paths paths, Listeners listeners) : paths_(std::move(paths)), listeners_(std::move(listeners)) {}

  Status run(const net::StopSignals& stop_signals) {
    BOOTSEAL_TRY(auto plane, make_plane());
    BOOTSEAL_TRY(const auto vault, vault_client());
    controld::CertificateKeeper keeper(folder() / "tls", server_names(listeners_.tcp), *vault,
                                       Clock::system());
    for (auto retry = kFirstCertificateRetry; true; retry = std::min(retry * 2, kLastCertificateRetry)) {
      auto certificate = keeper.get();
      if (certificate) {
        set_certificate(*std::move(certificate));
        break;
      }
      log::warning("certificate.missing", {{"reason", certificate.error().describe()}});
      if (stop_signals.wait_for(retry)) return {};
    }
    plane->start();
    BOOTSEAL_TRY(auto server, serve(*plane));
    log::info("control.serving",
              {{"endpoint", listeners_.tcp.endpoint()}, {"socket", paths_.socket_of("controld").string()}});
    while (!stop_signals.wait_for(kRenewalCheck)) {
      if (!keeper.is_due(certificate())) continue;
      auto renewed = keeper.get();
      if (!renewed || renewed->chain_pem == certificate().chain_pem) continue;
      set_certificate(*std::move(renewed));
      // The listeners stay open meanwhile: who connects now waits a moment.
      server->stop(kStopGrace);
      BOOTSEAL_TRY(server, serve(*plane));
    }
    log::info("control.stopping");
    server->stop(kStopGrace);
    plane->stop();
    return {};
  }

 private:
  [[nodiscard]] std::filesystem::path folder() const { return paths_.folder_of("controld"); }

  Result<std::unique_ptr<api::ControlPlane>> make_plane() {
    api::ControlPlaneOptions options;
    BOOTSEAL_TRY(options.store, store::open_sqlite_store(folder() / "store.sqlite"));
    options.images = paths_.images();
    options.hostd_socket = paths_.socket_of("hostd");
    options.vaultd_socket = paths_.socket_of("vaultd");
    options.attestd_socket = paths_.socket_of("attestd");
    options.version = BOOTSEAL_VERSION;
    if (const char* pool = std::getenv("BOOTSEAL_PUBLIC_ADDRESSES"); pool != nullptr && *pool != '\0')
      options.public_addresses = pool;
    options.endpoint = [this] { return listeners_.tcp.endpoint(); };
    options.server_certificate = [this] {
      json::Object object;
      object["notAfter"] = format_time(certificate().not_after);
      return object;
    };
    return api::ControlPlane::create(std::move(options));
  }

  Result<std::unique_ptr<net::Client>> vault_client() const {
    net::ClientOptions options;
    options.unix_socket = paths_.socket_of("vaultd");
    options.base_url = "http://daemon";
    return net::Client::create(std::move(options));
  }

  Result<std::unique_ptr<net::Server>> serve(api::ControlPlane& plane) {
    net::ServerOptions options;
    BOOTSEAL_TRY(options.unix_listener, duplicate(listeners_.unix_socket));
    BOOTSEAL_TRY(options.tcp_listener, duplicate(listeners_.tcp.fd));
    options.tls = certificate().settings();
    return net::Server::start(std::move(options), plane.router());
  }

  controld::ServerCertificate certificate() {
    const std::lock_guard lock(mutex_);
    return certificate_;
  }
  void set_certificate(controld::ServerCertificate certificate) {
    const std::lock_guard lock(mutex_);
    certificate_ = std::move(certificate);
  }

  Paths paths_;
  Listeners listeners_;
  std::mutex mutex_;
  controld::ServerCertificate certificate_;  // guarded by mutex_
};

Status run() {
  const net::StopSignals stop_signals = net::StopSignals::block();
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY_STATUS(make_folder(paths.run, 0711));
  const std::filesystem::path folder = paths.folder_of("controld");
  const char* listen = std::getenv("BOOTSEAL_LISTEN");
  Listeners listeners;
  // Only the user who started the daemon may connect: whoever can is an administrator.
  BOOTSEAL_TRY(listeners.unix_socket, listen_unix(paths.socket_of("controld"), 0600));
  BOOTSEAL_TRY(
      listeners.tcp,
      controld::open_tcp_listener(
          listen != nullptr && *listen != '\0' ? listen : std::string(controld::kDefaultListen), folder));
  BOOTSEAL_TRY_STATUS(sandbox::enter_daemon(sandbox::Role::controld, folder));
  Daemon daemon(paths, std::move(listeners));
  return daemon.run(stop_signals);
}

void print_help() {
  fmt::print(
      "usage: bootseal-controld [--help] [--version]\n\n"
      "The control plane of a Bootseal site: resources, operations, placement. Started by `bootseal up`.\n\n"
      "BOOTSEAL_HOME, BOOTSEAL_RUN  folders for state and sockets\n"
      "BOOTSEAL_LISTEN              ADDRESS:PORT for clients (default {}; port 0 = any, kept)\n"
      "BOOTSEAL_PUBLIC_ADDRESSES    what public IP addresses are allotted from (default 127.64.0.0/16)\n"
      "BOOTSEAL_LOG                 debug, info, warning or error\n",
      controld::kDefaultListen);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-h") == 0) {
      print_help();
      return 0;
    }
    if (std::strcmp(argv[i], "--version") == 0) {
      fmt::print("bootseal-controld {}\n", BOOTSEAL_VERSION);
      return 0;
    }
    fmt::print(stderr, "error: '{}' is not known here; see bootseal-controld --help\n", argv[i]);
    return error_info(ErrorCode::invalid_argument).exit_code;
  }
  log::start("controld");
  if (const Status status = run(); !status) {
    log::error("control.failed",
               {{"code", error_info(status.error().code).name}, {"message", status.error().describe()}});
    return error_info(status.error().code).exit_code;
  }
  return 0;
}
