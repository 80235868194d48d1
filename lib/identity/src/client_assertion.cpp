#include "bootseal/identity/client_assertion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bootseal/crypto/jws.h"
#include "bootseal/identity/access_token.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::identity {
namespace {

constexpr std::size_t kMaximumId = 256;
constexpr double kLargestTime = 253402300799.0;  // the end of the year 9999

tl::unexpected<Error> refuse(std::string message) {
  return fail(ErrorCode::unauthenticated, "The client assertion is refused: " + std::move(message));
}

std::string text_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// A NumericDate (RFC 7519 2): seconds, possibly with a fraction. nullopt when it is absent.
Result<std::optional<TimePoint>> time_of(const json::Object& object, std::string_view name) {
  const json::Value* value = object.if_contains(name);
  if (value == nullptr) return std::optional<TimePoint>();
  const double seconds = value->is_double()   ? value->get_double()
                         : value->is_int64()  ? static_cast<double>(value->get_int64())
                         : value->is_uint64() ? static_cast<double>(value->get_uint64())
                                              : -1.0;
  if (!(seconds >= 0.0 && seconds <= kLargestTime))
    return refuse(fmt::format("'{}' is no time in seconds.", name));
  return TimePoint(std::chrono::microseconds(std::llround(seconds * 1e6)));
}

std::string without_padding(std::string text) {
  while (text.ends_with('=')) text.pop_back();
  return text;
}

bool is_named(const Credential& credential, const std::string& sha1, const std::string& sha256) {
  if (credential.kind != Credential::Kind::certificate) return false;
  const auto print = [&](crypto::HashAlgorithm algorithm) {
    return to_base64url(crypto::digest(algorithm, credential.certificate));
  };
  if (!sha256.empty()) return sha256 == print(crypto::HashAlgorithm::sha256);
  return sha1 == print(crypto::HashAlgorithm::sha1);
}

Result<const Credential*> find_certificate(const crypto::Jws& jws, const Principal& principal,
                                           TimePoint now) {
  const std::string sha1 = without_padding(text_of(jws.header, "x5t"));
  const std::string sha256 = without_padding(text_of(jws.header, "x5t#S256"));
  if (sha1.empty() && sha256.empty()) return refuse("its header has neither 'x5t' nor 'x5t#S256'.");
  for (const Credential& credential : principal.credentials) {
    if (!is_named(credential, sha1, sha256)) continue;
    if (!credential.valid_at(now))
      return refuse(
          fmt::format("the certificate {} ended at {}; add a new one with `bootseal identity "
                      "credential add`.",
                      sha1.empty() ? sha256 : sha1, format_time(credential.expires)));
    return &credential;
  }
  return refuse(fmt::format("the certificate {} is not registered for this client.",
                            (sha1.empty() ? sha256 : sha1).substr(0, 64)));
}

Status check_audience(const json::Object& payload, std::span<const std::string> audiences) {
  const auto is_ours = [&](const json::Value& value) {
    return value.is_string() && std::any_of(audiences.begin(), audiences.end(), [&](const std::string& one) {
             return model::equal_ignoring_case(one, std::string_view(value.get_string()));
           });
  };
  const json::Value* audience = payload.if_contains("aud");
  if (audience != nullptr && is_ours(*audience)) return {};
  if (audience != nullptr && audience->is_array() &&
      std::any_of(audience->get_array().begin(), audience->get_array().end(), is_ours))
    return {};
  return refuse(fmt::format("its audience must be {}.", audiences.empty() ? "" : audiences.front()));
}

Result<TimePoint> check_times(const json::Object& payload, TimePoint now) {
  BOOTSEAL_TRY(const auto expires, time_of(payload, "exp"));
  BOOTSEAL_TRY(const auto issued, time_of(payload, "iat"));
  BOOTSEAL_TRY(const auto not_before, time_of(payload, "nbf"));
  if (!expires) return refuse("it has no 'exp'.");
  if (*expires + kClockSkew <= now)
    return refuse(
        fmt::format("it expired at {}; the time here is {}.", format_time(*expires), format_time(now)));
  if (*expires > now + kMaximumAssertionLifetime)
    return refuse(fmt::format("it is valid until {}, more than a day from now.", format_time(*expires)));
  for (const auto& begins : {issued, not_before}) {
    if (begins && *begins > now + kClockSkew)
      return refuse(
          fmt::format("it is valid from {}; the time here is {}.", format_time(*begins), format_time(now)));
  }
  return *expires;
}

}  // namespace

Result<std::string> client_of_assertion(std::string_view assertion) {
  BOOTSEAL_TRY(const crypto::Jws jws, crypto::Jws::parse(assertion));
  std::string client = text_of(jws.payload, "sub");
  if (client.empty() || client.size() > kMaximumId)
    return fail(ErrorCode::invalid_argument, "the client assertion has no 'sub'");
  return client;
}

Result<Assertion> verify_client_assertion(std::string_view assertion, const Principal& principal,
                                          std::string_view client_id, std::span<const std::string> audiences,
                                          TimePoint now) {
  const auto jws = crypto::Jws::parse(assertion);
  if (!jws) return refuse(jws.error().message + ".");
  BOOTSEAL_TRY(const Credential* credential, find_certificate(*jws, principal, now));
  BOOTSEAL_TRY(const crypto::Certificate certificate, crypto::Certificate::from_der(credential->certificate));
  BOOTSEAL_TRY(const crypto::PublicKey key, certificate.public_key());
  using enum crypto::JwsAlgorithm;
  if (const Status signature = jws->verify(key, {rs256, ps256, es256}); !signature)
    return refuse(signature.error().message + ".");
  if (text_of(jws->payload, "iss") != client_id || text_of(jws->payload, "sub") != client_id)
    return refuse("'iss' and 'sub' must be the client's id.");
  BOOTSEAL_TRY_STATUS(check_audience(jws->payload, audiences));
  BOOTSEAL_TRY(const TimePoint expires, check_times(jws->payload, now));
  Assertion facts{credential->id, text_of(jws->payload, "jti"), expires};
  if (facts.id.empty() || facts.id.size() > kMaximumId)
    return refuse("it has no 'jti' of 1 to 256 characters.");
  return facts;
}

}  // namespace bootseal::identity
