// `bootseal identity`.
#include <fmt/format.h>

#include "bootseal/base/fds.h"
#include "identity_options.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kMaximumCertificateFile = 65536;

std::string path_of(const std::string& name) {
  return "/v1/principals/" + name;
}

// The first certificate of a file, which may hold its private key too: that stays here.
Result<std::string> certificate_in(const std::string& file) {
  constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----", kEnd = "-----END CERTIFICATE-----";
  BOOTSEAL_TRY(const Bytes content, read_file(file, kMaximumCertificateFile));
  const std::string_view text = as_text(content);
  const std::size_t begin = text.find(kBegin);
  const std::size_t end = begin == std::string_view::npos ? begin : text.find(kEnd, begin);
  if (end == std::string_view::npos)
    return fail(ErrorCode::invalid_argument, fmt::format("{} holds no certificate in PEM", file));
  return std::string(text.substr(begin, end + kEnd.size() - begin)) + "\n";
}

Status add_credential(const IdentityOptions& options, json::Object& body) {
  if (!options.certificate.empty()) {
    BOOTSEAL_TRY(body["certificatePem"], certificate_in(options.certificate));
  }
  if (options.days > 0) body["secretDays"] = options.days;
  return {};
}

std::string cell(const json::Value& value, std::initializer_list<std::string_view> path) {
  return cli::printable(cli::text_at(value, path));
}

void print_secret(const json::Value& answer, const std::string& what) {
  const std::string secret = cli::text_at(answer, {"secret"});
  if (!secret.empty()) fmt::print("{}: {}\nIt is shown this once.\n", what, cli::printable(secret));
}

cli::Table credentials_table(const json::Value& principal) {
  cli::Table table{{"Id", "Kind", "Ends", "Hint"}, {}};
  const json::Value* list = cli::find(principal, {"credentials"});
  if (list == nullptr || !list->is_array()) return table;
  for (const json::Value& one : list->get_array()) {
    const std::string thumbprint = cell(one, {"thumbprint"});
    table.rows.push_back({cell(one, {"id"}), cell(one, {"kind"}), cell(one, {"endTime"}),
                          thumbprint.empty() ? cell(one, {"hint"}) : thumbprint});
  }
  return table;
}

}  // namespace

Status identity_create(const Global& global, const IdentityOptions& options) {
  json::Object body{{"name", options.name}, {"type", options.password ? "User" : "ServicePrincipal"}};
  BOOTSEAL_TRY_STATUS(add_credential(options, body));
  if (!options.role.empty()) body["role"] = options.role;
  if (!options.scope.empty()) body["scope"] = options.scope;
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer, site->call("POST", "/v1/principals", body));
  if (global.format == cli::Format::json) {
    print_json(answer.body);
    return {};
  }
  fmt::print("Made {} (object id {}).\n", options.name, cell(answer.body, {"id"}));
  if (!options.password) fmt::print("Client id: {}\n", cell(answer.body, {"appId"}));
  print_secret(answer.body, options.password ? "Password" : "Secret");
  if (!global.quiet && options.role.empty())
    fmt::print("It has no role yet; give it one with --role, or with az role assignment.\n");
  return {};
}

Status identity_list(const Global& global) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer, site->call("GET", "/v1/principals"));
  if (global.format == cli::Format::json) {
    print_json(answer.body);
    return {};
  }
  cli::Table table{{"Name", "Type", "Enabled", "Object id", "Client id"}, {}};
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of principals has no 'value'");
  for (const json::Value& one : list->get_array())
    table.rows.push_back({cell(one, {"name"}), cell(one, {"type"}), cell(one, {"enabled"}), cell(one, {"id"}),
                          cell(one, {"appId"})});
  print_table(global, table);
  return {};
}

Status identity_show(const Global& global, const IdentityOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer, site->call("GET", path_of(options.name)));
  if (global.format == cli::Format::json) {
    print_json(answer.body);
    return {};
  }
  cli::Table table{{"Property", "Value"}, {}};
  for (const auto& [label, member] :
       {std::pair("name", "name"), std::pair("type", "type"), std::pair("enabled", "enabled"),
        std::pair("object id", "id"), std::pair("client id", "appId"), std::pair("made", "createdTime")})
    table.rows.push_back({label, cell(answer.body, {member})});
  print_table(global, table);
  if (global.format == cli::Format::people) {
    fmt::print("\n");
    print_table(global, credentials_table(answer.body));
  }
  return {};
}

Status identity_delete(const Global& /*global*/, const IdentityOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY_STATUS(site->call("GET", path_of(options.name)));
  BOOTSEAL_TRY_STATUS(confirm(
      options.yes, fmt::format("Delete {} with its roles? It cannot sign in any more.", options.name)));
  BOOTSEAL_TRY_STATUS(site->call("DELETE", path_of(options.name)));
  return {};
}

Status identity_approve(const Global& global, const IdentityOptions& options) {
  json::Object body;
  if (!options.as.empty()) body["principal"] = options.as;
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer, site->call("POST", "/v1/device-logins/" + options.code + "/approve", body));
  if (global.format == cli::Format::json) {
    print_json(answer.body);
  } else {
    fmt::print("The program {} is signed in as {}.\n", cell(answer.body, {"clientId"}),
               cell(answer.body, {"principal"}));
  }
  return {};
}

Status credential_add(const Global& global, const IdentityOptions& options) {
  json::Object body;
  BOOTSEAL_TRY_STATUS(add_credential(options, body));
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer, site->call("POST", path_of(options.name) + "/credentials", body));
  if (global.format == cli::Format::json) {
    print_json(answer.body);
    return {};
  }
  fmt::print("Added {} {}, which ends at {}.\n", cell(answer.body, {"kind"}), cell(answer.body, {"id"}),
             cell(answer.body, {"endTime"}));
  print_secret(answer.body, "Secret");
  return {};
}

Status credential_list(const Global& global, const IdentityOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer, site->call("GET", path_of(options.name)));
  if (global.format == cli::Format::json) {
    const json::Value* list = cli::find(answer.body, {"credentials"});
    print_json(list == nullptr ? json::Value(json::Array()) : *list);
    return {};
  }
  print_table(global, credentials_table(answer.body));
  return {};
}

Status credential_remove(const Global& /*global*/, const IdentityOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY_STATUS(site->call("DELETE", path_of(options.name) + "/credentials/" + options.credential));
  return {};
}

}  // namespace bootseal::app
