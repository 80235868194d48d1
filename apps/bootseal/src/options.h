// What the command line says, as plain data: the parser (command_line.cpp) fills it in, the commands read it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/paths.h"
#include "bootseal/base/result.h"
#include "bootseal/cli/output.h"

namespace bootseal::app {

struct Global {
  cli::Format format = cli::Format::people;
  bool quiet = false;
};

struct UpOptions {
  bool foreground = false;
  std::string passphrase_file;
  int report_fd = -1;  // of the detached supervisor: progress lines for the command that started it
};

struct DownOptions {
  bool stop_vms = false;
};

struct ImageBuildOptions {
  std::string name;
  std::string version;
  bool if_missing = false;
  std::vector<std::string> additions;  // FILE=PATH
};

struct VmName {
  std::string name;
  std::string group = "default";
};

struct VmCreateOptions {
  VmName vm;
  std::string image;
  std::string size = "Standard_B1s";
  std::string security_type;
  std::optional<bool> secure_boot;
  std::optional<bool> vtpm;
  std::string admin_username;
  std::vector<std::string> ssh_keys;
  bool generate_ssh_keys = false;
  std::string custom_data;
  std::vector<std::string> tags;
  std::string location;
  bool no_wait = false;
};

struct VmActionOptions {
  VmName vm;
  bool no_wait = false;
  bool yes = false;
};

struct VmConsoleOptions {
  VmName vm;
  std::optional<std::string> send;
  std::optional<std::string> until;
  std::optional<double> timeout_seconds;
};

struct VmLogOptions {
  VmName vm;
  bool raw = false;
};

// -- site --
Status up(const Global& global, const UpOptions& options);
Status down(const Global& global, const DownOptions& options);
Status site_status(const Global& global);

// -- images --
Status image_build(const Global& global, const ImageBuildOptions& options);
Status image_list(const Global& global);
// NAME or NAME:VERSION.
Status image_show(const Global& global, const std::string& reference);
// conflict when a VM is made from it.
Status image_delete(const Global& global, const std::string& reference, bool yes);

// -- for the completion --
// The names of a kind ("vm", "image", "recipe", "group", "size"), one a line; nothing when they cannot be
// had.
Status complete_names(const std::string& kind);

// -- virtual machines --
Status vm_create(const Global& global, const VmCreateOptions& options);
Status vm_list(const Global& global, const std::string& group);
Status vm_show(const Global& global, const VmName& vm);
Status vm_power(const Global& global, const VmActionOptions& options,
                const std::string& action);  // start, stop, restart, kill, deallocate
Status vm_delete(const Global& global, const VmActionOptions& options);
Status vm_attest(const Global& global, const VmActionOptions& options);
Status vm_reset_guest_state(const Global& global, const VmActionOptions& options);
Status vm_console(const Global& global, const VmConsoleOptions& options);
Status vm_log(const VmLogOptions& options);

}  // namespace bootseal::app
