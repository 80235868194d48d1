#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "bootseal/identity/principal.h"

namespace bootseal::identity {
namespace {

constexpr std::string_view kSecret = "secret", kCertificate = "certificate";

Result<TimePoint> read_time(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  return parse_time(text);
}

json::Object credential_json(const Credential& credential) {
  json::Object object{{"id", credential.id},
                      {"kind", credential.kind == Credential::Kind::secret ? kSecret : kCertificate},
                      {"created", format_time(credential.created)},
                      {"expires", format_time(credential.expires)}};
  if (credential.kind == Credential::Kind::secret) {
    object["secret"] = credential.secret.to_json();
    object["hint"] = credential.hint;
  } else {
    object["certificate"] = to_base64(credential.certificate);
  }
  return object;
}

Result<Credential> parse_credential(json::Reader& reader) {
  Credential credential;
  BOOTSEAL_TRY(credential.id, reader.string("id"));
  BOOTSEAL_TRY(const std::string kind, reader.string("kind"));
  BOOTSEAL_TRY(credential.created, read_time(reader, "created"));
  BOOTSEAL_TRY(credential.expires, read_time(reader, "expires"));
  if (kind == kSecret) {
    BOOTSEAL_TRY(const json::Value* secret, reader.value("secret"));
    BOOTSEAL_TRY(credential.secret, SecretHash::parse(*secret));
    BOOTSEAL_TRY(credential.hint, reader.string_or("hint", ""));
  } else if (kind == kCertificate) {
    credential.kind = Credential::Kind::certificate;
    BOOTSEAL_TRY(credential.certificate, reader.base64("certificate"));
  } else {
    return reader.problem("kind", "is neither a secret nor a certificate");
  }
  return credential;
}

json::Object credential_answer(const Credential& credential) {
  json::Object object{{"id", credential.id},
                      {"kind", credential.kind == Credential::Kind::secret ? kSecret : kCertificate},
                      {"startTime", format_time(credential.created)},
                      {"endTime", format_time(credential.expires)}};
  if (credential.kind == Credential::Kind::secret) {
    if (!credential.hint.empty()) object["hint"] = credential.hint;
  } else {
    object["thumbprint"] = to_hex(crypto::digest(crypto::HashAlgorithm::sha1, credential.certificate));
  }
  return object;
}

}  // namespace

std::string_view to_string(Principal::Kind kind) {
  return kind == Principal::Kind::user ? "User" : "ServicePrincipal";
}

json::Object Principal::to_json() const {
  json::Array list;
  for (const Credential& credential : credentials) list.emplace_back(credential_json(credential));
  return {{"id", id},
          {"appId", app_id},
          {"kind", to_string(kind)},
          {"name", name},
          {"enabled", enabled},
          {"created", format_time(created)},
          {"credentials", std::move(list)}};
}

json::Object Principal::to_answer() const {
  json::Array list;
  for (const Credential& credential : credentials) list.emplace_back(credential_answer(credential));
  json::Object object{{"id", id},
                      {"name", name},
                      {"type", to_string(kind)},
                      {"enabled", enabled},
                      {"createdTime", format_time(created)},
                      {"credentials", std::move(list)}};
  if (!app_id.empty()) object["appId"] = app_id;
  return object;
}

Result<Principal> Principal::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the principal"));
  Principal principal;
  BOOTSEAL_TRY(principal.id, reader.string("id"));
  BOOTSEAL_TRY_STATUS(Guid::parse(principal.id));
  BOOTSEAL_TRY(principal.app_id, reader.string("appId"));
  BOOTSEAL_TRY(const std::string kind, reader.string("kind"));
  if (kind == to_string(Kind::user)) {
    principal.kind = Kind::user;
  } else if (kind != to_string(Kind::service_principal)) {
    return reader.problem("kind", "is neither User nor ServicePrincipal");
  }
  BOOTSEAL_TRY(principal.name, reader.string("name"));
  BOOTSEAL_TRY(principal.enabled, reader.boolean("enabled"));
  BOOTSEAL_TRY(principal.created, read_time(reader, "created"));
  BOOTSEAL_TRY(auto credentials, reader.objects("credentials"));
  for (json::Reader& one : credentials) {
    BOOTSEAL_TRY(Credential credential, parse_credential(one));
    principal.credentials.push_back(std::move(credential));
  }
  return principal;
}

}  // namespace bootseal::identity
