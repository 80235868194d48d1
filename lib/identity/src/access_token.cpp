#include "bootseal/identity/access_token.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::identity {
namespace {

constexpr std::chrono::hours kKeyMemory = kKeyLifetime + kTokenLifetime + std::chrono::hours(1);

std::int64_t seconds_of(TimePoint time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

tl::unexpected<Error> refuse(std::string message) {
  return fail(ErrorCode::unauthenticated, std::move(message));
}

Result<TimePoint> time_claim(json::Reader& reader, std::string_view name) {
  BOOTSEAL_TRY(const std::int64_t seconds, reader.integer(name));
  return TimePoint(std::chrono::seconds(seconds));
}

Result<Claims> read_claims(const json::Value& payload) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(payload, "the access token"));
  Claims claims;
  BOOTSEAL_TRY(claims.issuer, reader.string("iss"));
  BOOTSEAL_TRY(claims.audience, reader.string("aud"));
  BOOTSEAL_TRY(claims.object_id, reader.string("oid"));
  BOOTSEAL_TRY(claims.app_id, reader.string("appid"));
  BOOTSEAL_TRY(claims.tenant, reader.string("tid"));
  BOOTSEAL_TRY(claims.name, reader.string_or("upn", ""));
  BOOTSEAL_TRY(const std::string type, reader.string("idtyp"));
  claims.user = type == "user";
  BOOTSEAL_TRY(claims.issued, time_claim(reader, "iat"));
  BOOTSEAL_TRY(claims.expires, time_claim(reader, "exp"));
  BOOTSEAL_TRY(claims.id, reader.string("jti"));
  return claims;
}

json::Object common_payload(const Claims& claims, const std::string& audience) {
  return {{"aud", audience},
          {"iss", claims.issuer},
          {"iat", seconds_of(claims.issued)},
          {"nbf", seconds_of(claims.issued - kClockSkew)},
          {"exp", seconds_of(claims.expires)},
          {"oid", claims.object_id},
          {"sub", claims.object_id},
          {"tid", claims.tenant}};
}

}  // namespace

Result<KeyRing> KeyRing::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the signing keys"));
  BOOTSEAL_TRY(auto list, reader.objects("keys"));
  KeyRing ring;
  for (json::Reader& one : list) {
    BOOTSEAL_TRY(const std::string created, one.string("created"));
    BOOTSEAL_TRY(const TimePoint time, parse_time(created));
    BOOTSEAL_TRY(Bytes der, one.base64("privateKey"));
    auto key = crypto::PrivateKey::from_der(der);
    crypto::wipe(der);
    if (!key) return fail(ErrorCode::corrupt, "a stored signing key is damaged", key.error());
    ring.keys_.push_back({crypto::jwk_thumbprint(key->public_key()), *key, time});
  }
  return ring;
}

json::Object KeyRing::to_json() const {
  json::Array list;
  for (const SigningKey& key : keys_) {
    list.emplace_back(
        json::Object{{"created", format_time(key.created)}, {"privateKey", to_base64(key.key.der().view())}});
  }
  return {{"keys", std::move(list)}};
}

Result<bool> KeyRing::rotate(TimePoint now) {
  const std::size_t before = keys_.size();
  std::erase_if(keys_, [now](const SigningKey& key) { return key.created + kKeyMemory < now; });
  bool changed = keys_.size() != before;
  if (keys_.empty() || keys_.front().created + kKeyLifetime <= now) {
    BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::generate(crypto::KeyKind::rsa));
    keys_.insert(keys_.begin(), {crypto::jwk_thumbprint(key.public_key()), key, now});
    changed = true;
  }
  return changed;
}

json::Object KeyRing::jwks() const {
  json::Array list;
  for (const SigningKey& key : keys_) {
    json::Object jwk = crypto::to_jwk(key.key.public_key());
    jwk["use"] = "sig";
    jwk["alg"] = crypto::jws_name(crypto::JwsAlgorithm::rs256);
    jwk["kid"] = key.id;
    list.emplace_back(std::move(jwk));
  }
  return {{"keys", std::move(list)}};
}

Result<std::string> KeyRing::sign(const json::Object& payload) const {
  BOOTSEAL_CHECK(!keys_.empty());
  const SigningKey& key = keys_.front();
  return crypto::sign_jws(key.key, crypto::JwsAlgorithm::rs256, {{"typ", "JWT"}, {"kid", key.id}}, payload);
}

Result<Claims> KeyRing::verify(std::string_view token, std::string_view tenant, TimePoint now) const {
  const auto jws = crypto::Jws::parse(token);
  if (!jws) return refuse(fmt::format("the access token is malformed: {}", jws.error().message));
  const auto key =
      std::find_if(keys_.begin(), keys_.end(), [&](const SigningKey& one) { return one.id == jws->key_id; });
  if (key == keys_.end())
    return refuse("the access token was not signed by this site, or so long ago that its key is gone");
  if (!jws->verify(key->key.public_key(), {crypto::JwsAlgorithm::rs256}))
    return refuse("the access token's signature is wrong");
  auto claims = read_claims(jws->payload);
  if (!claims || claims->tenant != tenant) return refuse("the token is no access token of this site");
  if (now >= claims->expires)
    return fail(ErrorCode::timeout,
                fmt::format("the access token expired at {}", format_time(claims->expires)));
  if (now + kClockSkew < claims->issued)
    return refuse(fmt::format("the access token is valid from {} on", format_time(claims->issued)));
  return claims;
}

json::Object access_token_payload(const Claims& claims) {
  json::Object payload = common_payload(claims, claims.audience);
  payload["appid"] = claims.app_id;
  payload["idtyp"] = claims.user ? "user" : "app";
  payload["jti"] = claims.id;
  payload["ver"] = "1.0";
  if (claims.user) payload["upn"] = claims.name;
  return payload;
}

json::Object id_token_payload(const Claims& claims, std::string_view nonce) {
  json::Object payload = common_payload(claims, claims.app_id);
  payload["upn"] = claims.name;
  payload["preferred_username"] = claims.name;
  payload["unique_name"] = claims.name;
  payload["name"] = claims.name;
  payload["ver"] = "1.0";
  if (!nonce.empty()) payload["nonce"] = nonce;
  return payload;
}

}  // namespace bootseal::identity
