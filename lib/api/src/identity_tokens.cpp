// Signing keys, refresh tokens and used assertions.
#include <fmt/format.h>

#include "bootseal/crypto/digest.h"
#include "bootseal/log/log.h"
#include "identity.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kSigningKeys = "identity/signing-keys";
constexpr std::string_view kRefresh = "identity/refresh/";
constexpr std::string_view kUsedAssertions = "identity/used-assertions/";

tl::unexpected<Error> refuse(std::string message) {
  return fail(ErrorCode::permission_denied, std::move(message));
}

std::string refresh_key(const std::string& family) {
  return std::string(kRefresh) + family;
}

}  // namespace

Status Identity::load_keys() {
  BOOTSEAL_TRY(const auto entry, store_.get(kSigningKeys));
  if (!entry || entry->mod_revision == keys_revision_) return {};
  BOOTSEAL_TRY(const json::Value document, json::parse(entry->value));
  BOOTSEAL_TRY(keys_, identity::KeyRing::parse(document));
  keys_revision_ = entry->mod_revision;
  return {};
}

Status Identity::rotate_keys() {
  if (keys_revision_ == 0) BOOTSEAL_TRY_STATUS(load_keys());
  identity::KeyRing next = keys_;
  BOOTSEAL_TRY(const bool changed, next.rotate(now()));
  if (!changed) return {};
  const auto written =
      store_.transact({{std::string(kSigningKeys), keys_revision_}},
                      {store::Put{std::string(kSigningKeys), json::serialize(next.to_json()), {}}});
  if (!written && written.error().code == ErrorCode::conflict) return load_keys();  // another one was faster
  BOOTSEAL_TRY_STATUS(written);
  keys_ = std::move(next);
  keys_revision_ = *written;
  log::info("signing-key.made", {{"kid", keys_.keys().front().id}, {"keys", keys_.keys().size()}});
  return forget_refresh([this](const identity::RefreshFamily& family) { return family.expires <= now(); });
}

Result<std::string> Identity::sign(const json::Object& payload) {
  const std::lock_guard lock(keys_mutex_);
  BOOTSEAL_TRY_STATUS(rotate_keys());
  return keys_.sign(payload);
}

Result<identity::Claims> Identity::verify(std::string_view token, std::string_view tenant) {
  const auto with = [&]() -> Result<identity::KeyRing> {
    const std::lock_guard lock(keys_mutex_);
    BOOTSEAL_TRY_STATUS(load_keys());
    return keys_;
  };
  BOOTSEAL_TRY(const identity::KeyRing keys, with());  // cheap to copy: keys are shared
  return keys.verify(token, tenant, now());
}

Result<json::Object> Identity::jwks() {
  const std::lock_guard lock(keys_mutex_);
  BOOTSEAL_TRY_STATUS(rotate_keys());
  return keys_.jwks();
}

Status Identity::use_assertion(std::string_view client, const identity::Assertion& assertion) {
  const std::string name = crypto::sha256(as_bytes(fmt::format("{}\n{}", client, assertion.id))).to_hex();
  const std::string key = std::string(kUsedAssertions) + name;
  const auto left = assertion.expires + identity::kClockSkew - now();
  const auto time_to_live =
      std::max(std::chrono::ceil<std::chrono::milliseconds>(left), std::chrono::milliseconds(1));
  BOOTSEAL_TRY(const store::LeaseId lease, store_.grant(time_to_live));
  const auto written = store_.transact({store::Condition::absent(key)}, {store::Put{key, "", lease}});
  if (written) return {};
  const Status revoked = store_.revoke(lease);
  if (!revoked) log::warning("lease.not-revoked", {{"reason", revoked.error().describe()}});
  if (written.error().code == ErrorCode::conflict)
    return refuse("The client assertion is refused: it was used before (its 'jti' is known).");
  return tl::unexpected(written.error());
}

Result<std::string> Identity::begin_refresh(const std::string& principal_id, const std::string& client_id) {
  identity::NewRefresh made = identity::begin_refresh_family(principal_id, client_id, now());
  BOOTSEAL_TRY_STATUS(store_.put(refresh_key(made.family.id), json::serialize(made.family.to_json())));
  return std::move(made.token);
}

Result<Identity::RefreshUse> Identity::use_refresh(std::string_view token, std::string_view client_id) {
  const auto id = identity::family_of_refresh_token(token);
  if (!id) return refuse("The refresh token is malformed.");
  const std::lock_guard lock(changes_mutex_);
  const std::string key = refresh_key(*id);
  BOOTSEAL_TRY(const auto entry, store_.get(key));
  if (!entry) return refuse("The refresh token is not known or was revoked; sign in again.");
  BOOTSEAL_TRY(const json::Value document, json::parse(entry->value));
  BOOTSEAL_TRY(identity::RefreshFamily family, identity::RefreshFamily::parse(document));
  if (family.client_id != client_id) return refuse("The refresh token was given to another client.");
  const identity::Refreshed used = identity::use_refresh_token(family, token, now());
  if (used.outcome == identity::RefreshOutcome::rotated) {
    BOOTSEAL_TRY_STATUS(store_.transact({store::Condition::same(*entry)},
                                        {store::Put{key, json::serialize(family.to_json()), {}}}));
    return RefreshUse{family.principal_id, used.token};
  }
  BOOTSEAL_TRY_STATUS(store_.remove(key));
  if (used.outcome == identity::RefreshOutcome::expired)
    return refuse("The refresh token has ended after 90 days without use; sign in again.");
  log::warning("refresh-token.reused", {{"principal", family.principal_id}, {"client", family.client_id}});
  return refuse(
      "The refresh token was used before: every token that came from that sign-in is revoked; sign in "
      "again.");
}

Status Identity::forget_refresh(const std::function<bool(const identity::RefreshFamily&)>& which) {
  BOOTSEAL_TRY(const auto entries, store_.list_all(kRefresh));
  for (const store::Entry& entry : entries) {
    BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
    BOOTSEAL_TRY(const identity::RefreshFamily family, identity::RefreshFamily::parse(document));
    if (which(family)) BOOTSEAL_TRY_STATUS(store_.remove(entry.key));
  }
  return {};
}

Result<std::optional<std::string>> Identity::check_secret(const identity::Principal* principal,
                                                          std::string_view secret) {
  hashing_.acquire();
  auto result = identity::check_secret(principal, secret, now());
  hashing_.release();
  return result;
}

}  // namespace bootseal::api
