#include "bootseal/identity/principal.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::identity {
namespace {

constexpr std::size_t kMaximumName = 64;
constexpr std::size_t kSecretBytes = 32;
constexpr std::string_view kSecretPrefix = "bss_";  // lets scanners of leaked secrets recognise it
constexpr std::size_t kHintLength = 8;              // with the prefix; leaves 232 unknown bits
constexpr std::size_t kPasswordLength = 20;
constexpr std::size_t kShortestPassword = 12, kLongestPassword = 256;
constexpr std::chrono::days kPasswordLifetime{36525};
// Without letters and digits that look alike; 32 of them, so that a random byte has no bias.
constexpr std::string_view kPasswordLetters = "abcdefghijkmnpqrstuvwxyz23456789";
static_assert(kPasswordLetters.size() == 32);

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string random_password() {
  Bytes random = crypto::random_bytes(kPasswordLength);
  std::string password;
  for (std::size_t i = 0; i < random.size(); ++i) {
    if (i > 0 && i % 5 == 0) password += '-';
    password += kPasswordLetters[std::to_integer<std::size_t>(random[i]) % kPasswordLetters.size()];
  }
  crypto::wipe(random);
  return password;
}

std::string random_secret() {
  Bytes random = crypto::random_bytes(kSecretBytes);
  std::string secret = std::string(kSecretPrefix) + to_base64url(random);
  crypto::wipe(random);
  return secret;
}

Status check_room(const Principal& principal) {
  if (principal.credentials.size() < kMaximumCredentials) return {};
  return fail(ErrorCode::exhausted,
              fmt::format("'{}' has {} credentials, which is the most there can be; remove "
                          "one first",
                          principal.name, principal.credentials.size()));
}

Credential new_credential(Credential::Kind kind, TimePoint now, TimePoint expires) {
  Credential credential;
  credential.id = Guid::random().to_string();
  credential.kind = kind;
  credential.created = now;
  credential.expires = expires;
  return credential;
}

// What is hashed in the place of a credential that is not there: the same work, never the same result.
const SecretHash& nobody() {
  static const SecretHash hash = [] {
    SecretHash made;
    made.salt = crypto::random_bytes(16);
    made.parameters = {1U << 15, 8, 1};
    made.hash = crypto::random_bytes(32);
    return made;
  }();
  return hash;
}

}  // namespace

bool is_valid_principal_name(std::string_view name, Principal::Kind kind) {
  if (name.empty() || name.size() > kMaximumName || !is_letter_or_digit(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [kind](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-' ||
           (kind == Principal::Kind::user && (c == '@' || c == '+'));
  });
}

Result<Principal> make_principal(const NewPrincipal& wanted, TimePoint now) {
  if (!is_valid_principal_name(wanted.name, wanted.kind))
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no name for a {}: wanted 1 to 64 letters, digits, '.', '_', '-'{}, "
                            "beginning with a letter or digit",
                            wanted.name.substr(0, 80), to_string(wanted.kind),
                            wanted.kind == Principal::Kind::user ? ", '@' and '+'" : ""));
  Principal principal;
  principal.id = Guid::random().to_string();
  if (wanted.kind == Principal::Kind::service_principal) principal.app_id = Guid::random().to_string();
  principal.kind = wanted.kind;
  principal.name = wanted.name;
  principal.created = now;
  return principal;
}

Result<NewSecret> add_secret(Principal& principal, TimePoint now, std::chrono::days lifetime) {
  BOOTSEAL_TRY_STATUS(check_room(principal));
  if (lifetime < std::chrono::days(1) || lifetime > kMaximumSecretLifetime)
    return fail(ErrorCode::invalid_argument, fmt::format("a secret lives 1 to {} days, not {}",
                                                         kMaximumSecretLifetime.count(), lifetime.count()));
  const bool user = principal.kind == Principal::Kind::user;
  Credential credential = new_credential(Credential::Kind::secret, now, now + lifetime);
  NewSecret made{credential.id, user ? random_password() : random_secret()};
  BOOTSEAL_TRY(credential.secret, SecretHash::of(made.text, user ? SecretHash::Strength::chosen
                                                                 : SecretHash::Strength::generated));
  if (!user) credential.hint = made.text.substr(0, kHintLength);
  principal.credentials.push_back(std::move(credential));
  return made;
}

Status set_password(Principal& principal, std::string_view password, TimePoint now) {
  if (principal.kind != Principal::Kind::user)
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is a service principal: it gets secrets that are made for it, no password",
                            principal.name));
  if (password.size() < kShortestPassword || password.size() > kLongestPassword)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a password has {} to {} characters", kShortestPassword, kLongestPassword));
  Credential credential = new_credential(Credential::Kind::secret, now, now + kPasswordLifetime);
  BOOTSEAL_TRY(credential.secret, SecretHash::of(password, SecretHash::Strength::chosen));
  principal.credentials.clear();
  principal.credentials.push_back(std::move(credential));
  return {};
}

Result<std::string> add_certificate(Principal& principal, std::string_view pem, TimePoint now) {
  if (principal.kind == Principal::Kind::user)
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is a user: certificates are for service principals", principal.name));
  BOOTSEAL_TRY_STATUS(check_room(principal));
  BOOTSEAL_TRY(const crypto::Certificate certificate, crypto::Certificate::from_pem(pem));
  BOOTSEAL_TRY(const crypto::PublicKey key, certificate.public_key());
  if (key.kind() == crypto::KeyKind::ec_p384)
    return fail(ErrorCode::invalid_argument, "wanted a certificate with an RSA or EC P-256 key");
  if (certificate.not_after() <= now)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the certificate ended at {}", format_time(certificate.not_after())));
  Credential credential = new_credential(Credential::Kind::certificate, now, certificate.not_after());
  credential.certificate = certificate.der();
  const bool known =
      std::any_of(principal.credentials.begin(), principal.credentials.end(), [&](const Credential& one) {
        return one.kind == Credential::Kind::certificate && one.certificate == credential.certificate;
      });
  if (known) return fail(ErrorCode::already_exists, fmt::format("'{}' has this certificate", principal.name));
  principal.credentials.push_back(credential);
  return credential.id;
}

Status remove_credential(Principal& principal, std::string_view credential_id) {
  const std::size_t removed =
      std::erase_if(principal.credentials, [&](const Credential& one) { return one.id == credential_id; });
  if (removed > 0) return {};
  return fail(ErrorCode::not_found, fmt::format("'{}' has no credential '{}'", principal.name,
                                                std::string(credential_id.substr(0, 64))));
}

Result<std::optional<std::string>> check_secret(const Principal* principal, std::string_view secret,
                                                TimePoint now) {
  std::optional<std::string> found;
  bool worked = false;
  if (principal != nullptr && secret.size() <= kLongestPassword) {
    for (const Credential& credential : principal->credentials) {
      if (credential.kind != Credential::Kind::secret || !credential.valid_at(now)) continue;
      worked = true;
      BOOTSEAL_TRY(const bool matches, credential.secret.matches(secret));
      if (matches) {
        found = credential.id;
        break;
      }
    }
  }
  if (!worked) BOOTSEAL_TRY_STATUS(nobody().matches(secret.substr(0, kLongestPassword)));
  return found;
}

}  // namespace bootseal::identity
