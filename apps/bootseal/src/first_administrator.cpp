#include "first_administrator.h"

#include <fmt/format.h>

#include "bootseal/base/fds.h"
#include "bootseal/cli/site_client.h"
#include "bootseal/crypto/x509.h"

namespace bootseal::app {
namespace {

constexpr std::chrono::days kLifetime{730};
constexpr std::chrono::days kRenewedBefore{30};
constexpr std::size_t kMaximumFile = 65536;

bool is_usable(const std::filesystem::path& file, TimePoint now) {
  const auto content = read_file(file, kMaximumFile);
  if (!content) return false;
  const std::string_view text = as_text(*content);
  const std::size_t begin = text.find("-----BEGIN CERTIFICATE-----");
  if (begin == std::string_view::npos) return false;
  const auto certificate = crypto::Certificate::from_pem(text.substr(begin));
  return certificate && certificate->not_after() > now + kRenewedBefore;
}

}  // namespace

std::filesystem::path administrator_file(const Paths& paths) {
  return paths.folder_of("cli") / fmt::format("{}.pem", kFirstAdministrator);
}

Result<bool> ensure_first_administrator(const Paths& paths) {
  const std::filesystem::path file = administrator_file(paths);
  const TimePoint now = Clock::system().now();
  if (is_usable(file, now)) return false;
  BOOTSEAL_TRY(cli::Profile profile, cli::Profile::load(paths.folder_of("cli")));
  BOOTSEAL_TRY(const auto site, cli::SiteClient::create(std::move(profile)));
  // RSA: MSAL signs its assertions with RS256.
  BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::generate(crypto::KeyKind::rsa));
  BOOTSEAL_TRY(
      const crypto::Certificate certificate,
      crypto::make_self_signed(key, crypto::tls_client_content(kFirstAdministrator, now, kLifetime)));
  const std::string path = fmt::format("/v1/principals/{}", kFirstAdministrator);
  const auto known = site->call("GET", path);
  if (known) {
    BOOTSEAL_TRY_STATUS(
        site->call("POST", path + "/credentials", json::Object{{"certificatePem", certificate.pem()}}));
  } else if (known.error().code == ErrorCode::not_found) {
    BOOTSEAL_TRY_STATUS(site->call("POST", "/v1/principals",
                                   json::Object{{"name", kFirstAdministrator},
                                                {"type", "ServicePrincipal"},
                                                {"certificatePem", certificate.pem()},
                                                {"role", "Owner"},
                                                {"scope", "/"}}));
  } else {
    return tl::unexpected(known.error());
  }
  const crypto::Secret private_key = key.pem();
  std::string text = std::string(as_text(private_key.view())) + certificate.pem();
  const Status written = replace_file(file, as_bytes(text), 0600);
  crypto::wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
  BOOTSEAL_TRY_STATUS(written);
  return true;
}

}  // namespace bootseal::app
