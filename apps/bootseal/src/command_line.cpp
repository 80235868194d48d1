#include "command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <system_error>

#include "bootseal/base/ids.h"
#include "bootseal/cli/output.h"
#include "bootseal/cli/suggestion.h"
#include "options.h"
#include "reference.h"

namespace bootseal::app {
namespace {

using Run = std::function<Status()>;

constexpr double kLongestTimeoutSeconds = 1e9;

// The API's rule, said before anything is asked of it.
Status check_name(std::string_view what, const std::string& name) {
  if (is_valid_resource_name(name)) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("the {} '{}' is invalid: wanted 1 to 64 letters, digits, '.', '_' and '-', beginning and "
                  "ending with a letter or a digit",
                  what, name));
}

Status check_vm_name(const VmName& vm) {
  BOOTSEAL_TRY_STATUS(check_name("name", vm.name));
  return check_name("resource group", vm.group);
}

// What is wrong with the text as a number of seconds; empty = nothing.
std::string check_seconds(const std::string& text) {
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == '\0' && seconds > 0 && seconds <= kLongestTimeoutSeconds) return {};
  return fmt::format("wanted a number of seconds above 0, there is '{}'", text);
}

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
  VmLogOptions log;
  std::string list_group;
  std::string shell = "bash";
  Run run;
};

class CommandLine {
 public:
  CommandLine() : app_("Trusted Launch for the servers you own.", "bootseal") {
    app_.require_subcommand(1);
    app_.fallthrough(false);
    app_.footer(
        "Begin with:\n  bootseal up\n  bootseal image build debian-12-mini\n  bootseal vm create --name demo "
        "--image debian-12-mini\n  bootseal vm show demo\n\n"
        "BOOTSEAL_HOME chooses the site's folder. Exit codes: 0 done, 1 a defect, 2 wrong input, 3 not "
        "found, 4 exists already, 5 conflict,\n"
        "6 not allowed, 7 not known, 8 cannot be reached, 9 too slow, 10 cancelled, 11 used up, 12 not "
        "possible here, 13 damaged, 14 input or\n"
        "output failed, 20 to 24 the guest state is missing, foreign, under another key, damaged, stale.");
    app_.set_version_flag("--version", fmt::format("bootseal {}", BOOTSEAL_VERSION), "The version");
    add_site_commands();
    add_image_commands();
    add_vm_commands();
    add_help_commands();
  }

  int run(int argc, char** argv) {
    Status status;
    try {
      status = parse_and_run(argc, argv);
    } catch (const std::system_error& error) {
      // fmt's word for a stream that takes no more.
      status = fail(ErrorCode::io_error, fmt::format("writing the output: {}", error.code().message()));
    }
    errno = 0;
    const bool is_written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    if (status && !is_written) {
      status = fail(ErrorCode::io_error, fmt::format("writing the output: {}",
                                                     std::generic_category().message(errno ? errno : EIO)));
    }
    if (status) return 0;
    const std::string line = "error: " + cli::printable(status.error().describe(), true) + "\n";
    std::fputs(line.c_str(), stderr);
    return error_info(status.error().code).exit_code;
  }

