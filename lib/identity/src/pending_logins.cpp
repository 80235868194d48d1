#include "bootseal/identity/pending_logins.h"

#include <algorithm>

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::identity {
namespace {

// Letters that make no words and are not mistaken for others (RFC 8628 6.1); 8 of them are 34 bits, guessed
// against at most kMaximumPendingLogins codes by callers who are signed in.
constexpr std::string_view kUserCodeLetters = "BCDFGHJKLMNPQRSTVWXZ";
constexpr std::size_t kUserCodeLength = 8;
constexpr std::size_t kCodeBytes = 32;
constexpr std::chrono::seconds kSlowDown{5};  // RFC 8628 3.5

std::string random_code() {
  return to_base64url(crypto::random_bytes(kCodeBytes));
}

std::string hash_of(std::string_view code) {
  return crypto::sha256(as_bytes(code)).to_hex();
}

std::string random_user_code() {
  constexpr unsigned kLimit = 256 - 256 % kUserCodeLetters.size();  // no bias
  std::string code;
  while (code.size() < kUserCodeLength) {
    const auto byte = std::to_integer<unsigned>(crypto::random_bytes(1).front());
    if (byte < kLimit) code += kUserCodeLetters[byte % kUserCodeLetters.size()];
  }
  return code;
}

// As it is compared: capital letters only.
std::string plain(std::string_view user_code) {
  std::string text;
  for (char c : user_code.substr(0, 64)) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c >= 'A' && c <= 'Z') text += c;
  }
  return text;
}

}  // namespace

Result<NewDeviceCode> DeviceLogins::begin(std::string client_id, std::string scope, std::string peer,
                                          TimePoint now) {
  const std::lock_guard lock(mutex_);
  forget_ended(now);
  const auto of_peer =
      std::count_if(logins_.begin(), logins_.end(), [&](const auto& one) { return one.second.peer == peer; });
  if (logins_.size() >= kMaximumPendingLogins || of_peer >= std::ptrdiff_t{kMaximumPendingOfPeer})
    return fail(ErrorCode::exhausted, "too many sign-ins wait for their approval; try again in some minutes");
  Login login;
  do {
    login.user_code = random_user_code();
  } while (std::any_of(logins_.begin(), logins_.end(),
                       [&](const auto& one) { return one.second.user_code == login.user_code; }));
  login.client_id = std::move(client_id);
  login.scope = std::move(scope);
  login.peer = std::move(peer);
  login.expires = now + kDeviceCodeLifetime;
  login.next_poll = now;
  NewDeviceCode made{random_code(), login.user_code.substr(0, 4) + "-" + login.user_code.substr(4)};
  logins_.emplace(hash_of(made.device_code), std::move(login));
  return made;
}

DeviceAnswer DeviceLogins::poll(std::string_view device_code, std::string_view client_id, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const auto found = logins_.find(hash_of(device_code));
  if (found == logins_.end() || found->second.client_id != client_id) return {};
  Login& login = found->second;
  const auto end = [&](DevicePoll poll) {
    DeviceAnswer answer{poll, std::move(login.principal_id), std::move(login.scope)};
    logins_.erase(found);
    return answer;
  };
  if (now >= login.expires) return end(DevicePoll::expired);
  if (login.denied) return end(DevicePoll::denied);
  if (!login.principal_id.empty()) return end(DevicePoll::approved);
  const bool early = now + std::chrono::seconds(1) < login.next_poll;  // timers differ a little
  if (early) login.interval = std::min(login.interval + kSlowDown, std::chrono::seconds(60));
  login.next_poll = now + login.interval;
  return {early ? DevicePoll::slow_down : DevicePoll::pending, {}, {}};
}

Result<DeviceLogins::Login*> DeviceLogins::waiting(std::string_view user_code, TimePoint now) {
  forget_ended(now);
  const std::string wanted = plain(user_code);
  for (auto& [hash, login] : logins_) {
    if (login.user_code == wanted && login.principal_id.empty() && !login.denied) return &login;
  }
  return fail(ErrorCode::not_found,
              "no sign-in waits for this code; codes end after 15 minutes, and each is approved once");
}

Result<std::string> DeviceLogins::approve(std::string_view user_code, std::string principal_id,
                                          TimePoint now) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(Login* const login, waiting(user_code, now));
  login->principal_id = std::move(principal_id);
  return login->client_id;
}

Status DeviceLogins::deny(std::string_view user_code, TimePoint now) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(Login* const login, waiting(user_code, now));
  login->denied = true;
  return {};
}

void DeviceLogins::forget_ended(TimePoint now) {
  std::erase_if(logins_, [now](const auto& one) { return one.second.expires <= now; });
}

Result<std::string> AuthorizationCodes::issue(AuthorizationGrant grant, TimePoint now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(codes_, [now](const auto& one) { return one.second.expires <= now; });
  if (codes_.size() >= kMaximumPendingLogins)
    return fail(ErrorCode::exhausted, "too many sign-ins are under way; try again in some minutes");
  const std::string code = random_code();
  codes_.emplace(hash_of(code), Waiting{std::move(grant), now + kAuthorizationCodeLifetime});
  return code;
}

Result<AuthorizationGrant> AuthorizationCodes::redeem(std::string_view code, std::string_view client_id,
                                                      std::string_view redirect_uri,
                                                      std::string_view code_verifier, TimePoint now) {
  const std::lock_guard lock(mutex_);
  auto node = codes_.extract(hash_of(code));
  if (node.empty() || node.mapped().expires <= now)
    return fail(ErrorCode::permission_denied, "the authorization code is not known, was used, or has ended");
  AuthorizationGrant& grant = node.mapped().grant;
  if (grant.client_id != client_id || grant.redirect_uri != redirect_uri)
    return fail(ErrorCode::permission_denied,
                "the authorization code was given to another client or address");
  if (!crypto::equal_constant_time(as_bytes(pkce_challenge(code_verifier)), as_bytes(grant.code_challenge)))
    return fail(ErrorCode::permission_denied, "the code_verifier does not fit the code_challenge");
  return std::move(grant);
}

std::string pkce_challenge(std::string_view verifier) {
  return to_base64url(crypto::sha256(as_bytes(verifier)).view());
}

}  // namespace bootseal::identity
