// bootseal-vaultd: the key vault of a site.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "bootseal/base/fds.h"
#include "bootseal/base/paths.h"
#include "bootseal/log/log.h"
#include "bootseal/net/daemon.h"
#include "bootseal/sandbox/sandbox.h"
#include "routes.h"

namespace {

using namespace bootseal;

// Key bytes pass through buffers of HTTP and JSON too: as root, no page of this process is ever swapped out.
// An ordinary user has no right to lock that much; crypto::Secret locks what it holds in any case.
void lock_memory() {
  if (::geteuid() != 0) return;
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0 ||
      ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    log::warning("vault.memory_not_locked", {{"reason", std::string(std::strerror(errno))}});
  }
}

Result<crypto::Secret> read_passphrase(int fd) {
  UniqueFd source(fd);
  crypto::Secret buffer(vault::kMaximumPassphraseSize + 2);
  std::size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t got = ::read(source.get(), buffer.mutable_view().data() + size, buffer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, fmt::format("reading the passphrase from descriptor {}", fd));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > 0 && buffer.view()[size - 1] == std::byte{'\n'}) --size;
  return crypto::Secret::copy_of(buffer.view().first(size));
}

Status serve(int passphrase_fd, bool begin_new_audit_chain) {
  const net::StopSignals stop_signals = net::StopSignals::block();
  lock_memory();
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(const crypto::Secret passphrase, read_passphrase(passphrase_fd));
  BOOTSEAL_TRY_STATUS(make_folder(paths.run, 0711));
  const std::filesystem::path socket = paths.socket_of("vaultd");
  // Everybody may connect; what a caller may do is decided by its uid.
  BOOTSEAL_TRY(UniqueFd listener, listen_unix(socket, 0666));
  // Before the own uid is given up: the table depends on who started the daemon.
  const vaultd::Callers callers{sandbox::daemon_uid(sandbox::Role::hostd),
                                sandbox::daemon_uid(sandbox::Role::controld),
                                sandbox::daemon_uid(sandbox::Role::attestd)};
  const std::filesystem::path folder = paths.folder_of("vaultd");
  BOOTSEAL_TRY_STATUS(sandbox::enter_daemon(sandbox::Role::vaultd, folder));

  BOOTSEAL_TRY(const std::unique_ptr<store::Store> store,
               store::open_sqlite_store(folder / "store.sqlite", {.kept_changes = 0}));
  BOOTSEAL_TRY(const std::unique_ptr<log::AuditChain> audit,
               vault::open_audit_chain(folder / "audit.jsonl", *store, begin_new_audit_chain));
  BOOTSEAL_TRY(const std::unique_ptr<vault::Vault> vault,
               vault::Vault::open({folder, {}, begin_new_audit_chain}, passphrase, *store, *audit));

  return net::serve_until_stopped(std::move(listener), vaultd::make_routes(*vault, callers), stop_signals,
                                  "vault",
                                  {{"socket", socket.string()}, {"ca", vault->ca_certificate().subject()}});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The key vault of a Bootseal site: VM keys, site CA, audit chain.", "bootseal-vaultd");
  int passphrase_fd = -1;
  app.add_option("--passphrase-fd", passphrase_fd,
                 "Descriptor to read the vault's passphrase from (16 bytes or more, one line)")
      ->required()
      ->check(CLI::NonNegativeNumber);
  bool begin_new_audit_chain = false;
  app.add_flag("--begin-new-audit-chain", begin_new_audit_chain,
               "Put an audit chain aside that was changed or cut, and begin another that tells of it");
  CLI11_PARSE(app, argc, argv);
  log::start("vaultd");
  if (const Status status = serve(passphrase_fd, begin_new_audit_chain); !status) {
    log::error("vault.failed",
               {{"code", error_info(status.error().code).name}, {"message", status.error().describe()}});
    return error_info(status.error().code).exit_code;
  }
  return 0;
}