 private:
  Status parse_and_run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
      fmt::print("{}", help_of(deepest(&app_)));
      return {};
    } catch (const CLI::CallForVersion& version) {
      fmt::print("{}\n", version.what());
      return {};
    } catch (const CLI::ParseError& error) {
      return fail(ErrorCode::invalid_argument, problem_with_line(error));
    }
    return parsed_.run ? parsed_.run() : Status();
  }

  // What is wrong with the line that was typed and where help is.
  std::string problem_with_line(const CLI::ParseError& error) const {
    const CLI::App* where = &app_;
    // The first command that was given what it does not know: what follows is a consequence.
    while (where->remaining().empty() && !where->get_subcommands().empty())
      where = where->get_subcommands().front();
    const std::vector<std::string> unknown = where->remaining();
    const std::string help = fmt::format("for help run: {} --help", full_name(where));
    if (unknown.empty()) return fmt::format("{}; {}", cli::printable(error.what()), help);
    const std::string word = cli::printable(unknown.front());
    std::vector<std::string> known;
    if (word.starts_with('-')) {
      for (const CLI::Option* option : reference_detail::options_of(*where))
        for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    } else {
      for (const CLI::App* child : reference_detail::children_of(*where)) known.push_back(child->get_name());
      if (known.empty()) return fmt::format("unexpected argument '{}'; {}", word, help);
    }
    const auto meant = cli::nearest(word, known);
    return fmt::format("unknown {} '{}'; {}{}", word.starts_with('-') ? "option" : "command", word,
                       meant ? fmt::format("did you mean '{}'? ", *meant) : "", help);
  }

  static const CLI::App* deepest(const CLI::App* app) {
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    return app;
  }

  static std::string full_name(const CLI::App* app) {
    return app->get_parent() == nullptr ? app->get_name()
                                        : full_name(app->get_parent()) + " " + app->get_name();
  }

  static std::string help_of(const CLI::App* app) {
    return app->help(app->get_parent() == nullptr ? "" : full_name(app->get_parent()),
                     CLI::AppFormatMode::Normal);
  }

  // Runs `run` once the VM's name is there.
  static Run on_vm(const VmName& vm, Run run) {
    return [&vm, run = std::move(run)]() -> Status {
      if (vm.name.empty())
        return fail(ErrorCode::invalid_argument, "the VM's name is missing; give it as NAME or with --name");
      BOOTSEAL_TRY_STATUS(check_vm_name(vm));
      return run();
    };
  }

  CLI::App* command(CLI::App& parent, const std::string& name, const std::string& description,
                    const std::string& examples, Run run) {
    CLI::App* sub = parent.add_subcommand(name, description);
    sub->footer("Examples:\n" + examples);
    sub->callback([this, run = std::move(run)] { parsed_.run = run; });
    return sub;
  }

  void add_output(CLI::App* sub) {
    const std::map<std::string, cli::Format> formats = {
        {"json", cli::Format::json}, {"table", cli::Format::table}, {"tsv", cli::Format::tsv}};
    sub->add_option_function<std::string>(
           "-o,--output",
           [this, formats](const std::string& text) { parsed_.global.format = formats.at(text); },
           "What to print for programs: json, table or tsv")
        ->check(CLI::IsMember({"json", "table", "tsv"}).description(""))
        ->type_name("FORMAT");
    add_quiet(sub);
  }

  void add_quiet(CLI::App* sub) {
    sub->add_flag("-q,--quiet", parsed_.global.quiet, "No progress and no advice");
  }

  static void add_group(CLI::App* sub, std::string& group) {
    sub->add_option("-g,--resource-group", group, "The resource group (default: default)")
        ->type_name("GROUP");
  }

  // NAME alone or --name NAME.
  static void add_vm_name(CLI::App* sub, VmName& vm) {
    CLI::Option* positional = sub->add_option("NAME", vm.name, "The VM")->type_name("");
    CLI::Option* named = sub->add_option("-n,--name", vm.name, "The VM")->type_name("NAME");
    positional->excludes(named);
    add_group(sub, vm.group);
  }

  static void add_switch(CLI::App* sub, const std::string& name, std::optional<bool>& target,
                         const std::string& description) {
    sub->add_option_function<std::string>(
           name, [&target](const std::string& text) { target = text == "true"; }, description)
        ->check(CLI::IsMember({"true", "false"}).description(""))
        ->expected(0, 1)
        ->default_str("true")
        ->type_name("true|false");
  }

  void add_site_commands();
  void add_image_commands();
  void add_vm_commands();
  void add_vm_create(CLI::App& vm);
  void add_vm_power(CLI::App& vm);
  void add_help_commands();

  CLI::App app_;
  Parsed parsed_;
};

