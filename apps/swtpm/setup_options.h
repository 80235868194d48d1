// swtpm_setup's command line and its configuration file.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::swtpm {

struct SetupCommandLine {
  bool help = false;
  bool wrong_usage = false;
  bool version = false;
  bool print_capabilities = false;
  bool import_swtpm = false;
  bool tpm2 = false;
  bool create_ek = false, ek_certificates = false, platform_certificate = false;
  bool create_spk = false, ecc = false, allow_signing = false, decryption = false, lock_nv = false;
  bool take_ownership = false;  // of a TPM 1.2
  bool owner_well_known = false, srk_well_known = false;
  std::optional<std::string> owner_password, srk_password;
  bool overwrite = false, not_overwrite = false, reconfigure = false;
  std::optional<std::string> state, config, vm_id, key, key_file, password_file, run_as, log_file, pcr_banks;
  std::optional<std::string> key_fd, password_fd;
  std::optional<std::string> create_config_files;  // the flags given, perhaps none
  std::optional<std::filesystem::path> certificates_folder;
  std::string cipher = "aes-128-cbc";
  std::string rsa_key_size = "2048";
};

// Errors: invalid_argument.
Result<SetupCommandLine> parse_setup_command_line(std::vector<std::string> arguments);
std::string setup_usage(std::string_view program);

// "name = value" lines; "#" begins a comment; ${NAME} in a value stands for that environment variable.
using SetupConfiguration = std::map<std::string, std::string>;
SetupConfiguration parse_setup_configuration(std::string_view text);

// "sha1, sha256" to its names.
std::vector<std::string> split_list(std::string_view text);

// ${XDG_CONFIG_HOME:-~/.config}.
std::filesystem::path user_configuration_folder();

// --create-config-files: flags "overwrite", "root", "skip-if-exist". Returns the files written. Errors:
// invalid_argument, already_exists, permission_denied, io_error.
Result<std::vector<std::filesystem::path>> write_configuration_files(std::string_view flags);

}  // namespace bootseal::swtpm
