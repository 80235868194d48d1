#include "site_access.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "bootseal/cli/progress.h"
#include "bootseal/cli/vm_page.h"
#include "daemons.h"

namespace bootseal::app {

Result<std::unique_ptr<cli::SiteClient>> open_site() {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(cli::Profile profile, cli::Profile::load(paths.folder_of("cli")));
  if (!running_process(paths, "controld")) {
    profile.when_silent =
        fmt::format("Bootseal is not running here ({}); start it with: bootseal up", paths.home.string());
  }
  return cli::SiteClient::create(std::move(profile));
}

Result<json::Value> wait_with_progress(const Global& global, cli::SiteClient& site,
                                       const std::string& operation_path, const std::string& what,
                                       const std::string& how_to_go_on) {
  if (operation_path.empty()) return json::Value();
  const cli::Interrupt interrupt;
  cli::Progress progress(global.quiet);
  progress.step(what);
  auto result = site.wait(operation_path, interrupt.token(), [&] { progress.tick(); });
  if (!result && result.error().code == ErrorCode::cancelled) {
    return fail(ErrorCode::cancelled,
                fmt::format("stopped waiting; it goes on without you. See how it is: {}", how_to_go_on));
  }
  return result;
}

Result<json::Value> get_vm(cli::SiteClient& site, const VmName& vm) {
  BOOTSEAL_TRY(cli::SiteClient::Answer answer,
               site.call("GET", site.vm_path(vm.group, vm.name), nullptr, {}, "$expand=instanceView"));
  return std::move(answer.body);
}

std::string group_flag(const VmName& vm) {
  return vm.group == "default" ? "" : " -g " + vm.group;
}

Status refuse_stopped(const json::Value& resource, const VmName& vm, std::string_view why) {
  const std::string power = cli::power_state(resource);
  if (power != "stopped" && power != "deallocated") return {};
  return fail(ErrorCode::conflict, fmt::format("{} is {}: {}; start it with: bootseal vm start {}{}", vm.name,
                                               power, why, vm.name, group_flag(vm)));
}

void print_json(const json::Value& value) {
  fmt::print("{}", json::serialize_pretty(value));
}

void print_table(const Global& global, const cli::Table& table) {
  fmt::print("{}", global.format == cli::Format::tsv ? table.to_tsv() : table.to_text());
}

Status confirm(bool yes, const std::string& question) {
  if (yes) return {};
  if (::isatty(STDIN_FILENO) != 1)
    return fail(ErrorCode::invalid_argument, "this needs a confirmation; give --yes");
  fmt::print(stderr, "{} [y/N] ", question);
  std::fflush(stderr);
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return {};
  return fail(ErrorCode::cancelled, "nothing was done");
}

}  // namespace bootseal::app