void CommandLine::add_site_commands() {
  CLI::App* sub =
      command(app_, "up", "Start the site: vault, attestation, host and control plane under one supervisor",
              "  bootseal up                                      # in the background; logs are in HOME/log\n"
              "  bootseal up --vault-passphrase-file /run/secret  # the passphrase is kept elsewhere",
              [this] { return up(parsed_.global, parsed_.up); });
  sub->add_flag("--foreground", parsed_.up.foreground,
                "Stay in the foreground and end the daemons on Ctrl-C");
  sub->add_option("--vault-passphrase-file", parsed_.up.passphrase_file,
                  "File with the vault's passphrase (default: HOME/credentials/vault-passphrase, made at the "
                  "first start)")
      ->type_name("FILE");
  sub->add_option("--report-fd", parsed_.up.report_fd, "Where the detached supervisor reports")->group("");
  add_quiet(sub);

  sub = command(app_, "down", "End the daemons; VMs keep running unless told otherwise",
                "  bootseal down             # `bootseal up` finds the VMs again\n"
                "  bootseal down --stop-vms  # shut the VMs down first",
                [this] { return down(parsed_.global, parsed_.down); });
  sub->add_flag("--stop-vms", parsed_.down.stop_vms,
                "Shut all VMs down first, and end those that do not react");
  add_quiet(sub);

  sub = command(
      app_, "status", "What runs, on which host, and which protections this machine or user cannot give",
      "  bootseal status\n  bootseal status -o json", [this] { return site_status(parsed_.global); });
  add_output(sub);
}

void CommandLine::add_image_commands() {
  CLI::App* image = app_.add_subcommand("image", "Images that VMs are made from");
  image->require_subcommand(1);
  CLI::App* sub =
      command(*image, "build", "Build an image from Debian's signed packages",
              "  bootseal image build debian-12-mini              # 64 MiB: shim, grub, kernel, busybox\n"
              "  bootseal image build debian-12                   # systemd, cloud-init, ssh\n"
              "  bootseal image build debian-12 --version 1.1.0   # a newer one beside it",
              [this] { return image_build(parsed_.global, parsed_.image_build); });
  sub->add_option("NAME", parsed_.image_build.name, "The recipe, which is also the image's name")
      ->required()
      ->type_name("");
  sub->add_option("--version", parsed_.image_build.version, "The image's version (default: 1.0.0)")
      ->type_name("VERSION");
  sub->add_flag("--if-missing", parsed_.image_build.if_missing, "Do nothing when the image is there already");
  sub->add_option("--add", parsed_.image_build.additions,
                  "A further file: FILE=PATH in the guest (repeatable)")
      ->type_name("FILE=PATH")
      ->allow_extra_args(false);
  add_output(sub);

  sub = command(*image, "list", "The images of this site",
                "  bootseal image list\n  bootseal image list -o json",
                [this] { return image_list(parsed_.global); });
  add_output(sub);
}

