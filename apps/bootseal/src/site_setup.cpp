#include "site_setup.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bootseal/base/fds.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/x509.h"
#include "daemons.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kPassphraseBytes = 32;
constexpr std::string_view kFirmware = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
constexpr std::string_view kAdministrator = "admin";

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view folders = path != nullptr ? path : "/usr/bin:/bin";
  while (!folders.empty()) {
    const std::size_t end = std::min(folders.find(':'), folders.size());
    if (::access((std::filesystem::path(folders.substr(0, end)) / program).c_str(), X_OK) == 0) return true;
    folders.remove_prefix(std::min(end + 1, folders.size()));
  }
  return false;
}

Result<json::Value> bootstrap(const Paths& paths, const std::string& csr_pem) {
  net::ClientOptions options;
  options.unix_socket = paths.socket_of("controld");
  options.base_url = "http://daemon";
  BOOTSEAL_TRY(const auto client, net::Client::create(std::move(options)));
  json::Object body;
  body["name"] = kAdministrator;
  body["csrPem"] = csr_pem;
  return client->call_json("POST", "/v1/bootstrap", body);
}

// Whether the site takes the profile as it is.
bool is_taken(const cli::Profile& profile) {
  auto site = cli::SiteClient::create(profile);
  return site && (*site)->call("GET", (*site)->subscription_path()).has_value();
}

}  // namespace

std::vector<std::string> missing_on_this_machine(const Paths& paths) {
  std::vector<std::string> missing;
  for (const std::string_view daemon : kDaemons) {
    const auto program = paths.programs / fmt::format("bootseal-{}", daemon);
    if (::access(program.c_str(), X_OK) != 0)
      missing.push_back(fmt::format(
          "{} is not there; install Bootseal whole, or set BOOTSEAL_BIN to the folder of its programs",
          program.string()));
  }
  if (const auto guestd = paths.programs / "bootseal-guestd"; ::access(guestd.c_str(), X_OK) != 0) {
    missing.push_back(fmt::format("{} is not there; install Bootseal whole", guestd.string()));
  }
  if (!in_path("qemu-system-x86_64"))
    missing.emplace_back("qemu-system-x86_64 is not there; apt-get install qemu-system-x86");
  if (!in_path("qemu-img")) missing.emplace_back("qemu-img is not there; apt-get install qemu-utils");
  if (::access(kFirmware.data(), R_OK) != 0)
    missing.push_back(fmt::format("the firmware {} is not there; apt-get install ovmf", kFirmware));
  return missing;
}

Status make_folders(const Paths& paths) {
  const std::pair<std::filesystem::path, mode_t> folders[] = {
      {paths.home, 0711},         {paths.credentials(), 0700}, {paths.images(), 0755},
      {paths.home / "log", 0750}, {paths.home / "vms", 0711},  {paths.run, 0711},
      {paths.run / "vms", 0711}};
  for (const auto& [folder, mode] : folders) {
    if (const Status made = make_folder(folder, mode); !made)
      return tl::unexpected(made.error().wrap(fmt::format("making {}", folder.string())));
  }
  return {};
}

Result<std::filesystem::path> passphrase_file(const Paths& paths, const std::string& named) {
  if (!named.empty()) {
    if (::access(named.c_str(), R_OK) != 0)
      return fail_errno(errno, fmt::format("reading the vault's passphrase from {}", named));
    return std::filesystem::absolute(named);
  }
  std::filesystem::path file = paths.credentials() / "vault-passphrase";
  std::error_code error;
  if (std::filesystem::exists(file, error)) return file;
  if (std::filesystem::exists(paths.folder_of("vaultd") / "master.json", error)) {
    return fail(ErrorCode::not_found, fmt::format("the vault has a master key, but its passphrase is not at "
                                                  "{}; put it back, or give --vault-passphrase-file",
                                                  file.string()));
  }
  const std::string text = to_base64url(crypto::random_bytes(kPassphraseBytes)) + "\n";
  BOOTSEAL_TRY_STATUS(replace_file(file, as_bytes(text), 0400));
  return file;
}

Result<bool> ensure_profile(const Paths& paths) {
  const std::filesystem::path folder = paths.folder_of("cli");
  if (const auto profile = cli::Profile::load(folder); profile && is_taken(*profile)) return false;
  BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::generate(crypto::KeyKind::ec_p256));
  BOOTSEAL_TRY(const crypto::CertificateRequest csr,
               crypto::CertificateRequest::create(key, {{"CN", std::string(kAdministrator)}}));
  BOOTSEAL_TRY(const json::Value answer, bootstrap(paths, csr.pem()));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "controld's answer"));
  cli::Profile profile;
  BOOTSEAL_TRY(profile.endpoint, reader.string("endpoint"));
  BOOTSEAL_TRY(profile.tenant, reader.string("tenant"));
  BOOTSEAL_TRY(profile.subscription, reader.string("subscription"));
  BOOTSEAL_TRY(profile.ca_pem, reader.string("caPem"));
  BOOTSEAL_TRY(profile.token, reader.string("token"));
  BOOTSEAL_TRY(profile.client_certificate_pem, reader.string("clientCertificatePem"));
  profile.client_key_pem = as_text(key.pem().view());
  BOOTSEAL_TRY_STATUS(profile.save(folder));
  if (!is_taken(profile))
    return fail(
        ErrorCode::internal,
        fmt::format("the control plane at {} does not take the token it has just made", profile.endpoint));
  return true;
}

}  // namespace bootseal::app
