// `bootseal status`.
#include <fmt/format.h>

#include "daemons.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

// "QEMU 7.2.22 (…)" of what `qemu --version` says, however often the name stands before it.
std::string qemu_text(const std::string& text) {
  constexpr std::string_view kWord = "version ";
  const std::size_t at = text.find(kWord);
  return at == std::string::npos ? text : "QEMU " + text.substr(at + kWord.size());
}

}  // namespace

Status site_status(const Global& global) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(const auto site, open_site());
  auto answer = site->call("GET", "/bootseal/status");
  if (!answer) return tl::unexpected(answer.error());
  const json::Value* daemons = cli::find(answer->body, {"daemons"});
  if (daemons == nullptr || !daemons->is_array())
    return fail(ErrorCode::unavailable, "the server's status has no 'daemons'");
  std::string silent;
  cli::Table table{{"Daemon", "State", "Process"}, {}};
  for (const json::Value& daemon : daemons->get_array()) {
    const std::string name = cli::text_at(daemon, {"name"});
    const bool is_answering = cli::text_at(daemon, {"answers"}) == "true";
    if (!is_answering) silent += (silent.empty() ? "" : ", ") + name;
    const auto process = running_process(paths, name);
    table.rows.push_back({name, is_answering ? "answers" : cli::text_at(daemon, {"message"}),
                          process ? std::to_string(process->pid) : "-"});
  }
  if (global.format == cli::Format::json) {
    print_json(answer->body);
  } else if (global.format != cli::Format::people) {
    print_table(global, table);
  } else {
    fmt::print("Bootseal {} at {}, state in {}\n\n{}", cli::text_at(answer->body, {"version"}),
               site->profile().endpoint, paths.home.string(), table.to_text());
    const std::string vms = cli::text_at(answer->body, {"virtualMachines"});
    const std::string images = cli::text_at(answer->body, {"images"});
    fmt::print("\n{} VM{}, {} image{}\n", vms, vms == "1" ? "" : "s", images, images == "1" ? "" : "s");
    if (const json::Value* hosts = cli::find(answer->body, {"hosts"});
        hosts != nullptr && hosts->is_array()) {
      for (const json::Value& host : hosts->get_array()) {
        const std::string reason = cli::text_at(host, {"accelerator", "reason"});
        fmt::print("host {}: {} CPUs, {} MiB, {}, accelerator {}{}\n",
                   cli::printable(cli::text_at(host, {"hostId"})), cli::text_at(host, {"cpus"}),
                   cli::text_at(host, {"memoryMiB"}),
                   cli::printable(qemu_text(cli::text_at(host, {"qemuVersion"}))),
                   cli::text_at(host, {"accelerator", "kind"}),
                   reason.empty() ? "" : " (" + cli::printable(reason) + ")");
      }
    }
    if (const json::Value* missing = cli::find(answer->body, {"missingProtections"});
        missing != nullptr && missing->is_array() && !missing->get_array().empty()) {
      fmt::print("\nThis machine or user cannot give:\n");
      for (const json::Value& text : missing->get_array()) {
        if (text.is_string()) fmt::print("  {}\n", cli::printable(std::string_view(text.get_string())));
      }
    }
  }
  if (!silent.empty())
    return fail(ErrorCode::unavailable, fmt::format("these do not answer: {}; see the logs in {}", silent,
                                                    (paths.home / "log").string()));
  return {};
}

}  // namespace bootseal::app
