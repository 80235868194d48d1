// The commands of `bootseal vm`, as the parser knows them.
#include <fmt/format.h>

#include <cstdlib>

#include "bootseal/base/ids.h"
#include "command_tree.h"

namespace bootseal::app {
namespace {

constexpr double kLongestTimeoutSeconds = 1e9;

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

// Runs `run` once the VM's name is there.
Run on_vm(const VmName& vm, Run run) {
  return [&vm, run = std::move(run)]() -> Status {
    if (vm.name.empty())
      return fail(ErrorCode::invalid_argument, "the VM's name is missing; give it as NAME or with --name");
    BOOTSEAL_TRY_STATUS(check_vm_name(vm));
    return run();
  };
}

void add_group(CLI::App* sub, std::string& group) {
  sub->add_option("-g,--resource-group", group, "The resource group (default: default)")->type_name("GROUP");
}

// NAME alone or --name NAME.
void add_vm_name(CLI::App* sub, VmName& vm) {
  CLI::Option* positional = sub->add_option("NAME", vm.name, "The VM")->type_name("");
  CLI::Option* named = sub->add_option("-n,--name", vm.name, "The VM")->type_name("VM");
  positional->excludes(named);
  add_group(sub, vm.group);
}

void add_switch(CLI::App* sub, const std::string& name, std::optional<bool>& target,
                const std::string& description) {
  sub->add_option_function<std::string>(
         name, [&target](const std::string& text) { target = text == "true"; }, description)
      ->check(CLI::IsMember({"true", "false"}).description(""))
      ->expected(0, 1)
      ->default_str("true")
      ->type_name("true|false");
}

}  // namespace

void CommandTree::add_vm_create(CLI::App& vm) {
  VmCreateOptions& options = parsed.create;
  CLI::App* sub = command(
      vm, "create", "Make and start a VM: Trusted Launch with Secure Boot and a vTPM unless told otherwise",
      "  bootseal vm create --name demo --image debian-12-mini\n"
      "  bootseal vm create -n web -g prod --image debian-12 --size Standard_B2s --admin-username ops "
      "--ssh-key-values ~/.ssh/id_ed25519.pub\n"
      "  bootseal vm create -n old --image debian-12 --security-type Standard",
      on_vm(options.vm, [this] { return vm_create(parsed.global, parsed.create); }));
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
  sub->add_option(
         "--admin-username", options.admin_username,
         "The user that cloud-init makes; without --ssh-key-values the public key in ~/.ssh lets it in")
      ->type_name("USER");
  sub->add_option("--ssh-key-values", options.ssh_keys,
                  "OpenSSH public keys, or files that hold one (repeatable)")
      ->type_name("KEY")
      ->allow_extra_args(true);
  sub->add_flag("--generate-ssh-keys", options.generate_ssh_keys,
                "Use the key pair in ~/.ssh, and make one there when there is none");
  sub->add_option("--custom-data", options.custom_data,
                  "cloud-init user data, or a file that holds it (PATH or @PATH)")
      ->type_name("DATA");
  sub->add_option("-l,--location", options.location, "As az has it; this site's location is local")
      ->type_name("LOCATION");
  sub->add_option("--tags", options.tags, "NAME=VALUE (repeatable)")->type_name("TAG");
  sub->add_flag("--no-wait", options.no_wait, "Do not wait until it runs");
  add_output(sub);
}

void CommandTree::add_vm_power(CLI::App& vm) {
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
                            on_vm(parsed.action.vm, [this, name = std::string(action.name)] {
                              return vm_power(parsed.global, parsed.action, name);
                            }));
    add_vm_name(sub, parsed.action.vm);
    sub->add_flag("--no-wait", parsed.action.no_wait, "Do not wait for the end");
    add_output(sub);
  }
}