void CommandLine::add_vm_create(CLI::App& vm) {
  VmCreateOptions& options = parsed_.create;
  CLI::App* sub = command(
      vm, "create", "Make and start a VM: Trusted Launch with Secure Boot and a vTPM unless told otherwise",
      "  bootseal vm create --name demo --image debian-12-mini\n"
      "  bootseal vm create -n web -g prod --image debian-12 --size Standard_B2s --admin-username ops "
      "--ssh-key-values ~/.ssh/id_ed25519.pub\n"
      "  bootseal vm create -n old --image debian-12 --security-type Standard",
      on_vm(options.vm, [this] { return vm_create(parsed_.global, parsed_.create); }));
  sub->add_option("-n,--name", options.vm.name, "The VM's name")->required()->type_name("NAME");
  add_group(sub, options.vm.group);
  sub->add_option("--image", options.image,
                  "NAME, NAME:VERSION, PUBLISHER:OFFER:SKU:VERSION or a resource id")
      ->required()
      ->type_name("IMAGE");
  sub->add_option("--size", options.size, "Azure's names, and Bootseal_Mini (default: Standard_B1s)")
      ->type_name("SIZE");
  sub->add_option("--security-type", options.security_type,
                  "TrustedLaunch or Standard (default: TrustedLaunch)")
      ->type_name("TYPE");
  add_switch(sub, "--enable-secure-boot", options.secure_boot,
             "Secure Boot (default with TrustedLaunch: true)");
  add_switch(sub, "--enable-vtpm", options.vtpm, "A TPM 2.0 of its own (default with TrustedLaunch: true)");
  sub->add_option("--admin-username", options.admin_username, "The user that cloud-init makes")
      ->type_name("USER");
  sub->add_option("--ssh-key-values", options.ssh_keys,
                  "OpenSSH public keys, or files that hold one (repeatable)")
      ->type_name("KEY")
      ->allow_extra_args(true);
  sub->add_option("--custom-data", options.custom_data,
                  "cloud-init user data, or a file that holds it (PATH or @PATH)")
      ->type_name("DATA");
  sub->add_option("--tags", options.tags, "NAME=VALUE (repeatable)")->type_name("TAG");
  sub->add_flag("--no-wait", options.no_wait, "Do not wait until it runs");
  add_output(sub);
}

void CommandLine::add_vm_power(CLI::App& vm) {
  struct Action {
    const char* name;
    const char* description;
    const char* examples;
  };
  static constexpr Action kActions[] = {
      {"start", "Start a VM", "  bootseal vm start demo\n  bootseal vm start demo --no-wait"},
      {"stop", "Shut a VM down, as its power button would", "  bootseal vm stop demo"},
      {"restart", "Shut a VM down and start it again", "  bootseal vm restart demo"},
      {"deallocate", "Shut a VM down; it then shows as deallocated", "  bootseal vm deallocate demo"},
      {"kill", "End a VM at once, without asking its guest",
       "  bootseal vm kill demo    # what was acknowledged by its TPM is safe"}};
  for (const Action& action : kActions) {
    CLI::App* sub = command(vm, action.name, action.description, action.examples,
                            on_vm(parsed_.action.vm, [this, name = std::string(action.name)] {
                              return vm_power(parsed_.global, parsed_.action, name);
                            }));
    add_vm_name(sub, parsed_.action.vm);
    sub->add_flag("--no-wait", parsed_.action.no_wait, "Do not wait for the end");
    add_output(sub);
  }
}

