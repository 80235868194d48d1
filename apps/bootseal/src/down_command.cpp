// `bootseal down`.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "bootseal/cli/progress.h"
#include "bootseal/cli/vm_page.h"
#include "bootseal/log/log.h"
#include "daemons.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

constexpr std::chrono::milliseconds kDownLimit{120000};
constexpr std::chrono::seconds kShutdownLimit{60};

// Asks every VM to stop, and ends those that do not.
Status stop_vms(const Global& global, cli::SiteClient& site, const json::Array& vms) {
  const cli::Interrupt interrupt;
  cli::Progress progress(global.quiet);
  const auto ask = [&](const std::string& query) {
    std::vector<std::pair<std::string, std::string>> waiting;  // resource, operation
    for (const json::Value& vm : vms) {
      const std::string id = cli::text_at(vm, {"id"});
      const auto now = site.call("GET", id, nullptr, {}, "$expand=instanceView");
      if (!now) continue;  // gone meanwhile
      const std::string power = cli::power_state(now->body);
      if (power.empty() || power == "stopped" || power == "deallocated") continue;
      const auto answer = site.call("POST", id + "/powerOff", nullptr, {}, query);
      if (answer) waiting.emplace_back(id, answer->operation_path);
    }
    return waiting;
  };
  const auto wait_for = [&](const std::vector<std::pair<std::string, std::string>>& waiting,
                            std::chrono::seconds limit) -> Status {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (const auto& [id, operation] : waiting) {
      progress.step(fmt::format("Stopping {}", id.substr(id.rfind('/') + 1)));
      std::stop_source late;
      const std::stop_callback on_interrupt(interrupt.token(), [&] { late.request_stop(); });
      const auto ended = site.wait(operation, late.get_token(), [&] {
        progress.tick();
        if (std::chrono::steady_clock::now() > deadline) late.request_stop();
      });
      if (interrupt.token().stop_requested())
        return fail(ErrorCode::cancelled,
                    "stopped waiting; the daemons still run. Again: bootseal down --stop-vms");
      if (!ended) log::debug("vm.not-stopped-yet", {{"vm", id}, {"reason", ended.error().describe()}});
    }
    return {};
  };
  BOOTSEAL_TRY_STATUS(wait_for(ask("skipShutdown=false"), kShutdownLimit));
  BOOTSEAL_TRY_STATUS(wait_for(ask("skipShutdown=true"), kShutdownLimit));
  if (const auto left = ask("skipShutdown=true"); !left.empty()) {
    return fail(ErrorCode::timeout,
                fmt::format("{} VMs did not stop, for example {}; nothing was ended. See `bootseal vm list`",
                            left.size(), left.front().first));
  }
  return {};
}

Result<json::Array> list_vms(cli::SiteClient& site) {
  BOOTSEAL_TRY(const auto answer,
               site.call("GET", site.subscription_path() + "/providers/Microsoft.Compute/virtualMachines",
                         nullptr, {}, "$expand=instanceView"));
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of VMs has no 'value'");
  return list->get_array();
}

}  // namespace

Status down(const Global& global, const DownOptions& options) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  const auto supervisor = running_process(paths, kSupervisor);
  std::size_t running_vms = 0;
  const auto site = open_site();
  if (!site && site.error().code == ErrorCode::permission_denied) return tl::unexpected(site.error());
  if (site) {
    auto vms = list_vms(**site);
    if (!vms && options.stop_vms && supervisor)
      return tl::unexpected(vms.error().wrap("the VMs cannot be stopped; nothing was ended"));
    if (vms && options.stop_vms) BOOTSEAL_TRY_STATUS(stop_vms(global, **site, *vms));
    if (vms && !options.stop_vms)
      running_vms = static_cast<std::size_t>(std::count_if(
          vms->begin(), vms->end(), [](const json::Value& vm) { return cli::power_state(vm) == "running"; }));
  }
  bool ended_something = false;
  if (supervisor) {
    cli::Progress progress(global.quiet);
    progress.step("Ending the daemons");
    BOOTSEAL_TRY_STATUS(signal_process(*supervisor, SIGTERM));
    BOOTSEAL_TRY(const bool ended, wait_for_end(*supervisor, kDownLimit));
    if (!ended)
      return fail(ErrorCode::timeout, fmt::format("the supervisor ({}) has not ended; see {}",
                                                  supervisor->pid, (paths.home / "log/up.log").string()));
    ended_something = true;
  }
  for (auto name = kDaemons.rbegin(); name != kDaemons.rend(); ++name) {
    // Left by a supervisor that was killed.
    if (const auto process = running_process(paths, *name)) {
      BOOTSEAL_TRY_STATUS(end_process(*process, kDownLimit));
      ended_something = true;
    }
  }
  if (global.quiet) return {};
  if (!ended_something) {
    fmt::print("Bootseal is not running.\n");
  } else if (running_vms > 0) {
    fmt::print(
        "The daemons have ended. {} VM{} running; `bootseal up` finds {} again, `bootseal down --stop-vms` "
        "stops VMs too.\n",
        running_vms, running_vms == 1 ? " keeps" : "s keep", running_vms == 1 ? "it" : "them");
  } else {
    fmt::print("Bootseal has ended.\n");
  }
  return {};
}

}  // namespace bootseal::app
