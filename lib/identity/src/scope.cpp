#include "bootseal/identity/scope.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/model/resource_id.h"

namespace bootseal::identity {
namespace {

constexpr std::size_t kMaximumScope = 1024;
constexpr std::string_view kDefault = "/.default";
constexpr std::string_view kHttps = "https://";

struct KnownHost {
  std::string_view host;
  Service service;
};
constexpr KnownHost kKnownHosts[] = {
    {"management.azure.com", Service::resource_manager},
    {"management.core.windows.net", Service::resource_manager},
    {"vault.local", Service::key_vault},
    {"vault.azure.net", Service::key_vault},
    {"managedhsm.azure.net", Service::key_vault},
    {"attest.azure.net", Service::attestation},
    {"graph.microsoft.com", Service::graph},
    {"graph.windows.net", Service::graph},
};

bool is_url_character(char c) {
  return c > ' ' && c < 127 && c != '"' && c != '\\' && c != '<' && c != '>';
}

}  // namespace

Result<Scope> Scope::parse(std::string_view text) {
  if (text.size() > kMaximumScope)
    return fail(ErrorCode::invalid_argument, fmt::format("a scope has at most {} bytes", kMaximumScope));
  Scope scope;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.empty()) continue;
    if (one == "openid" || one == "profile" || one == "offline_access" || one == "email") {
      (one == "openid"           ? scope.openid
       : one == "offline_access" ? scope.offline_access
                                 : scope.profile) = true;
      continue;
    }
    const bool url = one.starts_with(kHttps) && one.size() > kHttps.size() &&
                     std::all_of(one.begin(), one.end(), is_url_character);
    if (!url)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the scope '{}' is not known; ask for RESOURCE/.default, for example "
                              "https://management.azure.com/.default",
                              one.substr(0, 128)));
    if (!scope.audience.empty())
      return fail(ErrorCode::invalid_argument,
                  "one token is for one resource: ask for one RESOURCE/.default");
    // A named permission of a resource ("…/user_impersonation") gives the same token.
    const std::size_t cut = one.ends_with(kDefault) ? one.size() - kDefault.size() : one.rfind('/');
    scope.audience = cut >= kHttps.size() && cut != std::string_view::npos ? one.substr(0, cut) : one;
  }
  return scope;
}

std::string Scope::to_string() const {
  std::string text = audience.empty() ? "" : audience + std::string(kDefault);
  const auto add = [&](bool wanted, std::string_view name) {
    if (!wanted) return;
    if (!text.empty()) text += ' ';
    text += name;
  };
  add(offline_access, "offline_access");
  add(openid, "openid");
  add(profile, "profile");
  return text;
}

Service service_of(std::string_view audience, std::span<const std::string> own_hosts) {
  std::string host = model::to_lower(audience);
  if (!host.starts_with(kHttps)) return Service::none;
  host.erase(0, kHttps.size());
  const std::string path = host.substr(std::min(host.find('/'), host.size()));
  host.resize(host.size() - path.size());
  for (const std::string& own : own_hosts) {
    if (!model::equal_ignoring_case(host, own)) continue;
    return path == "/graph" ? Service::graph : Service::resource_manager;
  }
  std::string name = host.substr(0, host.find(':'));
  for (const KnownHost& known : kKnownHosts) {
    if (name == known.host) return known.service;
    if (known.service == Service::key_vault && name.ends_with("." + std::string(known.host)))
      return known.service;
  }
  return Service::none;
}

}  // namespace bootseal::identity
