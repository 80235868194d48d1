// bootseal-swtpm-setup: makes the TPM of a new machine, on swtpm_setup's command line
// (docs/bootseal-swtpm.md).
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "bootseal/crypto/digest.h"
#include "bootseal/guest/swtpm.h"
#include "bootseal/log/log.h"
#include "certificates.h"
#include "key_option.h"
#include "process.h"
#include "setup_options.h"

namespace bootseal::swtpm {
namespace {

constexpr std::string_view kSwtpmVersion = "0.7.1";  // whose command line this is
constexpr std::size_t kMaximumConfiguration = std::size_t{1} << 20;
constexpr mode_t kStateMode = 0640;
constexpr mode_t kCertificateMode = 0640;

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}

// --logfile, or standard output for what was done and standard error for what went wrong.
class Log {
 public:
  Status open(const std::string& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode))
      return bad("Logfile must not be a symlink.");
    BOOTSEAL_TRY(file_, open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0644));
    return {};
  }
  void done(std::string_view line) { put(STDOUT_FILENO, line); }
  void wrong(std::string_view line) { put(STDERR_FILENO, line); }

 private:
  void put(int fd, std::string_view line) {
    static_cast<void>(write_all(file_.valid() ? file_.get() : fd, as_bytes(fmt::format("{}\n", line))));
  }
  UniqueFd file_;
};

std::string who() {
  const passwd* user = ::getpwuid(::getuid());
  const group* members = ::getgrgid(::getgid());
  return fmt::format("{}:{}", user != nullptr ? user->pw_name : "<unknown>",
                     members != nullptr ? members->gr_name : "<unknown>");
}

std::string now() {
  const std::time_t time = std::time(nullptr);
  std::tm local{};
  char text[64] = "";
  if (::localtime_r(&time, &local) != nullptr)
    std::strftime(text, sizeof(text), "%a %d %h %Y %I:%M:%S %p %Z", &local);
  return text;
}

guest::TpmVersion version_of(const SetupCommandLine& line) {
  return line.tpm2 ? guest::TpmVersion::v2_0 : guest::TpmVersion::v1_2;
}

Result<guest::SwtpmLocation> location_of(const SetupCommandLine& line) {
  if (!line.state) return bad("--tpm-state must be provided");
  if (line.state->starts_with("dir://") || line.state->starts_with("file://"))
    return guest::SwtpmLocation::from_uri(*line.state, kStateMode, version_of(line));
  return guest::SwtpmLocation::directory(*line.state, kStateMode, version_of(line));
}

Status check_access(const guest::SwtpmLocation& location) {
  const std::filesystem::path folder = location.file.parent_path();
  const bool ok = location.in_directory ? ::access(folder.c_str(), R_OK | W_OK | X_OK) == 0
                                        : ::access(location.file.c_str(), R_OK | W_OK) == 0 ||
                                              ::access(folder.c_str(), W_OK | X_OK) == 0;
  if (ok) return {};
  return fail(ErrorCode::permission_denied,
              fmt::format("Need read/write rights on {} for user {}.",
                          (location.in_directory ? folder : location.file).native(), who()));
}

Result<std::optional<crypto::Secret>> key_of(const SetupCommandLine& line, Log& log) {
  BOOTSEAL_TRY_STATUS(key_size_of_mode(line.cipher));
  if (line.key) {
    BOOTSEAL_TRY(crypto::Secret key, key_from_option(*line.key));
    log.done("  The TPM's state will be encrypted with a provided key.");
    return std::optional<crypto::Secret>(std::move(key));
  }
  const std::pair<const std::optional<std::string>&, std::string_view> sources[] = {
      {line.key_file, "file"},
      {line.password_file, "pwdfile"},
      {line.key_fd, "fd"},
      {line.password_fd, "pwdfd"}};
  for (const auto& [value, name] : sources) {
    if (!value) continue;
    BOOTSEAL_TRY(crypto::Secret key,
                 key_from_option(fmt::format("{}={},mode={}", name, *value, line.cipher)));
    log.done(name.starts_with("pwd")
                 ? "  The TPM's state will be encrypted using a key derived from a passphrase."
                 : "  The TPM's state will be encrypted with a provided key.");
    return std::optional<crypto::Secret>(std::move(key));
  }
  return std::nullopt;
}

