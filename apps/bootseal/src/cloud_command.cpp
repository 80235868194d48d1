// `bootseal cloud show`.
#include <fmt/format.h>

#include <algorithm>

#include "first_administrator.h"
#include "identity_options.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

constexpr std::string_view kCloudName = "Bootseal";
constexpr std::string_view kTenant = "adfs";  // what az's MSAL calls an authority of this kind

// As one word of a shell.
std::string quoted(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-:@+").find(c) != std::string_view::npos;
  });
  if (plain && !text.empty()) return text;
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'') word += "'\\'";
    word += c;
  }
  return word + "'";
}

struct Cloud {
  std::string endpoint;
  std::string client_id;
  std::string ca_file;
  std::string certificate_file;
  std::string token_file;

  [[nodiscard]] std::string registration() const {
    return fmt::format(
        "az cloud register -n {0} --endpoint-resource-manager {1} --endpoint-active-directory {1}/adfs "
        "--endpoint-active-directory-resource-id {1} --endpoint-management {1} "
        "--endpoint-active-directory-graph-resource-id {1}/graph --endpoint-vm-image-alias-doc "
        "{1}/aliases.json --suffix-storage-endpoint local --suffix-keyvault-dns .vault.local",
        kCloudName, endpoint);
  }
  [[nodiscard]] std::string choice() const { return fmt::format("az cloud set -n {}", kCloudName); }
  [[nodiscard]] std::string login() const {
    return fmt::format("az login --service-principal -u {} -p {} --tenant {}", client_id,
                       quoted(certificate_file), kTenant);
  }
  [[nodiscard]] std::string curl() const {
    return fmt::format(
        "curl --cacert {} -H \"Authorization: Bearer $(cat {})\" '{}/subscriptions?api-version=2022-12-01'",
        quoted(ca_file), quoted(token_file), endpoint);
  }
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> environment() const {
    return {{"REQUESTS_CA_BUNDLE", ca_file},    {"NODE_EXTRA_CA_CERTS", ca_file},
            {"AZURE_AUTHORITY_HOST", endpoint}, {"AZURE_TENANT_ID", std::string(kTenant)},
            {"AZURE_CLIENT_ID", client_id},     {"AZURE_CLIENT_CERTIFICATE_PATH", certificate_file}};
  }
};

Result<Cloud> read_cloud() {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(const auto site, open_site());
  const auto principal = site->call("GET", fmt::format("/v1/principals/{}", kFirstAdministrator));
  if (!principal && principal.error().code == ErrorCode::not_found)
    return fail(
        ErrorCode::not_found,
        fmt::format("there is no service principal '{}' any more; make one with: bootseal identity create "
                    "{} --role Owner --scope /",
                    kFirstAdministrator, kFirstAdministrator));
  if (!principal) return tl::unexpected(principal.error());
  Cloud cloud;
  cloud.endpoint = site->profile().endpoint;
  cloud.client_id = cli::printable(cli::text_at(principal->body, {"appId"}));
  cloud.ca_file = (paths.folder_of("cli") / "ca.pem").string();
  cloud.certificate_file = administrator_file(paths).string();
  cloud.token_file = (paths.folder_of("cli") / "token").string();
  return cloud;
}

}  // namespace

Status cloud_show(const Global& global) {
  BOOTSEAL_TRY(const Cloud cloud, read_cloud());
  if (global.format == cli::Format::json) {
    json::Object environment;
    for (const auto& [name, value] : cloud.environment()) environment[name] = value;
    print_json(json::Object{
        {"name", kCloudName},
        {"endpoint", cloud.endpoint},
        {"caFile", cloud.ca_file},
        {"clientId", cloud.client_id},
        {"certificateFile", cloud.certificate_file},
        {"tenant", kTenant},
        {"az",
         json::Object{{"register", cloud.registration()}, {"set", cloud.choice()}, {"login", cloud.login()}}},
        {"environment", std::move(environment)},
        {"curl", cloud.curl()}});
    return {};
  }
  if (global.format != cli::Format::people) {
    cli::Table table{{"Name", "Value"}, {}};
    table.rows = {{"endpoint", cloud.endpoint},
                  {"ca file", cloud.ca_file},
                  {"register", cloud.registration()},
                  {"set", cloud.choice()},
                  {"login", cloud.login()}};
    for (const auto& [name, value] : cloud.environment()) table.rows.push_back({name, value});
    table.rows.push_back({"curl", cloud.curl()});
    print_table(global, table);
    return {};
  }
  fmt::print(
      "# az (Debian's needs a small file more: docs/azure-clients.md)\nexport "
      "REQUESTS_CA_BUNDLE={}\n{}\n{}\n{}\n",
      quoted(cloud.ca_file), cloud.registration(), cloud.choice(), cloud.login());
  fmt::print("\n# the SDKs' DefaultAzureCredential (Node: NODE_EXTRA_CA_CERTS)\n");
  for (const auto& [name, value] : cloud.environment()) {
    if (name != "REQUESTS_CA_BUNDLE") fmt::print("export {}={}\n", name, quoted(value));
  }
  fmt::print("\n# curl\n{}\n", cloud.curl());
  return {};
}

}  // namespace bootseal::app