void CommandLine::add_vm_commands() {
  CLI::App* vm = app_.add_subcommand("vm", "Virtual machines");
  vm->require_subcommand(1);
  add_vm_create(*vm);

  CLI::App* sub = command(*vm, "list", "The VMs of all groups, or of one",
                          "  bootseal vm list\n  bootseal vm list -g prod -o json", [this]() -> Status {
                            if (!parsed_.list_group.empty())
                              BOOTSEAL_TRY_STATUS(check_name("resource group", parsed_.list_group));
                            return vm_list(parsed_.global, parsed_.list_group);
                          });
  sub->add_option("-g,--resource-group", parsed_.list_group, "Only this group")->type_name("GROUP");
  add_output(sub);

  sub = command(*vm, "show", "A VM: state, verdict with reasons, boot chain, guest state",
                "  bootseal vm show demo\n  bootseal vm show demo -o json   # in Azure's shape",
                on_vm(parsed_.vm, [this] { return vm_show(parsed_.global, parsed_.vm); }));
  add_vm_name(sub, parsed_.vm);
  add_output(sub);

  add_vm_power(*vm);

  sub = command(*vm, "delete", "Delete a VM with its disk, its guest state and its key",
                "  bootseal vm delete demo --yes",
                on_vm(parsed_.action.vm, [this] { return vm_delete(parsed_.global, parsed_.action); }));
  add_vm_name(sub, parsed_.action.vm);
  sub->add_flag("-y,--yes", parsed_.action.yes, "Do not ask");
  sub->add_flag("--no-wait", parsed_.action.no_wait, "Do not wait for the end");
  add_output(sub);

  sub = command(*vm, "attest",
                "Ask a VM for fresh evidence and judge it; succeeds only when the verdict is Healthy",
                "  bootseal vm attest demo\n  bootseal vm attest demo -o json",
                on_vm(parsed_.action.vm, [this] { return vm_attest(parsed_.global, parsed_.action); }));
  add_vm_name(sub, parsed_.action.vm);
  sub->add_flag("--no-wait", parsed_.action.no_wait, "Do not wait for the verdict");
  add_output(sub);

  sub = command(
      *vm, "reset-guest-state",
      "Give a stopped VM a new TPM and new UEFI variables; what was sealed to the old ones is lost",
      "  bootseal vm stop demo\n  bootseal vm reset-guest-state demo --yes",
      on_vm(parsed_.action.vm, [this] { return vm_reset_guest_state(parsed_.global, parsed_.action); }));
  add_vm_name(sub, parsed_.action.vm);
  sub->add_flag("-y,--yes", parsed_.action.yes, "Do not ask");
  add_output(sub);

  sub = command(*vm, "console", "The serial console; Ctrl-] leaves",
                "  bootseal vm console demo\n"
                "  printf 'uname -r\n' | bootseal vm console demo --until '[0-9]+-cloud' --timeout 60\n"
                "  bootseal vm console demo --until 'login:' --timeout 300 </dev/null",
                on_vm(parsed_.console.vm, [this] { return vm_console(parsed_.global, parsed_.console); }));
  add_vm_name(sub, parsed_.console.vm);
  sub->add_option("--send", parsed_.console.send,
                  "Type this instead of standard input; a new line in it is Enter")
      ->type_name("TEXT");
  sub->add_option("--until", parsed_.console.until,
                  "End at the line that holds this text or matches this extended regular expression")
      ->type_name("TEXT");
  sub->add_option("--timeout", parsed_.console.timeout_seconds, "Fail after so many seconds")
      ->type_name("SECONDS")
      ->check(CLI::Validator([](std::string& text) { return check_seconds(text); }, ""));
  add_quiet(sub);

  sub = command(*vm, "log", "What the serial console has shown so far", "  bootseal vm log demo | less",
                on_vm(parsed_.log.vm, [this] { return vm_log(parsed_.log); }));
  add_vm_name(sub, parsed_.log.vm);
  sub->add_flag("--raw", parsed_.log.raw,
                "Terminal control sequences too, also on a terminal (a pipe or file always gets them)");
}

void CommandLine::add_help_commands() {
  command(app_, "version", "The version of this program", "  bootseal version", []() -> Status {
    fmt::print("bootseal {}\n", BOOTSEAL_VERSION);
    return {};
  });
  CLI::App* sub = command(
      app_, "completion", "A script that completes this program's commands and options",
      "  source <(bootseal completion bash)\n  bootseal completion bash > /etc/bash_completion.d/bootseal",
      [this]() -> Status {
        fmt::print("{}", bash_completion(app_));
        return {};
      });
  sub->add_option("SHELL", parsed_.shell, "bash")
      ->check(CLI::IsMember({"bash"}).description(""))
      ->type_name("");
  sub = command(app_, "help-markdown", "docs/cli.md", "  bootseal help-markdown > docs/cli.md",
                [this]() -> Status {
                  fmt::print("{}", markdown_reference(app_));
                  return {};
                });
  sub->group("");
}

}  // namespace

int run_command_line(int argc, char** argv) {
  return CommandLine().run(argc, argv);
}

}  // namespace bootseal::app