Result<unsigned> rsa_bits_of(const SetupCommandLine& line) {
  const std::vector<unsigned> sizes = guest::swtpm_rsa_key_sizes();
  if (line.rsa_key_size == "max") return sizes.empty() ? 2048U : sizes.back();
  if (line.rsa_key_size == "2048") return 2048U;
  if (line.rsa_key_size != "3072") return bad(fmt::format("Unsupported RSA key size {}.", line.rsa_key_size));
  for (const unsigned size : sizes)
    if (size == 3072) return size;
  return bad("3072 bit RSA keys are not supported by libtpms.");
}

// What was asked for by name must be there; the usual places may be empty.
Result<SetupConfiguration> configuration_of(const SetupCommandLine& line) {
  std::vector<std::filesystem::path> places{user_configuration_folder() / "swtpm_setup.conf",
                                            "/etc/swtpm_setup.conf"};
  if (line.config) places = {*line.config};
  for (const std::filesystem::path& path : places) {
    if (::access(path.c_str(), R_OK) != 0) continue;
    BOOTSEAL_TRY(const Bytes text, read_file(path, kMaximumConfiguration));
    return parse_setup_configuration(as_text(text));
  }
  if (line.config)
    return fail(ErrorCode::not_found,
                fmt::format("User {} cannot read config file {}.", who(), line.config->c_str()));
  return SetupConfiguration{};
}

Status check_combination(const SetupCommandLine& line) {
  if (!line.tpm2 && line.ecc) return bad("--ecc requires --tpm2.");
  if (!line.tpm2 && line.create_spk) return bad("--create-spk requires --tpm2.");
  if (!line.tpm2 && line.reconfigure) return bad("--reconfigure requires --tpm2.");
  if (line.tpm2 && line.take_ownership) return bad("Taking ownership is not supported for TPM 2.");
  if (line.reconfigure && (line.create_ek || line.ek_certificates || line.platform_certificate))
    return bad("Reconfiguration is not supported with creation of EK or certificates");
  return {};
}

class Certifier {
 public:
  Certifier(const SetupCommandLine& line, const SetupConfiguration& configuration, Log& log)
      : line_(line), configuration_(configuration), log_(log) {}

  Result<Bytes> operator()(const guest::TpmCertificateRequest& request,
                           const guest::TpmDescription& description) const {
    BOOTSEAL_TRY(const Bytes der, make(request, description));
    if (line_.certificates_folder && request.kind == guest::TpmCertificateRequest::Kind::endorsement) {
      BOOTSEAL_TRY_STATUS(
          replace_file(*line_.certificates_folder / fmt::format("ek-{}.crt", request.key_name),
                       guest::without_stored_certificate_header(der), kCertificateMode));
    }
    return der;
  }

 private:
  [[nodiscard]] Result<Bytes> make(const guest::TpmCertificateRequest& request,
                                   const guest::TpmDescription& description) const {
    if (configuration_.contains("create_certs_tool")) {
      return certify_with_tool(configuration_, version_of(line_), request, description, line_.vm_id,
                               line_.log_file, [this](std::string_view text) { log_.done(text); });
    }
    const auto folder = configuration_.find("local_ca_folder");
    BOOTSEAL_TRY(const LocalCa ca,
                 LocalCa::open(folder == configuration_.end() ? default_ca_folder()
                                                              : std::filesystem::path(folder->second)));
    return ca.certify(request, line_.vm_id.value_or(""));
  }

  const SetupCommandLine& line_;
  const SetupConfiguration& configuration_;
  Log& log_;
};

