#include "certificates.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "bootseal/base/clock.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/crypto/x509.h"

namespace bootseal::swtpm {
namespace {

constexpr std::chrono::days kCaValidity{365 * 30};
constexpr std::chrono::days kCertificateValidity{365 * 30};
constexpr std::chrono::seconds kToolLimit{120};
constexpr std::size_t kMaximumFile = std::size_t{64} << 10;
constexpr std::string_view kOidPlatformCertificate = "2.23.133.8.2";  // tcg-kp-PlatformAttributeCertificate

class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create() {
    std::string name = (std::filesystem::temp_directory_path() / "swtpm_setup.certs.XXXXXX").native();
    if (::mkdtemp(name.data()) == nullptr)
      return fail_errno(errno, "making a temporary folder for certificates");
    return TemporaryFolder(name);
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

std::string text_of(ByteSpan bytes) {
  return std::string(as_text(bytes));
}

}  // namespace

std::filesystem::path default_ca_folder() {
  if (::geteuid() == 0) return "/var/lib/bootseal-swtpm-ca";
  return user_configuration_folder() / "bootseal-swtpm-ca";
}

Result<LocalCa> LocalCa::open(const std::filesystem::path& folder) {
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  // One maker at a time; the others find what it made.
  BOOTSEAL_TRY(const UniqueFd lock, open_file(folder / ".lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX) != 0)
    return fail_errno(errno, fmt::format("locking the CA in {}", folder.native()));
  const std::filesystem::path key_path = folder / "ca-key.pem";
  const std::filesystem::path certificate_path = folder / "ca.pem";
  if (!std::filesystem::exists(certificate_path)) {
    BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::generate(crypto::KeyKind::ec_p256));
    const std::string name = "Local TPM CA " + Guid::random().to_string().substr(0, 8);
    BOOTSEAL_TRY(
        const crypto::Certificate certificate,
        crypto::make_self_signed(key, crypto::site_ca_content(name, Clock::system().now(), kCaValidity)));
    BOOTSEAL_TRY_STATUS(replace_file(key_path, key.pem().view(), 0600));
    BOOTSEAL_TRY_STATUS(replace_file(certificate_path, as_bytes(certificate.pem()), 0644));
  }
  BOOTSEAL_TRY(Bytes key, read_file(key_path, kMaximumFile));
  BOOTSEAL_TRY(const Bytes certificate, read_file(certificate_path, kMaximumFile));
  LocalCa ca(text_of(key), text_of(certificate));
  crypto::wipe(key);
  return ca;
}

Result<Bytes> LocalCa::certify(const guest::TpmCertificateRequest& request, const std::string& vm_id) const {
  BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::from_pem(key_));
  BOOTSEAL_TRY(const crypto::Certificate ca, crypto::Certificate::from_pem(certificate_));
  BOOTSEAL_TRY(const crypto::PublicKey subject, crypto::PublicKey::from_der(request.subject_public_key_info));
  const std::size_t colon = vm_id.rfind(':');
  const std::string last = colon == std::string::npos ? vm_id : vm_id.substr(colon + 1);
  const auto guid = Guid::parse(last);
  const std::string id = (guid ? *guid : Guid::random()).to_string();
  const std::string name = colon == std::string::npos || !guid ? vm_id : vm_id.substr(0, colon);
  crypto::CertificateContent content = crypto::tpm_ek_content(id, name.empty() ? id : name, subject.kind(),
                                                              Clock::system().now(), kCertificateValidity);
  if (request.kind == guest::TpmCertificateRequest::Kind::platform) {
    content.key_usage = crypto::kUsageDigitalSignature;
    content.extended_key_usages = {std::string(kOidPlatformCertificate)};
  }
  BOOTSEAL_TRY(const crypto::Certificate certificate, crypto::issue_certificate(key, ca, subject, content));
  return certificate.der();
}

Result<Bytes> certify_with_tool(const SetupConfiguration& configuration, guest::TpmVersion version,
                                const guest::TpmCertificateRequest& request,
                                const guest::TpmDescription& description,
                                const std::optional<std::string>& vm_id,
                                const std::optional<std::string>& log_file, const Say& say) {
  const bool ek = request.kind == guest::TpmCertificateRequest::Kind::endorsement;
  BOOTSEAL_TRY(const TemporaryFolder folder, TemporaryFolder::create());
  const std::string& tool = configuration.at("create_certs_tool");
  Command command;
  command.arguments = {
      tool, "--type", ek ? "ek" : "platform", "--ek", request.key_parameter, "--dir", folder.path().native()};
  const auto add = [&](std::string name, const std::optional<std::string>& value) {
    if (value) command.arguments.insert(command.arguments.end(), {std::move(name), *value});
  };
  const auto configured = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = configuration.find(name);
    return found == configuration.end() ? std::nullopt : std::optional(found->second);
  };
  add("--logfile", log_file);
  add("--vmid", vm_id);
  add("--tpm-spec-family", description.family);
  add("--tpm-spec-level", std::to_string(description.level));
  add("--tpm-spec-revision", std::to_string(description.revision));
  add("--tpm-manufacturer", description.manufacturer);
  add("--tpm-model", description.model);
  add("--tpm-version", description.version);
  if (version == guest::TpmVersion::v2_0) command.arguments.push_back("--tpm2");
  add("--configfile", configured("create_certs_tool_config"));
  add("--optsfile", configured("create_certs_tool_options"));
  say(fmt::format("  Invoking {}", fmt::join(command.arguments, " ")));
  const auto output = run_command(command, {}, kToolLimit);
  const std::string program = std::filesystem::path(tool).filename().native();
  if (!output) {
    return fail(ErrorCode::unavailable,
                fmt::format("{} (create_certs_tool of the configuration) cannot be run", tool),
                output.error());
  }
  if (output->exit_code != 0) {
    return fail(ErrorCode::unavailable, fmt::format("{} exit with status {}: {}", program, output->exit_code,
                                                    output->standard_error));
  }
  for (const std::string_view line : {std::string_view(output->standard_output)})
    if (!line.empty()) say(fmt::format("{}: {}", program, line.substr(0, line.find_last_not_of('\n') + 1)));
  return read_file(folder.path() / (ek ? "ek.cert" : "platform.cert"), kMaximumFile);
}

}  // namespace bootseal::swtpm
