// The two pages for browsers: signing in for a client on this machine (authorization code with PKCE), and
// approving a device code. Plain HTML: no script, nothing loaded from anywhere, never in a frame.
#include <fmt/format.h>

#include <algorithm>

#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"
#include "login.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

constexpr std::string_view kRedirectBase = "http://localhost";
constexpr std::size_t kMaximumParameter = 2048;
constexpr const char* kKept[] = {"client_id",     "redirect_uri",   "response_type",
                                 "response_mode", "scope",          "state",
                                 "nonce",         "code_challenge", "code_challenge_method"};
using Parameters = std::map<std::string, std::string, std::less<>>;

std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

Response page(int status, const std::string& title, const std::string& content) {
  Response response = Response::empty(status);
  response.headers.emplace_back("Content-Type", "text/html; charset=utf-8");
  // A form may lead back to the client only.
  response.headers.emplace_back("Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' "
                                "http://localhost:*; frame-ancestors 'none'; base-uri 'none'");
  response.headers.emplace_back("X-Frame-Options", "DENY");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.headers.emplace_back("Referrer-Policy", "no-referrer");
  response.body = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n"
      "<meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px system-ui,sans-serif;"
      "max-width:24em;margin:4em auto;padding:0 1em}}label{{display:block;margin:1em 0 .2em}}"
      "input{{width:100%;box-sizing:border-box;padding:.5em;font:inherit}}button{{margin-top:1.5em;padding:."
      "6em "
      "1.5em;font:inherit}}p.problem{{color:#a4262c}}</style></head>\n<body><h1>{0}</h1>\n{1}</body></"
      "html>\n",
      escape(title), content);
  return response;
}

Response problem_page(int status, const std::string& text) {
  return page(status, "Sign in to Bootseal", fmt::format("<p class=\"problem\">{}</p>\n", escape(text)));
}

std::string paragraph_of(const std::string& problem) {
  return problem.empty() ? "" : fmt::format("<p class=\"problem\" role=\"alert\">{}</p>\n", escape(problem));
}

constexpr std::string_view kNameAndPassword =
    "<label for=\"u\">User</label><input id=\"u\" name=\"username\" autocomplete=\"username\" required>\n"
    "<label for=\"p\">Password</label><input id=\"p\" name=\"password\" type=\"password\" "
    "autocomplete=\"current-password\" required>\n";

bool is_local_redirect(std::string_view uri) {
  if (!uri.starts_with(kRedirectBase)) return false;
  uri.remove_prefix(kRedirectBase.size());
  if (uri.starts_with(':')) {
    uri.remove_prefix(1);
    const std::size_t digits = std::min(uri.find_first_not_of("0123456789"), uri.size());
    if (digits == 0 || digits > 5 || std::stoul(std::string(uri.substr(0, digits))) > 65535) return false;
    uri.remove_prefix(digits);
  }
  return uri.empty() || uri == "/";
}

// Why these parameters are no request to sign in; empty = they are one.
std::string problem_with(Service& service, const Request& request, const Parameters& parameters) {
  const auto value = [&](std::string_view name) {
    const auto found = parameters.find(name);
    return found == parameters.end() ? std::string() : found->second;
  };
  for (const auto& [name, text] : parameters) {
    if (text.size() > kMaximumParameter) return fmt::format("The parameter '{}' is too long.", name);
  }
  if (value("client_id").empty()) return "The parameter 'client_id' is missing.";
  if (!is_local_redirect(value("redirect_uri")))
    return "The parameter 'redirect_uri' must be http://localhost:PORT: only a program on the machine of "
           "this "
           "browser can be signed in to.";
  if (value("response_type") != "code") return "The parameter 'response_type' must be 'code'.";
  if (!value("response_mode").empty() && value("response_mode") != "query")
    return "The parameter 'response_mode' must be 'query'.";
  if (value("code_challenge").empty() || value("code_challenge_method") != "S256")
    return "The client must use PKCE with 'code_challenge_method=S256' (RFC 7636).";
  if (const auto scope = scope_of(service, request, value("scope")); !scope) return scope.error().description;
  return {};
}

