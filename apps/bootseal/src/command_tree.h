// The tree of commands and options, and what the parser writes into. With its parts (*_tree.cpp) and
// command_line.cpp the only units that know CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>

#include "identity_options.h"
#include "options.h"
#include "vmgs_options.h"

namespace bootseal::app {

using Run = std::function<Status()>;

// The API's rule for names, said before anything is asked of it.
Status check_name(std::string_view what, const std::string& name);

// Everything the parser writes to; lives as long as the parser.
struct Parsed {
  Global global;
  UpOptions up;
  DownOptions down;
  ImageBuildOptions image_build;
  VmName vm;
  VmCreateOptions create;
  VmActionOptions action;
  VmConsoleOptions console;
  VmgsOptions vmgs;
  VmLogOptions log;
  IdentityOptions identity;
  std::string image_reference;
  bool image_yes = false;
  std::string list_group;
  std::string shell = "bash";
  std::string complete_kind;
  Run run;
  // The exit code of an error of `run`, for commands that have their own table; nullopt: by its ErrorCode.
  std::optional<int> exit_code;
};

struct CommandTree {
  CommandTree();
  CommandTree(const CommandTree&) = delete;
  CommandTree& operator=(const CommandTree&) = delete;

  CLI::App app;
  Parsed parsed;

 private:
  CLI::App* command(CLI::App& parent, const std::string& name, const std::string& description,
                    const std::string& examples, Run run);
  void add_output(CLI::App* sub);
  void add_quiet(CLI::App* sub);

  void add_site_commands();
  void add_image_commands();
  void add_vm_commands();
  void add_vm_create(CLI::App& vm);
  void add_vm_power(CLI::App& vm);
  void add_identity_commands();
  void add_credential_commands(CLI::App& identity);
  void add_vmgs_commands();
  void add_vmgs_read_commands(CLI::App& vmgs);
  void add_vmgs_write_commands(CLI::App& vmgs);
  void add_vmgs_key_commands(CLI::App& vmgs);
  void add_vmgs_care_commands(CLI::App& vmgs);
  CLI::App* vmgs_command(CLI::App& vmgs, const std::string& name, const std::string& description,
                         const std::string& examples, VmgsRun run);
  void add_help_commands();
};

}  // namespace bootseal::app
