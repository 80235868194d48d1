#include <fmt/format.h>
#include <unistd.h>

#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/secret.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"
#include "login.h"
#include "service.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kTokenBytes = 32;
constexpr std::string_view kTokenPrefix = "bst_";  // lets scanners of leaked secrets recognise it
constexpr std::size_t kMaximumTokenLength = 256;
constexpr std::chrono::hours kLinkLifetime{1};
constexpr std::string_view kLinkSuffix = "/seriallog";

std::string hash_of(std::string_view token) {
  return crypto::sha256(as_bytes(token)).to_hex();
}

net::Response challenge(const net::Request& request, std::string code, std::string message) {
  net::Response response = arm_response({401, std::move(code), std::move(message), {}, {}});
  response.headers.emplace_back(
      "WWW-Authenticate",
      fmt::format("Bearer authorization_uri=\"{}/adfs\", error=\"invalid_token\"", base_url(request)));
  return response;
}

Caller owner(const std::string& name) {
  return {name, name, true};
}

std::optional<std::string> bearer_of(const net::Request& request) {
  const auto header = request.header("Authorization");
  constexpr std::string_view kScheme = "Bearer ";
  if (!header || header->size() <= kScheme.size()) return std::nullopt;
  if (!model::equal_ignoring_case(std::string_view(*header).substr(0, kScheme.size()), kScheme))
    return std::nullopt;
  return header->substr(kScheme.size());
}

// Who an access token of /adfs/oauth2/token is of.
model::ArmResult<Caller> caller_of_access_token(Service& service, const net::Request& request,
                                                const std::string& token) {
  const auto claims = service.identity.verify(token, service.site.tenant);
  if (!claims && claims.error().code == ErrorCode::timeout)
    return model::refuse(401, "ExpiredAuthenticationToken",
                         fmt::format("The access token has ended: {}; the time here is {}. Sign in again.",
                                     claims.error().message, format_time(service.now())));
  if (!claims && claims.error().code == ErrorCode::unauthenticated)
    return model::refuse(401, "InvalidAuthenticationToken",
                         fmt::format("The access token is invalid: {}.", claims.error().message));
  if (!claims) return tl::unexpected(model::to_arm_error(claims.error()));
  const auto hosts = own_hosts(service, request);
  if (identity::service_of(claims->audience, hosts) != identity::Service::resource_manager)
    return model::refuse(
        401, "InvalidAuthenticationTokenAudience",
        fmt::format("The access token has been obtained for wrong audience or resource '{}'. It "
                    "should be for '{}'.",
                    claims->audience, base_url(request)));
  BOOTSEAL_ARM_TRY(const PrincipalPointer principal, service.identity.principal(claims->object_id));
  if (principal == nullptr || !principal->principal.enabled)
    return model::refuse(401, "InvalidAuthenticationToken",
                         "The access token is of a principal that was deleted or disabled.");
  return Caller{principal->principal.id, principal->principal.name, false};
}

std::string link_signature(const Service& service, const std::string& path, const std::string& expires) {
  return to_base64url(crypto::hmac(crypto::HashAlgorithm::sha256, service.link_key,
                                   {as_bytes(path), as_bytes("\n"), as_bytes(expires)}));
}

}  // namespace

NewToken make_token() {
  Bytes random = crypto::random_bytes(kTokenBytes);
  NewToken token{std::string(kTokenPrefix) + to_base64url(random), {}};
  crypto::wipe(random);
  token.sha256_hex = hash_of(token.text);
  return token;
}

tl::expected<Caller, net::Response> authenticate(Service& service, const net::Request& request) {
  static log::RateLimit refusals(1, 20);
  if (request.peer.kind == net::Peer::Kind::unix_process) {
    // Only the owner can open the socket; this holds also when somebody widens its mode.
    if (request.peer.uid == 0 || request.peer.uid == ::geteuid())
      return owner(fmt::format("local:{}", request.peer.uid));
    return tl::unexpected(arm_response({403,
                                        "AuthorizationFailed",
                                        "Only root and the user that runs Bootseal may use this socket.",
                                        {},
                                        {}}));
  }
  if (request.peer.kind == net::Peer::Kind::certificate && !request.peer.certificate_name.empty()) {
    return owner("certificate:" + request.peer.certificate_name);
  }
  // It opens the one log that it was signed for, by somebody who might read it.
  if (is_signed_serial_link(service, request)) return owner("link");
  const auto bearer = bearer_of(request);
  const auto refuse = [&](std::string code, std::string message) -> tl::unexpected<net::Response> {
    if (std::uint64_t left_out = 0; refusals.allow(left_out)) {
      log::warning("caller.refused", {{"peer", request.peer.address}, {"code", code}, {"leftOut", left_out}});
    }
    return tl::unexpected(challenge(request, std::move(code), std::move(message)));
  };
  if (!bearer) {
    return refuse("AuthenticationFailed",
                  "Authentication failed. The 'Authorization' header is missing; send 'Authorization: Bearer "
                  "TOKEN' or a client certificate of the site.");
  }
  if (!bearer->starts_with(kTokenPrefix)) {
    auto caller = caller_of_access_token(service, request, *bearer);
    if (!caller) return refuse(caller.error().code, caller.error().message);
    return *std::move(caller);
  }
  if (bearer->size() > kMaximumTokenLength)
    return refuse("InvalidAuthenticationToken", "The access token is invalid.");
  const auto name = service.database.token_owner(hash_of(*bearer));
  if (!name) return tl::unexpected(arm_response(model::to_arm_error(name.error())));
  if (!*name)
    return refuse("InvalidAuthenticationToken",
                  "The access token is invalid. `bootseal up` on the server makes a new one.");
  return owner("token:" + **name);
}

std::string signed_serial_link(const Service& service, const net::Request& request,
                               const model::ResourceId& id) {
  const std::string path = model::to_lower(id.to_string()) + std::string(kLinkSuffix);
  const std::string expires = format_time(service.now() + kLinkLifetime);
  return fmt::format("{}{}?expires={}&signature={}", base_url(request), path, expires,
                     link_signature(service, path, expires));
}

bool is_signed_serial_link(const Service& service, const net::Request& request) {
  if (request.method != "GET") return false;
  const std::string path = model::to_lower(request.path);
  if (!path.ends_with(kLinkSuffix)) return false;
  const auto expires = request.query_value("expires");
  const auto signature = request.query_value("signature");
  if (!expires || !signature) return false;
  const auto until = parse_time(*expires);
  if (!until || *until < service.now()) return false;
  return crypto::equal_constant_time(as_bytes(link_signature(service, path, *expires)), as_bytes(*signature));
}

}  // namespace bootseal::api
