#include <fmt/format.h>
#include <unistd.h>

#include "bootseal/cli/console.h"
#include "bootseal/cli/progress.h"
#include "site_access.h"

namespace bootseal::app {
Status vm_console(const Global& global, const VmConsoleOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const json::Value vm, get_vm(*site, options.vm));
  BOOTSEAL_TRY_STATUS(
      refuse_stopped(vm, options.vm, "its console is silent, `bootseal vm log` has what it showed"));
  const std::string path = site->vm_path(options.vm.group, options.vm.name);
  cli::ConsoleOptions console;
  console.until = options.until;
  if (options.timeout_seconds)
    console.limit = std::chrono::milliseconds(static_cast<std::int64_t>(*options.timeout_seconds * 1000));
  if (options.send) console.send = cli::typed_text(*options.send);
  const bool interactive = !options.send && ::isatty(STDIN_FILENO) == 1;
  if (!interactive) {
    // A script is answered by what comes after its input, not by what the log holds from before.
    BOOTSEAL_TRY(const std::string log, site->text(path + "/serialLog"));
    console.skip = log.size();
  }
  BOOTSEAL_TRY(const auto socket, site->websocket(path + "/console"));
  if (interactive && !global.quiet)
    fmt::print(stderr, "The console of {}. Ctrl-] leaves.\r\n", options.vm.name);
  if (interactive) {
    const Status left = cli::run_console(*socket, console, {});
    fmt::print(stderr, "\r\n");
    return left;
  }
  const bool has_end = options.until || options.timeout_seconds;
  if (!has_end && !global.quiet)
    fmt::print(stderr,
               "What the console of {} shows from now on; Ctrl-C ends this, or give --until or --timeout.\n",
               options.vm.name);
  const cli::Interrupt interrupt;
  Status left = cli::run_console(*socket, console, interrupt.token());
  // Who asked for no end gets out by an interrupt.
  if (!left && left.error().code == ErrorCode::cancelled && !has_end) return {};
  return left;
}

}  // namespace bootseal::app
