// bootseal-attestd: judges what guests say about how they booted.
#include <CLI/CLI.hpp>

#include "bootseal/base/fds.h"
#include "bootseal/base/paths.h"
#include "bootseal/log/log.h"
#include "bootseal/net/client.h"
#include "bootseal/net/daemon.h"
#include "bootseal/sandbox/sandbox.h"
#include "routes.h"

namespace {

using namespace bootseal;

constexpr std::chrono::milliseconds kRetryInterval{500};

Result<crypto::Certificate> fetch_site_ca(net::Client& vault) {
  BOOTSEAL_TRY(const json::Value answer, vault.call_json("GET", "/v1/ca"));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the vault's answer"));
  BOOTSEAL_TRY(const std::string pem, reader.string("certificatePem"));
  return crypto::Certificate::from_pem(pem);
}

// Asks until the vault answers or a stop signal comes (cancelled).
Result<crypto::Certificate> wait_for_site_ca(const Paths& paths, const net::StopSignals& stop_signals) {
  net::ClientOptions options;
  options.unix_socket = paths.socket_of("vaultd");
  options.base_url = "http://vaultd";
  BOOTSEAL_TRY(const std::unique_ptr<net::Client> vault, net::Client::create(std::move(options)));
  bool told = false;
  while (true) {
    Result<crypto::Certificate> certificate = fetch_site_ca(*vault);
    if (certificate) return certificate;
    if (!told) log::info("attest.waiting_for_vault", {{"reason", certificate.error().describe()}});
    told = true;
    if (stop_signals.wait_for(kRetryInterval))
      return fail(ErrorCode::cancelled, "stopped before the vault answered");
  }
}

Status serve() {
  const net::StopSignals stop_signals = net::StopSignals::block();
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY_STATUS(make_folder(paths.run, 0711));
  const std::filesystem::path socket = paths.socket_of("attestd");
  // Everybody may connect; what a caller may do is decided by its uid.
  BOOTSEAL_TRY(UniqueFd listener, listen_unix(socket, 0666));
  // Before the own uid is given up: the table depends on who started the daemon.
  const attestd::Callers callers{sandbox::daemon_uid(sandbox::Role::hostd),
                                 sandbox::daemon_uid(sandbox::Role::controld)};
  const std::filesystem::path folder = paths.folder_of("attestd");
  BOOTSEAL_TRY_STATUS(sandbox::enter_daemon(sandbox::Role::attestd, folder));

  BOOTSEAL_TRY(const std::unique_ptr<store::Store> store,
               store::open_sqlite_store(folder / "store.sqlite", {.kept_changes = 0}));
  Result<crypto::Certificate> site_ca = wait_for_site_ca(paths, stop_signals);
  if (!site_ca && site_ca.error().code == ErrorCode::cancelled) return {};
  if (!site_ca) return tl::unexpected(site_ca.error());
  attestd::Attestor attestor(*store, *site_ca);

  return net::serve_until_stopped(std::move(listener), attestd::make_routes(attestor, callers), stop_signals,
                                  "attest", {{"socket", socket.string()}, {"ca", site_ca->subject()}});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Judges the evidence of VMs: quotes, event logs, baselines.", "bootseal-attestd");
  CLI11_PARSE(app, argc, argv);
  log::start("attestd");
  if (const Status status = serve(); !status) {
    log::error("attest.failed",
               {{"code", error_info(status.error().code).name}, {"message", status.error().describe()}});
    return error_info(status.error().code).exit_code;
  }
  return 0;
}
