// What every way of signing in shares.
#include "login.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kMaximumLogged = 128;

// The address alone: a peer's port changes with each connection, and one that has a whole /64 of IPv6 has all
// of it.
std::string peer_key(const net::Request& request) {
  std::string address = request.peer.address;
  if (request.peer.kind == net::Peer::Kind::unix_process) return fmt::format("uid {}", request.peer.uid);
  if (address.starts_with('[')) {
    address = address.substr(1, std::min(address.find(']'), address.size()) - 1);
    std::size_t end = 0;
    for (int groups = 0; groups < 4 && end != std::string::npos; ++groups) end = address.find(':', end + 1);
    return address.substr(0, end);
  }
  return address.substr(0, address.rfind(':'));
}

std::string host_of(std::string_view url) {
  const std::size_t begin = url.find("://");
  if (begin == std::string_view::npos) return {};
  url.remove_prefix(begin + 3);
  return std::string(url.substr(0, url.find('/')));
}

std::chrono::seconds whole_seconds(std::chrono::microseconds time) {
  return std::max(std::chrono::ceil<std::chrono::seconds>(time), std::chrono::seconds(1));
}

}  // namespace

net::Response login_error_response(const LoginError& error) {
  net::Response response = net::Response::json(
      error.status, json::Object{{"error", error.error}, {"error_description", error.description}});
  response.headers.emplace_back("Pragma", "no-cache");
  if (error.retry_after.count() > 0)
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after.count()));
  return response;
}

std::vector<std::string> own_hosts(const Service& service, const net::Request& request) {
  std::vector<std::string> hosts = {host_of(base_url(request))};
  if (service.options.endpoint) hosts.push_back(host_of(service.options.endpoint()));
  return hosts;
}

LoginResult<identity::Form> form_of(const net::Request& request) {
  const std::string type = model::to_lower(request.header("Content-Type").value_or(""));
  if (!type.starts_with("application/x-www-form-urlencoded"))
    return tl::unexpected(
        LoginError{"invalid_request", "The body must be of type application/x-www-form-urlencoded."});
  auto form = identity::Form::parse(request.body);
  if (!form)
    return tl::unexpected(
        LoginError{"invalid_request", fmt::format("The body is refused: {}.", form.error().message)});
  return *std::move(form);
}

LoginResult<identity::Scope> scope_of(const Service& service, const net::Request& request,
                                      const std::string& text) {
  auto scope = identity::Scope::parse(text);
  if (!scope) return tl::unexpected(LoginError{"invalid_scope", scope.error().message + "."});
  if (scope->audience.empty()) scope->audience = base_url(request);
  const auto hosts = own_hosts(service, request);
  if (identity::service_of(scope->audience, hosts) == identity::Service::none)
    return tl::unexpected(LoginError{
        "invalid_scope",
        fmt::format(
            "AADSTS500011: The resource principal named {} was not found in the tenant. This site is {}; "
            "its key vault is https://vault.local.",
            scope->audience, base_url(request))});
  return *std::move(scope);
}

LoginAttempt::LoginAttempt(Service& service, const net::Request& request, std::string grant, std::string who)
    : service_(service),
      peer_(peer_key(request)),
      grant_(std::move(grant)),
      who_(model::to_lower(who).substr(0, kMaximumLogged)) {}

LoginResult<void> LoginAttempt::may_try() {
  static log::RateLimit lines(1, 20);
  const auto wait = std::max(service_.identity.guesses.wait_of(who_, service_.now()),
                             service_.identity.guesses_of_peers.wait_of(peer_, service_.now()));
  if (wait.count() <= 0) return {};
  const std::chrono::seconds seconds = whole_seconds(wait);
  if (std::uint64_t left_out = 0; lines.allow(left_out)) {
    log::warning("login.slowed-down", {{"who", who_},
                                       {"peer", peer_},
                                       {"grant", grant_},
                                       {"waitSeconds", seconds.count()},
                                       {"leftOut", left_out}});
  }
  return tl::unexpected(LoginError{
      "temporarily_unavailable",
      fmt::format(
          "AADSTS50053: Too many wrong secrets were given for '{}' or from this address. Try again in {} "
          "seconds.",
          who_, seconds.count()),
      429, seconds});
}

tl::unexpected<LoginError> LoginAttempt::refused(LoginError error) {
  service_.identity.guesses.failed(who_, service_.now());
  service_.identity.guesses_of_peers.failed(peer_, service_.now());
  log::warning("login.refused", {{"who", who_},
                                 {"peer", peer_},
                                 {"grant", grant_},
                                 {"error", error.error},
                                 {"reason", error.description}});
  return tl::unexpected(std::move(error));
}

void LoginAttempt::succeeded(const std::string& credential_id) {
  service_.identity.guesses.succeeded(who_);
  log::info("login.succeeded",
            {{"who", who_}, {"peer", peer_}, {"grant", grant_}, {"credential", credential_id}});
}

LoginResult<PrincipalPointer> sign_in_with_password(Service& service, const net::Request& request,
                                                    const std::string& grant, const std::string& username,
                                                    const std::string& password) {
  LoginAttempt attempt(service, request, grant, username);
  if (auto allowed = attempt.may_try(); !allowed) return tl::unexpected(allowed.error());
  const auto found = service.identity.find_principal(username);
  if (!found) return tl::unexpected(LoginError{"server_error", found.error().describe(), 500});
  const PrincipalPointer user =
      *found != nullptr && (*found)->principal.kind == identity::Principal::Kind::user ? *found : nullptr;
  const auto credential =
      service.identity.check_secret(user == nullptr ? nullptr : &user->principal, password);
  if (!credential) return tl::unexpected(LoginError{"server_error", credential.error().describe(), 500});
  if (!*credential)
    return attempt.refused(
        {"invalid_grant", "AADSTS50126: Error validating credentials due to invalid username or password."});
  if (!user->principal.enabled)
    return attempt.refused(
        {"invalid_grant", fmt::format("AADSTS50057: The account '{}' is disabled.", user->principal.name)});
  attempt.succeeded(**credential);
  return user;
}

}  // namespace bootseal::api
