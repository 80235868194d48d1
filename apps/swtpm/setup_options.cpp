#include "setup_options.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <getopt.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "bootseal/base/fds.h"

namespace bootseal::swtpm {
namespace {

enum Letter : int {
  kState = 256,
  kIgnoredWithValue,
  kIgnored,
  kTpm2,
  kEcc,
  kCreateEk,
  kCreateSpk,
  kTakeOwnership,
  kOwnerPassword,
  kOwnerWellKnown,
  kSrkPassword,
  kSrkWellKnown,
  kEkCertificate,
  kPlatformCertificate,
  kLockNv,
  kConfig,
  kVmId,
  kKey,
  kKeyFile,
  kKeyFd,
  kPasswordFile,
  kPasswordFd,
  kCipher,
  kRunAs,
  kLogFile,
  kOverwrite,
  kNotOverwrite,
  kAllowSigning,
  kDecryption,
  kPcrBanks,
  kRsaKeySize,
  kCertificatesFolder,
  kCreateConfigFiles,
  kVersion,
  kPrintCapabilities,
  kReconfigure,
  kImport
};

// --tpm (there is no other program here) and what swtpm_setup itself ignores are taken and have no effect.
constexpr option kOptions[] = {{"tpm-state", required_argument, nullptr, kState},
                               {"tpmstate", required_argument, nullptr, kState},
                               {"tpm", required_argument, nullptr, kIgnoredWithValue},
                               {"swtpm_ioctl", required_argument, nullptr, kIgnoredWithValue},
                               {"tcsd-system-ps-file", required_argument, nullptr, kIgnoredWithValue},
                               {"ownerpass", required_argument, nullptr, kOwnerPassword},
                               {"srkpass", required_argument, nullptr, kSrkPassword},
                               {"owner-well-known", no_argument, nullptr, kOwnerWellKnown},
                               {"srk-well-known", no_argument, nullptr, kSrkWellKnown},
                               {"display", no_argument, nullptr, kIgnored},
                               {"tpm2", no_argument, nullptr, kTpm2},
                               {"ecc", no_argument, nullptr, kEcc},
                               {"createek", no_argument, nullptr, kCreateEk},
                               {"create-spk", no_argument, nullptr, kCreateSpk},
                               {"take-ownership", no_argument, nullptr, kTakeOwnership},
                               {"create-ek-cert", no_argument, nullptr, kEkCertificate},
                               {"create-platform-cert", no_argument, nullptr, kPlatformCertificate},
                               {"lock-nvram", no_argument, nullptr, kLockNv},
                               {"config", required_argument, nullptr, kConfig},
                               {"vmid", required_argument, nullptr, kVmId},
                               {"key", required_argument, nullptr, kKey},
                               {"keyfile", required_argument, nullptr, kKeyFile},
                               {"keyfile-fd", required_argument, nullptr, kKeyFd},
                               {"pwdfile", required_argument, nullptr, kPasswordFile},
                               {"pwdfile-fd", required_argument, nullptr, kPasswordFd},
                               {"cipher", required_argument, nullptr, kCipher},
                               {"runas", required_argument, nullptr, kRunAs},
                               {"logfile", required_argument, nullptr, kLogFile},
                               {"overwrite", no_argument, nullptr, kOverwrite},
                               {"not-overwrite", no_argument, nullptr, kNotOverwrite},
                               {"allow-signing", no_argument, nullptr, kAllowSigning},
                               {"decryption", no_argument, nullptr, kDecryption},
                               {"pcr-banks", required_argument, nullptr, kPcrBanks},
                               {"rsa-keysize", required_argument, nullptr, kRsaKeySize},
                               {"write-ek-cert-files", required_argument, nullptr, kCertificatesFolder},
                               {"create-config-files", optional_argument, nullptr, kCreateConfigFiles},
                               {"version", no_argument, nullptr, kVersion},
                               {"print-capabilities", no_argument, nullptr, kPrintCapabilities},
                               {"reconfigure", no_argument, nullptr, kReconfigure},
                               {"import-swtpm", no_argument, nullptr, kImport},
                               {"help", no_argument, nullptr, 'h'},
                               {nullptr, 0, nullptr, 0}};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string expanded(std::string_view value) {
  std::string result;
  for (;;) {
    const std::size_t start = value.find("${");
    const std::size_t end = start == std::string_view::npos ? start : value.find('}', start);
    if (end == std::string_view::npos) return result + std::string(value);
    result += value.substr(0, start);
    const char* variable = std::getenv(std::string(value.substr(start + 2, end - start - 2)).c_str());
    if (variable != nullptr) result += variable;
    value.remove_prefix(end + 1);
  }
}

}  // namespace

Result<SetupCommandLine> parse_setup_command_line(std::vector<std::string> arguments) {
  SetupCommandLine line;
  std::vector<char*> values;
  for (std::string& argument : arguments) values.push_back(argument.data());
  values.push_back(nullptr);
  const auto count = static_cast<int>(arguments.size());
  optind = 0;
  for (int letter = 0; (letter = ::getopt_long(count, values.data(), "h?", kOptions, nullptr)) != -1;) {
    switch (letter) {
      case kState:
        line.state = optarg;
        break;
      case kIgnored:
      case kIgnoredWithValue:
        break;
      case kTpm2:
        line.tpm2 = true;
        break;
      case kEcc:
        line.ecc = true;
        break;
      case kCreateEk:
        line.create_ek = true;
        break;
      case kCreateSpk:
        line.create_spk = true;
        break;
      case kTakeOwnership:
        line.create_ek = line.take_ownership = true;
        break;
      case kOwnerPassword:
        line.owner_password = optarg;
        break;
      case kOwnerWellKnown:
        line.owner_well_known = true;
        break;
      case kSrkPassword:
        line.srk_password = optarg;
        break;
      case kSrkWellKnown:
        line.srk_well_known = true;
        break;
      case kEkCertificate:
        line.create_ek = line.ek_certificates = true;
        break;
      case kPlatformCertificate:
        line.create_ek = line.platform_certificate = true;
        break;
      case kLockNv:
        line.lock_nv = true;
        break;
      case kConfig:
        line.config = optarg;
        break;
      case kVmId:
        line.vm_id = optarg;
        break;
      case kKey:
        line.key = optarg;
        break;
      case kKeyFile:
        line.key_file = optarg;
        break;
      case kKeyFd:
        line.key_fd = optarg;
        break;
      case kPasswordFile:
        line.password_file = optarg;
        break;
      case kPasswordFd:
        line.password_fd = optarg;
        break;
      case kCipher:
        line.cipher = optarg;
        break;
      case kRunAs:
        line.run_as = optarg;
        break;
      case kLogFile:
        line.log_file = optarg;
        break;
      case kOverwrite:
        line.overwrite = true;
        break;
      case kNotOverwrite:
        line.not_overwrite = true;
        break;
      case kAllowSigning:
        line.allow_signing = true;
        break;
      case kDecryption:
        line.decryption = true;
        break;
      case kPcrBanks:
        line.pcr_banks = line.pcr_banks ? *line.pcr_banks + "," + optarg : std::string(optarg);
        break;
      case kRsaKeySize:
        line.rsa_key_size = optarg;
        break;
      case kCertificatesFolder:
        line.certificates_folder = optarg;
        break;
      case kCreateConfigFiles:
        // Its flags may also be the next argument.
        if (optarg == nullptr && optind < count && values[static_cast<std::size_t>(optind)][0] != '-')
          optarg = values[static_cast<std::size_t>(optind++)];
        line.create_config_files = optarg != nullptr ? optarg : "";
        return line;
      case kVersion:
        line.version = true;
        return line;
      case kPrintCapabilities:
        line.print_capabilities = true;
        break;
      case kReconfigure:
        line.reconfigure = true;
        break;
      case kImport:
        line.import_swtpm = true;
        break;
      case 'h':
        line.help = true;
        return line;
      default:
        line.wrong_usage = true;
        return line;
    }
  }
  if (optind < count) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("Unknown parameter '{}'", values[static_cast<std::size_t>(optind)]));
  }
  return line;
}

