// A control plane as a process of its own, for tests that kill it: control_plane_child FOLDER.
#include <csignal>
#include <cstdio>

#include "bootseal/api/control_plane.h"
#include "bootseal/base/fds.h"

int main(int argc, char** argv) {
  using namespace bootseal;
  if (argc != 2) return 2;
  const std::filesystem::path folder = argv[1];
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto run = [&]() -> Status {
    api::ControlPlaneOptions options;
    BOOTSEAL_TRY(options.store, store::open_sqlite_store(folder / "store.sqlite"));
    options.images = folder / "images";
    options.hostd_socket = folder / "hostd.sock";
    options.vaultd_socket = folder / "vaultd.sock";
    options.attestd_socket = folder / "attestd.sock";
    options.first_retry = std::chrono::milliseconds(10);
    options.last_retry = std::chrono::milliseconds(200);
    BOOTSEAL_TRY(const auto plane, api::ControlPlane::create(std::move(options)));
    net::ServerOptions server_options;
    BOOTSEAL_TRY(server_options.unix_listener, listen_unix(folder / "controld.sock"));
    BOOTSEAL_TRY(const auto server, net::Server::start(std::move(server_options), plane->router()));
    plane->start();
    int signal_number = 0;
    ::sigwait(&signals, &signal_number);
    server->stop(std::chrono::milliseconds(100));
    plane->stop();
    return {};
  };
  if (const Status status = run(); !status) {
    std::fprintf(stderr, "%s\n", status.error().describe().c_str());
    return 1;
  }
  return 0;
}
