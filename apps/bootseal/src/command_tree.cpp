#include "command_tree.h"

#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "bootseal/cli/output.h"
#include "reference.h"

namespace bootseal::app {

Status check_name(std::string_view what, const std::string& name) {
  if (is_valid_resource_name(name)) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("the {} '{}' is invalid: wanted 1 to 64 letters, digits, '.', '_' and '-', beginning and "
                  "ending with a letter or a digit",
                  what, name));
}

CommandTree::CommandTree() : app("Trusted Launch for the servers you own.", "bootseal") {
  app.require_subcommand(1);
  app.fallthrough(false);
  app.footer(
      "Begin with:\n  bootseal up\n  bootseal image build debian-12-mini\n  bootseal vm create --name demo "
      "--image debian-12-mini\n  bootseal vm show demo\n\n"
      "BOOTSEAL_HOME chooses the site's folder. Exit codes: 0 done, 1 a defect, 2 wrong input, 3 not "
      "found, 4 exists already, 5 conflict,\n"
      "6 not allowed, 7 not known, 8 cannot be reached, 9 too slow, 10 cancelled, 11 used up, 12 not "
      "possible here, 13 damaged, 14 input or\n"
      "output failed, 20 to 24 the guest state is missing, foreign, under another key, damaged, stale.\n"
      "`bootseal vmgs` has those of vmgstool.");
  app.set_version_flag("--version", fmt::format("bootseal {}", BOOTSEAL_VERSION), "The version");
  add_site_commands();
  add_image_commands();
  add_vm_commands();
  add_identity_commands();
  add_vmgs_commands();
  add_help_commands();
}

CLI::App* CommandTree::command(CLI::App& parent, const std::string& name, const std::string& description,
                               const std::string& examples, Run run) {
  CLI::App* sub = parent.add_subcommand(name, description);
  sub->footer("Examples:\n" + examples);
  sub->callback([this, run = std::move(run)] { parsed.run = run; });
  return sub;
}

void CommandTree::add_output(CLI::App* sub) {
  const std::map<std::string, cli::Format> formats = {
      {"json", cli::Format::json}, {"table", cli::Format::table}, {"tsv", cli::Format::tsv}};
  sub->add_option_function<std::string>(
         "-o,--output", [this, formats](const std::string& text) { parsed.global.format = formats.at(text); },
         "What to print for programs: json, table or tsv")
      ->check(CLI::IsMember({"json", "table", "tsv"}).description(""))
      ->type_name("FORMAT");
  add_quiet(sub);
}

void CommandTree::add_quiet(CLI::App* sub) {
  sub->add_flag("-q,--quiet", parsed.global.quiet, "No progress and no advice");
}

void CommandTree::add_site_commands() {
  CLI::App* sub =
      command(app, "up", "Start the site: vault, attestation, host and control plane under one supervisor",
              "  bootseal up                                      # in the background; logs are in HOME/log\n"
              "  bootseal up --vault-passphrase-file /run/secret  # the passphrase is kept elsewhere",
              [this] { return up(parsed.global, parsed.up); });
  sub->add_flag("--foreground", parsed.up.foreground, "Stay in the foreground and end the daemons on Ctrl-C");
  sub->add_option("--vault-passphrase-file", parsed.up.passphrase_file,
                  "File with the vault's passphrase (default: HOME/credentials/vault-passphrase, made at the "
                  "first start)")
      ->type_name("FILE");
  sub->add_option("--report-fd", parsed.up.report_fd, "Where the detached supervisor reports")->group("");
  add_quiet(sub);

  sub = command(app, "down", "End the daemons; VMs keep running unless told otherwise",
                "  bootseal down             # `bootseal up` finds the VMs again\n"
                "  bootseal down --stop-vms  # shut the VMs down first",
                [this] { return down(parsed.global, parsed.down); });
  sub->add_flag("--stop-vms", parsed.down.stop_vms,
                "Shut all VMs down first, and end those that do not react");
  add_quiet(sub);

  sub = command(
      app, "status", "What runs, on which host, and which protections this machine or user cannot give",
      "  bootseal status\n  bootseal status -o json", [this] { return site_status(parsed.global); });
  add_output(sub);
}