Result<guest::TpmSetupOptions> setup_options(const SetupCommandLine& line,
                                             const SetupConfiguration& configuration, Log& log) {
  guest::TpmSetupOptions options;
  options.create_ek = line.create_ek;
  options.ek_certificates = line.ek_certificates;
  options.platform_certificate = line.platform_certificate;
  options.lock_nv = line.lock_nv;
  options.create_spk = line.create_spk;
  options.spk_ecc = line.ecc;
  options.allow_signing = line.allow_signing;
  options.decryption = line.decryption;
  BOOTSEAL_TRY(options.rsa_bits, rsa_bits_of(line));
  options.pcr_banks = split_list(line.pcr_banks.value_or(""));
  if (options.pcr_banks.empty()) {
    const auto configured = configuration.find("active_pcr_banks");
    if (configured != configuration.end()) options.pcr_banks = split_list(configured->second);
    if (options.pcr_banks.empty()) options.pcr_banks = {"sha256"};
  }
  if (options.pcr_banks == std::vector<std::string>{"-"}) options.pcr_banks.clear();
  options.certify = Certifier(line, configuration, log);
  options.say = [&log](std::string_view text) { log.done(text); };
  return options;
}

// SHA-1 of the password, of 20 zero bytes when it is to be the well-known one.
crypto::Secret secret_of(const std::optional<std::string>& password, bool well_known,
                         std::string_view otherwise) {
  const Bytes zeroes(20);
  const ByteSpan text = password     ? as_bytes(std::string_view(*password))
                        : well_known ? ByteSpan(zeroes)
                                     : as_bytes(otherwise);
  return crypto::Secret::copy_of(crypto::digest(crypto::HashAlgorithm::sha1, text));
}

guest::Tpm12SetupOptions tpm12_options(const SetupCommandLine& line, const SetupConfiguration& configuration,
                                       Log& log) {
  guest::Tpm12SetupOptions options;
  options.create_ek = line.create_ek;
  options.take_ownership = line.take_ownership;
  options.ek_certificate = line.ek_certificates;
  options.platform_certificate = line.platform_certificate;
  options.lock_nv = line.lock_nv;
  options.owner_secret = secret_of(line.owner_password, line.owner_well_known, "ooo");
  options.srk_secret = secret_of(line.srk_password, line.srk_well_known, "sss");
  options.certify = Certifier(line, configuration, log);
  options.say = [&log](std::string_view text) { log.done(text); };
  return options;
}

// A new TPM in the place of whatever is there.
Status make_tpm(guest::SwtpmStore& store, const SetupCommandLine& line,
                const SetupConfiguration& configuration, Log& log) {
  if (!line.tpm2) {
    const guest::Tpm12SetupOptions options = tpm12_options(line, configuration, log);
    return store.replace_all([&](guest::GuestState& state) { return guest::set_up_tpm12(state, options); });
  }
  BOOTSEAL_TRY(const guest::TpmSetupOptions options, setup_options(line, configuration, log));
  return store.replace_all([&](guest::GuestState& state) { return guest::set_up_tpm(state, options); });
}

Status reconfigure(guest::SwtpmStore& store, const SetupCommandLine& line,
                   const SetupConfiguration& configuration, Log& log) {
  BOOTSEAL_TRY(const guest::TpmSetupOptions options, setup_options(line, configuration, log));
  BOOTSEAL_TRY(const auto state, store.open(guest::SwtpmStore::WhenMissing::refuse));
  BOOTSEAL_TRY_STATUS(guest::reconfigure_tpm(*state, options));
  return store.remember(state->generation());
}

