// Signing in: OAuth 2.0 over lib/identity, in the shapes that Azure's clients expect of an AD FS
// (docs/azure-clients.md).
#pragma once

#include <string>
#include <vector>

#include "bootseal/identity/form.h"
#include "bootseal/identity/scope.h"
#include "service.h"

namespace bootseal::api {

void add_login_handlers(HandlerTable& table);       // openid-configuration, keys, token, devicecode
void add_login_page_handlers(HandlerTable& table);  // the two pages for browsers
void add_cloud_handlers(HandlerTable& table);       // metadata, aliases, tenants
void add_principal_handlers(HandlerTable& table);   // /v1/principals, /v1/device-logins

// An error of RFC 6749 5.2 as clients show it.
struct LoginError {
  std::string error;        // "invalid_client"
  std::string description;  // for the person
  int status = 400;
  std::chrono::seconds retry_after{0};  // of 429
};
template <typename T>
using LoginResult = tl::expected<T, LoginError>;

net::Response login_error_response(const LoginError& error);
// The hosts by which this server is known: that of the request, and its own.
std::vector<std::string> own_hosts(const Service& service, const net::Request& request);
// The form of a request; invalid_request for anything else.
LoginResult<identity::Form> form_of(const net::Request& request);
// The scope in text, with this server as audience where it names none. invalid_scope for a resource that is
// not one of this site's services.
LoginResult<identity::Scope> scope_of(const Service& service, const net::Request& request,
                                      const std::string& text);

// An attempt to sign in: who says to be whom, from where. Slows guessing down and writes what is refused to
// the log.
class LoginAttempt {
 public:
  LoginAttempt(Service& service, const net::Request& request, std::string grant, std::string who);
  // 429 while this name or this peer has to wait.
  LoginResult<void> may_try();
  // What is logged, counted against the name and the peer, and answered.
  tl::unexpected<LoginError> refused(LoginError error);
  void succeeded(const std::string& credential_id);

 private:
  Service& service_;
  std::string peer_;
  std::string grant_;
  std::string who_;
};
// The user with this name and password.
LoginResult<PrincipalPointer> sign_in_with_password(Service& service, const net::Request& request,
                                                    const std::string& grant, const std::string& username,
                                                    const std::string& password);

}  // namespace bootseal::api