SetupConfiguration parse_setup_configuration(std::string_view text) {
  SetupConfiguration configuration;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (line.starts_with('#') || equals == std::string_view::npos) continue;
    configuration.emplace(trimmed(line.substr(0, equals)), expanded(trimmed(line.substr(equals + 1))));
  }
  return configuration;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    if (const std::string_view part = trimmed(text.substr(0, comma)); !part.empty()) parts.emplace_back(part);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

std::filesystem::path user_configuration_folder() {
  if (const char* folder = std::getenv("XDG_CONFIG_HOME"); folder != nullptr && *folder != '\0')
    return folder;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : "/") / ".config";
}

Result<std::vector<std::filesystem::path>> write_configuration_files(std::string_view flags) {
  const std::vector<std::string> words = split_list(flags);
  const auto has = [&](std::string_view word) { return std::ranges::find(words, word) != words.end(); };
  if (has("overwrite") && has("skip-if-exist")) {
    return fail(ErrorCode::invalid_argument, "Error: overwrite and skip-if-exist cannot both be used");
  }
  if (::getuid() == 0 && !has("root")) {
    return fail(ErrorCode::permission_denied,
                "Requiring the 'root' flag since the configuration files will shadow those in /etc.");
  }
  const std::filesystem::path folder = user_configuration_folder();
  const std::filesystem::path path = folder / "swtpm_setup.conf";
  if (std::filesystem::exists(path) && !has("overwrite")) {
    if (has("skip-if-exist")) return std::vector<std::filesystem::path>{};
    return fail(ErrorCode::already_exists,
                fmt::format("File {} already exists. Refusing to overwrite.", path.native()));
  }
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0755));
  const std::string text = fmt::format(
      "# No create_certs_tool: certificates come from the CA in this folder, which is made when it is first "
      "used.\n"
      "local_ca_folder = {}\n"
      "# Comma-separated list (no spaces) of PCR banks to activate by default\n"
      "active_pcr_banks = sha256\n",
      (folder / "bootseal-swtpm-ca").native());
  BOOTSEAL_TRY_STATUS(replace_file(path, as_bytes(text), 0644));
  return std::vector<std::filesystem::path>{path};
}