Status work(const SetupCommandLine& line, Log& log) {
  BOOTSEAL_TRY_STATUS(check_combination(line));
  BOOTSEAL_TRY(const guest::SwtpmLocation location, location_of(line));
  BOOTSEAL_TRY_STATUS(check_access(location));
  if (line.certificates_folder && ::access(line.certificates_folder->c_str(), W_OK | X_OK) != 0) {
    return fail(ErrorCode::permission_denied, fmt::format("Need write rights on {} for user {}.",
                                                          line.certificates_folder->native(), who()));
  }
  BOOTSEAL_TRY(const std::optional<crypto::Secret> key, key_of(line, log));
  guest::SwtpmStore store(location, key ? &*key : nullptr);
  if (line.import_swtpm) {
    BOOTSEAL_TRY_STATUS(store.import_swtpm());
    log.done("Successfully imported swtpm's TPM state.");
    return {};
  }
  if (!line.reconfigure) {
    BOOTSEAL_TRY(const auto present, store.list());
    BOOTSEAL_TRY(const bool other, store.holds_other_family());
    if (other && !line.overwrite) {
      const guest::SwtpmLocation found = location.other_family();
      return fail(ErrorCode::already_exists,
                  fmt::format("Found existing state of a {}: {}. One directory holds one TPM.",
                              guest::version_name(found.version), found.file.native()));
    }
    if (!present.empty() && line.not_overwrite) {
      log.done("Not overwriting existing state file.");
      return {};
    }
    if (!present.empty() && !line.overwrite) {
      return fail(ErrorCode::already_exists, "Found existing TPM state 'permall'.");
    }
  }
  BOOTSEAL_TRY(const SetupConfiguration configuration, configuration_of(line));
  log.done(fmt::format("Starting vTPM {} as {} @ {}", line.reconfigure ? "reconfiguration" : "manufacturing",
                       who(), now()));
  const Status outcome = line.reconfigure ? reconfigure(store, line, configuration, log)
                                          : make_tpm(store, line, configuration, log);
  if (outcome) log.done("Successfully authored TPM state.");
  if (!outcome) log.wrong("An error occurred. Authoring the TPM state failed.");
  log.done(fmt::format("Ending vTPM manufacturing @ {}", now()));
  return outcome;
}

void print_capabilities() {
  std::string sizes;
  for (const unsigned size : guest::swtpm_rsa_key_sizes())
    if (size >= 2048) sizes += fmt::format(", \"tpm2-rsa-keysize-{}\"", size);
  fmt::print(
      "{{ \"type\": \"swtpm_setup\", \"features\": [ \"tpm-1.2\", \"tpm-2.0\", \"cmdarg-keyfile-fd\", "
      "\"cmdarg-pwdfile-fd\", "
      "\"tpm12-not-need-root\", \"cmdarg-write-ek-cert-files\", \"cmdarg-create-config-files\", "
      "\"cmdarg-reconfigure-pcr-banks\"{} ], \"version\": \"{}\" }}\n",
      sizes, kSwtpmVersion);
}

int run(std::vector<std::string> arguments) {
  const std::string program = arguments.empty() ? "bootseal-swtpm-setup" : arguments.front();
  const auto line = parse_setup_command_line(std::move(arguments));
  Log log;
  if (!line) {
    log.wrong(line.error().describe());
    return EXIT_FAILURE;
  }
  if (line->version) {
    fmt::print("TPM emulator setup tool version {}, bootseal-swtpm-setup {}\n", kSwtpmVersion,
               BOOTSEAL_VERSION);
    return EXIT_SUCCESS;
  }
  if (line->help || line->wrong_usage) {
    fmt::print(line->help ? stdout : stderr, "{}", setup_usage(program));
    return line->help ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  if (line->create_config_files) {
    const auto written = write_configuration_files(*line->create_config_files);
    if (!written) log.wrong(written.error().describe());
    if (written)
      for (const auto& path : *written) log.done(fmt::format("Writing {}.", path.native()));
    return written ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  if (line->print_capabilities) {
    print_capabilities();
    return EXIT_SUCCESS;
  }
  const Status outcome = [&]() -> Status {
    if (line->run_as) BOOTSEAL_TRY_STATUS(run_as(*line->run_as));
    if (line->log_file) BOOTSEAL_TRY_STATUS(log.open(*line->log_file));
    protect_memory();
    return work(*line, log);
  }();
  if (outcome) return EXIT_SUCCESS;
  log.wrong(outcome.error().describe());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace bootseal::swtpm

int main(int count, char** values) {
  bootseal::log::start("bootseal-swtpm-setup");
  return bootseal::swtpm::run({values, values + count});
}
