// What the commands share: the site, waiting with progress, printing.
#pragma once

#include <memory>
#include <string>

#include "bootseal/cli/site_client.h"
#include "options.h"

namespace bootseal::app {

// The site of HOME/cli.
Result<std::unique_ptr<cli::SiteClient>> open_site();
// Waits for an operation with a spinner. Ctrl-C stops the waiting and says how to go on (`how_to_go_on` is a
// command).
Result<json::Value> wait_with_progress(const Global& global, cli::SiteClient& site,
                                       const std::string& operation_path, const std::string& what,
                                       const std::string& how_to_go_on);
// The resource with its instance view. not_found names the VM.
Result<json::Value> get_vm(cli::SiteClient& site, const VmName& vm);
// " -g GROUP" for a command line; empty for the default group.
std::string group_flag(const VmName& vm);
// conflict, with `why` and how to start it, when the VM of the resource is stopped.
Status refuse_stopped(const json::Value& resource, const VmName& vm, std::string_view why);
void print_json(const json::Value& value);
void print_table(const Global& global, const cli::Table& table);
// Asks on the terminal; refused without one. `question` ends with '?'.
Status confirm(bool yes, const std::string& question);

}  // namespace bootseal::app