std::string setup_usage(std::string_view program) {
  return fmt::format(
      "Usage: {} [--tpm2] --tpm-state FOLDER|dir://FOLDER|file://FILE [options]\n\n"
      "Makes the TPM of a new machine. The options are those of swtpm_setup 0.7.1; docs/bootseal-swtpm.md "
      "says what\n"
      "differs.\n\n"
      "--tpm2                  : a TPM 2.0; without it a TPM 1.2\n"
      "--createek              : RSA and ECC P-384 endorsement keys (TPM 1.2: RSA)\n"
      "--create-ek-cert        : with their certificates\n"
      "--create-platform-cert  : and that of the platform\n"
      "--take-ownership        : of a TPM 1.2\n"
      "--ownerpass TEXT|--owner-well-known  --srkpass TEXT|--srk-well-known\n"
      "                        : the passwords of that, ooo and sss; well known: 20 zero bytes\n"
      "--create-spk [--ecc]    : a storage primary key at 0x81000001\n"
      "--allow-signing [--decryption]: endorsement keys that sign (no standard ones)\n"
      "--rsa-keysize 2048|3072|max\n"
      "--lock-nvram            : the NV indices made here are written for good\n"
      "--pcr-banks NAMES|-     : banks to activate; - leaves them all\n"
      "--overwrite             : make a new TPM over one that is there\n"
      "--not-overwrite         : leave one that is there, without an error\n"
      "--reconfigure           : change the PCR banks of one that is there\n"
      "--import-swtpm          : take over the state that swtpm left there; its files are kept as *.swtpm\n"
      "--keyfile FILE|--keyfile-fd FD|--pwdfile FILE|--pwdfile-fd FD [--cipher aes-128-cbc|aes-256-cbc]\n"
      "--key OPTION            : the same as bootseal-swtpm takes it (kdf=, format=)\n"
      "                        : the key that seals the state\n"
      "--vmid TEXT             : the machine's name in certificates; NAME:GUID as libvirt gives it\n"
      "--config FILE           : swtpm_setup.conf, in $XDG_CONFIG_HOME or /etc\n"
      "--write-ek-cert-files FOLDER\n"
      "--create-config-files [overwrite][,root][,skip-if-exist]\n"
      "--logfile FILE  --runas USER  --print-capabilities  --version  --help\n",
      program);
}

}  // namespace bootseal::swtpm
