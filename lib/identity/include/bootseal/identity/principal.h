// Who may sign in: service principals (programs, with client secrets and certificates) and users (people,
// with passwords). A principal is a value; whoever holds it stores its JSON form. Secrets are kept as scrypt
// hashes only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/scrypt.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/json/json.h"

namespace bootseal::identity {

// A secret as it is kept.
struct SecretHash {
  Bytes salt;
  crypto::ScryptParameters parameters;
  Bytes hash;

  // What people choose gets a hash that takes 32 MiB and about a tenth of a second; what we made ourselves
  // from 256 random bits needs no such work.
  enum class Strength : std::uint8_t { generated, chosen };
  static Result<SecretHash> of(std::string_view secret, Strength strength);
  // Takes as long for a wrong secret as for the right one.
  [[nodiscard]] Result<bool> matches(std::string_view secret) const;
  [[nodiscard]] json::Object to_json() const;
  static Result<SecretHash> parse(const json::Value& value);
};

struct Credential {
  enum class Kind : std::uint8_t { secret, certificate };
  std::string id;  // a GUID
  Kind kind = Kind::secret;
  TimePoint created;
  TimePoint expires;
  SecretHash secret;
  std::string hint;   // the first characters of a generated secret, to tell it from others
  Bytes certificate;  // DER

  [[nodiscard]] bool valid_at(TimePoint now) const { return now < expires; }
};

struct Principal {
  enum class Kind : std::uint8_t { service_principal, user };
  std::string id;      // the object id, a GUID
  std::string app_id;  // of a service principal: what clients call `client_id`, a GUID
  Kind kind = Kind::service_principal;
  std::string name;  // of a user: the one to sign in with, "alice@local"
  bool enabled = true;
  TimePoint created;
  std::vector<Credential> credentials;

  // As it is stored.
  [[nodiscard]] json::Object to_json() const;
  static Result<Principal> parse(const json::Value& value);
  // As administrators see it: without anything derived from a secret.
  [[nodiscard]] json::Object to_answer() const;
};
std::string_view to_string(Principal::Kind kind);  // "ServicePrincipal", "User", as role assignments have it

inline constexpr std::size_t kMaximumCredentials = 16;
inline constexpr std::chrono::days kSecretLifetime{365};
inline constexpr std::chrono::days kMaximumSecretLifetime{730};

// 1 to 64 of [A-Za-z0-9._-], for a user also '@' and '+'; begins with a letter or digit.
bool is_valid_principal_name(std::string_view name, Principal::Kind kind);

struct NewPrincipal {
  std::string name;
  Principal::Kind kind = Principal::Kind::service_principal;
};
// Without credentials. invalid_argument for a name that is none.
Result<Principal> make_principal(const NewPrincipal& wanted, TimePoint now);

struct NewSecret {
  std::string credential_id;
  std::string text;  // to be shown once; only its hash stays
};
// Adds a secret made from 256 random bits (to a user: a password of 20 characters that can be typed).
// exhausted with kMaximumCredentials, invalid_argument for a lifetime that is not 1 day to 2 years.
Result<NewSecret> add_secret(Principal& principal, TimePoint now,
                             std::chrono::days lifetime = kSecretLifetime);
// Sets a password that a person chose; replaces every other one of the user. invalid_argument for less than
// 12 or more than 256 characters, and for a principal that is no user.
Status set_password(Principal& principal, std::string_view password, TimePoint now);
// Adds a certificate; it is valid as long as it says. Errors: invalid_argument (no certificate, a key we do
// not verify with, ended), already_exists, exhausted, and invalid_argument for users.
Result<std::string> add_certificate(Principal& principal, std::string_view pem, TimePoint now);
// not_found when it has none of that id.
Status remove_credential(Principal& principal, std::string_view credential_id);

// The credential that the secret is of, when there is one that is valid at `now`. Works as long for a
// principal without credentials (or nullptr: nobody of that name) as for one with.
Result<std::optional<std::string>> check_secret(const Principal* principal, std::string_view secret,
                                                TimePoint now);

}  // namespace bootseal::identity