void CommandTree::add_image_commands() {
  CLI::App* image = app.add_subcommand("image", "Images that VMs are made from");
  image->require_subcommand(1);
  CLI::App* sub =
      command(*image, "build", "Build an image from Debian's signed packages",
              "  bootseal image build debian-12-mini              # 64 MiB: shim, grub, kernel, busybox\n"
              "  bootseal image build debian-12                   # systemd, cloud-init, ssh\n"
              "  bootseal image build debian-12 --version 1.1.0   # a newer one beside it",
              [this] { return image_build(parsed.global, parsed.image_build); });
  sub->add_option("NAME", parsed.image_build.name, "The recipe, which is also the image's name")
      ->required()
      ->type_name("");
  sub->add_option("--version", parsed.image_build.version, "The image's version (default: 1.0.0)")
      ->type_name("VERSION");
  sub->add_flag("--if-missing", parsed.image_build.if_missing, "Do nothing when the image is there already");
  sub->add_option("--add", parsed.image_build.additions,
                  "A further file: FILE=PATH in the guest (repeatable)")
      ->type_name("FILE=PATH")
      ->allow_extra_args(false);
  add_output(sub);

  sub = command(*image, "list", "The images of this site",
                "  bootseal image list\n  bootseal image list -o json",
                [this] { return image_list(parsed.global); });
  add_output(sub);

  sub = command(*image, "show", "An image: its system, its memory, whether it has cloud-init, its boot chain",
                "  bootseal image show debian-12-mini\n  bootseal image show debian-12:1.1.0 -o json",
                [this] { return image_show(parsed.global, parsed.image_reference); });
  sub->add_option("IMAGE", parsed.image_reference, "NAME (its newest version) or NAME:VERSION")
      ->required()
      ->type_name("");
  add_output(sub);

  sub = command(*image, "delete", "Delete an image that no VM is made from",
                "  bootseal image delete debian-12:1.1.0\n  bootseal image delete debian-12-mini --yes",
                [this] { return image_delete(parsed.global, parsed.image_reference, parsed.image_yes); });
  sub->add_option("IMAGE", parsed.image_reference, "NAME:VERSION, or NAME when it has one version")
      ->required()
      ->type_name("");
  sub->add_flag("-y,--yes", parsed.image_yes, "Do not ask");
  add_output(sub);
}

void CommandTree::add_help_commands() {
  command(app, "version", "The version of this program", "  bootseal version", []() -> Status {
    fmt::print("bootseal {}\n", BOOTSEAL_VERSION);
    return {};
  });
  CLI::App* sub = command(
      app, "completion", "A script that completes this program's commands and options",
      "  source <(bootseal completion bash)\n  bootseal completion bash > /etc/bash_completion.d/bootseal",
      [this]() -> Status {
        fmt::print("{}", bash_completion(app));
        return {};
      });
  sub->add_option("SHELL", parsed.shell, "bash")
      ->check(CLI::IsMember({"bash"}).description(""))
      ->type_name("");
  sub = command(app, "complete", "Names for the completion, one a line", "  bootseal complete vm",
                [this] { return complete_names(parsed.complete_kind); });
  sub->add_option("KIND", parsed.complete_kind)
      ->required()
      ->check(CLI::IsMember({"vm", "image", "recipe", "group", "size"}).description(""));
  sub->group("");
  sub = command(app, "help-markdown", "docs/cli.md", "  bootseal help-markdown > docs/cli.md",
                [this]() -> Status {
                  fmt::print("{}", markdown_reference(app));
                  return {};
                });
  sub->group("");
}

}  // namespace bootseal::app
