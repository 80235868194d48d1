// The commands of `bootseal vmgs`, as the parser knows them: vmgstool's names, options and exit codes.
#include "command_tree.h"

namespace bootseal::app {
namespace {

const std::string kExitCodes =
    "Exit codes: 0 done, 1 an error, 2 not encrypted (or wrong input), 3 empty, 4 no such file id, 5 version "
    "1, "
    "6 encrypted by the VM id alone,\n7 encrypted by an unknown scheme.";

void add_file(CLI::App* sub, VmgsOptions& options) {
  sub->add_option("-f,--file-path,--filepath", options.file_path, "The guest state file (.vmgs)")
      ->required()
      ->type_name("FILE");
  sub->add_flag("--raw", options.raw, "It has no VHD footer");
  sub->add_option("--sector-size", options.sector_size,
                  "Bytes of a sector: 512, or 4096 with --raw (default: 512)")
      ->check(CLI::IsMember({512, 4096}).description(""))
      ->type_name("BYTES");
}

CLI::Option* add_key(CLI::App* sub, VmgsOptions& options, const std::string& description) {
  return sub->add_option("-k,--key-path,--keypath", options.key_path, description)->type_name("FILE");
}

void add_algorithm(CLI::App* sub, VmgsOptions& options) {
  sub->add_option("-e,--encryption-algorithm,--encryptionalgorithm", options.algorithm,
                  "AES_GCM is the only one (default: AES_GCM)")
      ->check(CLI::IsMember({"AES_GCM"}).description(""))
      ->type_name("ALGORITHM");
}

void add_id(CLI::App* sub, const std::string& names, vmgs::FileId& target, const std::string& description) {
  sub->add_option_function<std::string>(
         names,
         [&target](const std::string& text) { target = vmgs::parse_file_id(text).value_or(vmgs::FileId{}); },
         description)
      ->required()
      ->type_name("ID")
      ->check(CLI::Validator(
          [](std::string& text) {
            return vmgs::parse_file_id(text)
                       ? std::string()
                       : "wanted a number from 0 to 63 or a name as TPM_NVRAM, there is '" + text + "'";
          },
          ""));
}

void add_file_id(CLI::App* sub, VmgsOptions& options) {
  add_id(sub, "-i,--file-id,--fileid", options.file_id, "Which file: a number, or a name as BIOS_NVRAM");
}

constexpr const char* kKeyHelp = "File with the 32 bytes of the key";

}  // namespace

CLI::App* CommandTree::vmgs_command(CLI::App& vmgs, const std::string& name, const std::string& description,
                                    const std::string& examples, VmgsRun run) {
  CLI::App* sub = command(vmgs, name, description, examples + "\n\n" + kExitCodes,
                          [this, run = std::move(run)]() -> Status {
                            const VmgsStatus done = run(parsed.global, parsed.vmgs);
                            if (done) return {};
                            parsed.exit_code = static_cast<int>(done.error().exit);
                            return tl::unexpected(done.error().error);
                          });
  add_file(sub, parsed.vmgs);
  add_output(sub);
  return sub;
}

void CommandTree::add_vmgs_read_commands(CLI::App& vmgs) {
  CLI::App* sub =
      vmgs_command(vmgs, "dump", "Read one file of a store; without the key a sealed one as it is stored",
                   "  bootseal vmgs dump -f vm.vmgs -i VM_UNIQUE_ID\n"
                   "  bootseal vmgs dump -f vm.vmgs -i 1 -k vm.key -d variables.bin",
                   vmgs_dump);
  add_file_id(sub, parsed.vmgs);
  add_key(sub, parsed.vmgs, kKeyHelp);
  CLI::Option* data = sub->add_option("-d,--data-path,--datapath", parsed.vmgs.data_path,
                                      "Where the bytes go (default: standard output, as hexadecimal)")
                          ->type_name("FILE");
  sub->add_flag("--raw-stdout", parsed.vmgs.raw_stdout, "The bytes themselves on standard output")
      ->excludes(data);

  vmgs_command(vmgs, "dump-headers", "Both headers, field by field",
               "  bootseal vmgs dump-headers -f vm.vmgs", vmgs_dump_headers);
  sub = vmgs_command(vmgs, "dump-file-table", "The files of a store: size, place, sealed or not",
                     "  bootseal vmgs dump-file-table -f vm.vmgs -o json", vmgs_dump_file_table);
  add_key(sub, parsed.vmgs, kKeyHelp);
  sub = vmgs_command(vmgs, "query-size", "The size of one file in bytes, and nothing else",
                     "  bootseal vmgs query-size -f vm.vmgs -i TPM_NVRAM", vmgs_query_size);
  add_file_id(sub, parsed.vmgs);
  vmgs_command(vmgs, "query-encryption",
               "Whether a store is encrypted, and by which scheme; the exit code tells",
               "  bootseal vmgs query-encryption -f vm.vmgs", vmgs_query_encryption);
}

void CommandTree::add_vmgs_write_commands(CLI::App& vmgs) {
  VmgsOptions& options = parsed.vmgs;
  CLI::App* sub =
      vmgs_command(vmgs, "create", "Make an empty store",
                   "  bootseal vmgs create -f vm.vmgs\n"
                   "  bootseal vmgs create -f vm.vmgs --key-path vm.key --encryption-algorithm AES_GCM",
                   vmgs_create);
  sub->add_option("-s,--file-size,--filesize", options.file_size,
                  "Bytes of the body, without the footer (default: 4194304)")
      ->type_name("BYTES");
  add_key(sub, options, "File with the 32 bytes of the key: the store is encrypted from the start");
  add_algorithm(sub, options);
  sub->add_flag("--force-create,--forcecreate", options.force_create, "Replace a file that is there");

  sub = vmgs_command(vmgs, "write", "Write one file of a store; sealed when the key is given",
                     "  bootseal vmgs write -f vm.vmgs -i 1 -d variables.bin\n"
                     "  bootseal vmgs write -f vm.vmgs -i 1 -d variables.bin -k vm.key --allow-overwrite",
                     vmgs_write);
  add_file_id(sub, options);
  sub->add_option("-d,--data-path,--datapath", options.data_path, "The file with the bytes")
      ->required()
      ->type_name("FILE");
  add_key(sub, options, kKeyHelp);
  sub->add_flag("--allow-overwrite,--allowoverwrite", options.allow_overwrite,
                "Replace a file that is there");
  sub->add_flag("--plain", options.plain, "Do not seal it, although the store has a key");

  sub = vmgs_command(vmgs, "move", "Give a file another id",
                     "  bootseal vmgs move -f vm.vmgs --src-file-id 3 --dst-file-id 17", vmgs_move);
  add_id(sub, "--src-file-id", options.source, "The id it has");
  add_id(sub, "--dst-file-id", options.destination, "The id it gets");
  add_key(sub, options, kKeyHelp);
  sub->add_flag("--allow-overwrite,--allowoverwrite", options.allow_overwrite,
                "Replace a file that is there");

  sub = vmgs_command(vmgs, "delete", "Delete one file of a store", "  bootseal vmgs delete -f vm.vmgs -i 2",
                     vmgs_delete);
  add_file_id(sub, options);
  add_key(sub, options, kKeyHelp);
}

void CommandTree::add_vmgs_key_commands(CLI::App& vmgs) {
  CLI::App* sub = vmgs_command(vmgs, "encrypt", "Give a store its first key; files that are there stay plain",
                               "  bootseal vmgs encrypt -f vm.vmgs -k vm.key -e AES_GCM", vmgs_encrypt);
  add_key(sub, parsed.vmgs, kKeyHelp)->required();
  add_algorithm(sub, parsed.vmgs);
  sub =
      vmgs_command(vmgs, "update-key", "Replace the key of a store",
                   "  bootseal vmgs update-key -f vm.vmgs -k old.key -n new.key -e AES_GCM", vmgs_update_key);
  add_key(sub, parsed.vmgs, "File with the 32 bytes of the present key")->required();
  sub->add_option("-n,--new-key-path,--newkeypath", parsed.vmgs.new_key_path,
                  "File with the 32 bytes of the new key")
      ->required()
      ->type_name("FILE");
  add_algorithm(sub, parsed.vmgs);
}

void CommandTree::add_vmgs_care_commands(CLI::App& vmgs) {
  CLI::App* sub = vmgs_command(
      vmgs, "check", "Say what is in order and what is not, structure by structure",
      "  bootseal vmgs check -f vm.vmgs\n  bootseal vmgs check -f vm.vmgs -k vm.key -o json", vmgs_check);
  add_key(sub, parsed.vmgs, "File with the 32 bytes of the key: the seals are checked too");
  sub = vmgs_command(
      vmgs, "repair", "Make a damaged store one that opens; shows what it would do, asks, and keeps a copy",
      "  bootseal vmgs repair -f vm.vmgs\n  bootseal vmgs repair -f vm.vmgs -k vm.key --yes -o json",
      vmgs_repair);
  add_key(sub, parsed.vmgs, "File with the 32 bytes of the key: it proves what can be kept");
  sub->add_flag("-y,--yes", parsed.vmgs.yes, "Do not ask");
  sub->add_flag("--no-backup", parsed.vmgs.no_backup, "Keep no copy of the file as it was");
}

void CommandTree::add_vmgs_commands() {
  CLI::App* vmgs =
      app.add_subcommand("vmgs", "Guest state files: read, write, encrypt, check, repair; needs no site");
  vmgs->require_subcommand(1);
  add_vmgs_write_commands(*vmgs);
  add_vmgs_read_commands(*vmgs);
  add_vmgs_key_commands(*vmgs);
  add_vmgs_care_commands(*vmgs);
}

}  // namespace bootseal::app