void CommandTree::add_vm_commands() {
  CLI::App* vm = app.add_subcommand("vm", "Virtual machines");
  vm->require_subcommand(1);
  add_vm_create(*vm);

  CLI::App* sub = command(*vm, "list", "The VMs of all groups, or of one",
                          "  bootseal vm list\n  bootseal vm list -g prod -o json", [this]() -> Status {
                            if (!parsed.list_group.empty())
                              BOOTSEAL_TRY_STATUS(check_name("resource group", parsed.list_group));
                            return vm_list(parsed.global, parsed.list_group);
                          });
  sub->add_option("-g,--resource-group", parsed.list_group, "Only this group")->type_name("GROUP");
  add_output(sub);

  sub = command(*vm, "show", "A VM: state, verdict with reasons, boot chain, guest state",
                "  bootseal vm show demo\n  bootseal vm show demo -o json   # in Azure's shape",
                on_vm(parsed.vm, [this] { return vm_show(parsed.global, parsed.vm); }));
  add_vm_name(sub, parsed.vm);
  add_output(sub);

  add_vm_power(*vm);

  sub = command(*vm, "delete", "Delete a VM with its disk, its guest state and its key",
                "  bootseal vm delete demo --yes",
                on_vm(parsed.action.vm, [this] { return vm_delete(parsed.global, parsed.action); }));
  add_vm_name(sub, parsed.action.vm);
  sub->add_flag("-y,--yes", parsed.action.yes, "Do not ask");
  sub->add_flag("--no-wait", parsed.action.no_wait, "Do not wait for the end");
  add_output(sub);

  sub = command(*vm, "attest",
                "Ask a VM for fresh evidence and judge it; succeeds only when the verdict is Healthy",
                "  bootseal vm attest demo\n  bootseal vm attest demo -o json",
                on_vm(parsed.action.vm, [this] { return vm_attest(parsed.global, parsed.action); }));
  add_vm_name(sub, parsed.action.vm);
  sub->add_flag("--no-wait", parsed.action.no_wait, "Do not wait for the verdict");
  add_output(sub);

  sub =
      command(*vm, "reset-guest-state",
              "Give a stopped VM a new TPM and new UEFI variables; what was sealed to the old ones is lost",
              "  bootseal vm stop demo\n  bootseal vm reset-guest-state demo --yes",
              on_vm(parsed.action.vm, [this] { return vm_reset_guest_state(parsed.global, parsed.action); }));
  add_vm_name(sub, parsed.action.vm);
  sub->add_flag("-y,--yes", parsed.action.yes, "Do not ask");
  add_output(sub);

  sub = command(*vm, "console", "The serial console; Ctrl-] leaves",
                "  bootseal vm console demo\n"
                "  printf 'uname -r\\n' | bootseal vm console demo --until '[0-9]+-cloud' --timeout 60\n"
                "  bootseal vm console demo --until 'login:' --timeout 300 </dev/null",
                on_vm(parsed.console.vm, [this] { return vm_console(parsed.global, parsed.console); }));
  add_vm_name(sub, parsed.console.vm);
  sub->add_option("--send", parsed.console.send,
                  "Type this instead of standard input; \\n (Enter), \\r, \\t, \\xNN and \\\\ are understood")
      ->type_name("TEXT");
  sub->add_option("--until", parsed.console.until,
                  "End at the line that holds this text or matches this extended regular expression")
      ->type_name("TEXT");
  sub->add_option("--timeout", parsed.console.timeout_seconds, "Fail after so many seconds")
      ->type_name("SECONDS")
      ->check(CLI::Validator([](std::string& text) { return check_seconds(text); }, ""));
  add_quiet(sub);

  sub = command(*vm, "log", "What the serial console has shown so far", "  bootseal vm log demo | less",
                on_vm(parsed.log.vm, [this] { return vm_log(parsed.log); }));
  add_vm_name(sub, parsed.log.vm);
  sub->add_flag("--raw", parsed.log.raw,
                "Terminal control sequences too, also on a terminal (a pipe or file always gets them)");
}

}  // namespace bootseal::app
