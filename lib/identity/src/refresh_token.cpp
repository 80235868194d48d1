#include "bootseal/identity/refresh_token.h"

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::identity {
namespace {

constexpr std::string_view kPrefix = "bsr_";
constexpr std::size_t kRandomBytes = 32;
constexpr std::size_t kMaximumTokens = 8;  // of a family at once: what a burst of parallel uses leaves

// bsr_FAMILY.RANDOM
std::string make_token(RefreshFamily& family) {
  Bytes random = crypto::random_bytes(kRandomBytes);
  std::string token = std::string(kPrefix) + family.id + "." + to_base64url(random);
  crypto::wipe(random);
  family.tokens.push_back({crypto::sha256(as_bytes(token)), std::nullopt});
  return token;
}

}  // namespace

json::Object RefreshFamily::to_json() const {
  json::Array list;
  for (const Token& token : tokens) {
    json::Object object{{"sha256", token.hash.to_hex()}};
    if (token.used) object["used"] = format_time(*token.used);
    list.emplace_back(std::move(object));
  }
  return {{"id", id},
          {"principalId", principal_id},
          {"clientId", client_id},
          {"expires", format_time(expires)},
          {"tokens", std::move(list)}};
}

Result<RefreshFamily> RefreshFamily::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the refresh tokens"));
  RefreshFamily family;
  BOOTSEAL_TRY(family.id, reader.string("id"));
  BOOTSEAL_TRY(family.principal_id, reader.string("principalId"));
  BOOTSEAL_TRY(family.client_id, reader.string("clientId"));
  BOOTSEAL_TRY(const std::string expires, reader.string("expires"));
  BOOTSEAL_TRY(family.expires, parse_time(expires));
  BOOTSEAL_TRY(auto tokens, reader.objects("tokens"));
  for (json::Reader& one : tokens) {
    Token token;
    BOOTSEAL_TRY(const std::string hash, one.string("sha256"));
    BOOTSEAL_TRY(token.hash, crypto::Sha256Digest::parse(hash));
    BOOTSEAL_TRY(const auto used, one.optional_string("used"));
    if (used) {
      BOOTSEAL_TRY(token.used, parse_time(*used));
    }
    family.tokens.push_back(token);
  }
  return family;
}

NewRefresh begin_refresh_family(std::string principal_id, std::string client_id, TimePoint now) {
  NewRefresh made;
  made.family.id = Guid::random().to_string();
  made.family.principal_id = std::move(principal_id);
  made.family.client_id = std::move(client_id);
  made.family.expires = now + kRefreshLifetime;
  made.token = make_token(made.family);
  return made;
}

Result<std::string> family_of_refresh_token(std::string_view token) {
  constexpr std::size_t kGuidLength = 36;
  const auto no_token = fail(ErrorCode::invalid_argument, "the text is no refresh token of this site");
  if (!token.starts_with(kPrefix) || token.size() > 256) return no_token;
  token.remove_prefix(kPrefix.size());
  if (token.size() < kGuidLength + 1 || token[kGuidLength] != '.') return no_token;
  const auto guid = Guid::parse(token.substr(0, kGuidLength));
  if (!guid) return no_token;
  return guid->to_string();
}

Refreshed use_refresh_token(RefreshFamily& family, std::string_view token, TimePoint now) {
  if (now >= family.expires) return {RefreshOutcome::expired, {}};
  // A token that was used long enough ago is as unknown as one that never was: both end the family.
  std::erase_if(family.tokens,
                [now](const RefreshFamily::Token& one) { return one.used && *one.used + kReuseGrace < now; });
  const crypto::Sha256Digest hash = crypto::sha256(as_bytes(token));
  const auto found = std::find_if(family.tokens.begin(), family.tokens.end(), [&](const auto& one) {
    return crypto::equal_constant_time(one.hash.view(), hash.view());
  });
  if (found == family.tokens.end()) return {RefreshOutcome::reused, {}};
  if (!found->used) found->used = now;
  if (family.tokens.size() >= kMaximumTokens) family.tokens.erase(family.tokens.begin());
  family.expires = now + kRefreshLifetime;
  return {RefreshOutcome::rotated, make_token(family)};
}

}  // namespace bootseal::identity