Response sign_in_page(int status, const Parameters& parameters, const std::string& problem) {
  std::string hidden;
  for (const auto& [name, text] : parameters)
    hidden += fmt::format("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escape(name), escape(text));
  return page(
      status, "Sign in to Bootseal",
      fmt::format("<p>The client <b>{}</b> on this machine asks to act for you.</p>\n{}"
                  "<form method=\"post\" action=\"/adfs/oauth2/authorize\">\n{}{}"
                  "<button>Sign in</button></form>\n",
                  escape(parameters.at("client_id")), paragraph_of(problem), hidden, kNameAndPassword));
}

ArmResult<Response> show_page(Service& service, const Request& request) {
  Parameters parameters;
  for (const char* name : kKept) {
    if (auto value = request.query_value(name)) parameters[name] = *std::move(value);
  }
  if (const std::string problem = problem_with(service, request, parameters); !problem.empty())
    return problem_page(400, problem);
  return sign_in_page(200, parameters, {});
}

ArmResult<Response> submit_page(Service& service, const Request& request) {
  const auto form = form_of(request);
  if (!form) return problem_page(400, form.error().description);
  Parameters parameters;
  for (const char* name : kKept) {
    if (auto value = form->get(name)) parameters[name] = *std::move(value);
  }
  if (const std::string problem = problem_with(service, request, parameters); !problem.empty())
    return problem_page(400, problem);
  const auto user = sign_in_with_password(service, request, "authorization_code",
                                          form->get_or("username", ""), form->get_or("password", ""));
  if (!user) return sign_in_page(user.error().status, parameters, user.error().description);
  const auto code = service.identity.authorization_codes.issue(
      {(*user)->principal.id, parameters["client_id"], parameters["redirect_uri"], parameters["scope"],
       parameters["code_challenge"], parameters["nonce"]},
      service.now());
  if (!code) return problem_page(503, code.error().message);
  Response response = Response::empty(302);
  response.headers.emplace_back(
      "Location",
      fmt::format(
          "{}?code={}{}", parameters["redirect_uri"], *code,
          parameters["state"].empty() ? "" : "&state=" + identity::encode_component(parameters["state"])));
  return response;
}

Response device_page(int status, const std::string& code, const std::string& problem) {
  return page(
      status, "Approve a sign-in",
      fmt::format("<p>Enter the code that the program shows, and sign in. Do this only for a program that "
                  "you have started yourself.</p>\n{}"
                  "<form method=\"post\" action=\"/adfs/oauth2/deviceauth\">\n"
                  "<label for=\"c\">Code</label><input id=\"c\" name=\"user_code\" value=\"{}\" "
                  "autocomplete=\"off\" required>\n{}<button>Approve</button></form>\n",
                  paragraph_of(problem), escape(code.substr(0, 32)), kNameAndPassword));
}

ArmResult<Response> show_device_page(Service& /*service*/, const Request& request) {
  return device_page(200, request.query_value("user_code").value_or(""), {});
}

ArmResult<Response> submit_device_page(Service& service, const Request& request) {
  const auto form = form_of(request);
  if (!form) return problem_page(400, form.error().description);
  const std::string code = form->get_or("user_code", "");
  const auto user = sign_in_with_password(service, request, "device_code", form->get_or("username", ""),
                                          form->get_or("password", ""));
  if (!user) return device_page(user.error().status, code, user.error().description);
  LoginAttempt attempt(service, request, "device_code", "codes of " + (*user)->principal.name);
  if (const auto allowed = attempt.may_try(); !allowed)
    return device_page(429, code, allowed.error().description);
  const auto approved = service.identity.device_logins.approve(code, (*user)->principal.id, service.now());
  if (!approved) {
    const auto refused = attempt.refused({"invalid_grant", approved.error().message});
    return device_page(400, code, refused.value().description);
  }
  log::info("device-login.approved", {{"by", (*user)->principal.name}, {"client", *approved}});
  return page(200, "Approved",
              "<p>The program is signed in within a few seconds. You can close this page.</p>\n");
}

}  // namespace

void add_login_page_handlers(HandlerTable& table) {
  table["Login_ShowPage"] = show_page;
  table["Login_SubmitPage"] = submit_page;
  table["Login_ShowDevicePage"] = show_device_page;
  table["Login_SubmitDevicePage"] = submit_device_page;
}

}  // namespace bootseal::api
