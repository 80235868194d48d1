// Access tokens of a site, and the keys that sign them. A token is believed for what it says, without asking
// the store: who has one and what they may is looked up by its `oid`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/jws.h"
#include "bootseal/crypto/key.h"
#include "bootseal/json/json.h"

namespace bootseal::identity {

inline constexpr std::chrono::hours kTokenLifetime{1};
inline constexpr std::chrono::minutes kClockSkew{5};
inline constexpr std::chrono::hours kKeyLifetime{24};

struct Claims {
  std::string issuer;
  std::string audience;
  std::string object_id;  // `oid` and `sub`
  std::string app_id;     // `appid`: the client that asked
  std::string tenant;
  std::string name;  // of a user: `upn`
  bool user = false;
  TimePoint issued;
  TimePoint expires;
  std::string id;  // `jti`
};

struct SigningKey {
  std::string id;  // `kid`: the key's RFC 7638 thumbprint
  crypto::PrivateKey key;
  TimePoint created;
};

// The keys of a site, newest first. Not thread safe.
class KeyRing {
 public:
  // As it was stored. corrupt for anything else.
  static Result<KeyRing> parse(const json::Value& value);
  [[nodiscard]] json::Object to_json() const;  // with the private keys: for a store that only we read

  // Makes a key when there is none or the newest is a day old, and forgets those whose last token has ended.
  // True when something changed.
  Result<bool> rotate(TimePoint now);
  [[nodiscard]] const std::vector<SigningKey>& keys() const { return keys_; }
  // {"keys":[…]}, RFC 7517.
  [[nodiscard]] json::Object jwks() const;

  // RS256 with the newest key; rotate() must have been called.
  [[nodiscard]] Result<std::string> sign(const json::Object& payload) const;
  // unauthenticated for a token of another key, a changed one, and one that is not of `tenant`; timeout for
  // one that has ended ("the access token expired at …").
  [[nodiscard]] Result<Claims> verify(std::string_view token, std::string_view tenant, TimePoint now) const;

 private:
  std::vector<SigningKey> keys_;
};

// iss, aud, sub, oid, appid, tid, exp, nbf, iat, jti, ver; idtyp, and upn for a user.
json::Object access_token_payload(const Claims& claims);
// An OpenID id_token for the client: aud is the client's id; tid, upn, preferred_username, name.
json::Object id_token_payload(const Claims& claims, std::string_view nonce);

}  // namespace bootseal::identity
