#include "bootseal/attest/expectation.h"

#include <fmt/format.h>

#include <array>

namespace bootseal::attest {
namespace {

constexpr std::array<Role, 4> kRoles = {Role::shim, Role::grub, Role::kernel, Role::boot_application};

Result<Component> parse_component(json::Reader& reader) {
  Component component;
  BOOTSEAL_TRY(const std::string role, reader.string("role"));
  bool known = false;
  for (const Role candidate : kRoles) {
    if (role_name(candidate) != role) continue;
    component.role = candidate;
    known = true;
  }
  if (!known)
    return reader.problem("role", fmt::format("\"{}\" is none of shim, grub, kernel, bootApplication", role));
  BOOTSEAL_TRY(component.file, reader.string_or("file", ""));
  BOOTSEAL_TRY(const std::string hash, reader.string("authenticodeSha256"));
  const auto digest = crypto::Sha256Digest::parse(hash);
  if (!digest) return reader.problem("authenticodeSha256", digest.error().message);
  component.authenticode_sha256 = *digest;
  if (reader.has("signers")) {
    BOOTSEAL_TRY(component.signers, reader.strings("signers"));
  }
  BOOTSEAL_TRY(component.version, reader.string_or("version", ""));
  BOOTSEAL_TRY(component.sbat, reader.optional_string("sbat"));
  return component;
}

json::Value to_json(const Component& component) {
  json::Object object = {{"role", role_name(component.role)},
                         {"file", component.file},
                         {"authenticodeSha256", component.authenticode_sha256.to_hex()},
                         {"signers", json::Array(component.signers.begin(), component.signers.end())},
                         {"version", component.version}};
  if (component.sbat) object["sbat"] = *component.sbat;
  return object;
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::shim:
      return "shim";
    case Role::grub:
      return "grub";
    case Role::kernel:
      return "kernel";
    case Role::boot_application:
      return "bootApplication";
  }
  return "";
}

Result<Expectation> parse_expectation(const json::Value& document) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "expectation"));
  Expectation expectation;
  BOOTSEAL_TRY(expectation.vm_name, reader.string("vmName"));
  BOOTSEAL_TRY(expectation.secure_boot, reader.boolean("secureBoot"));
  BOOTSEAL_TRY(expectation.vtpm, reader.boolean("vtpm"));
  BOOTSEAL_TRY(json::Reader baseline, reader.object("baseline"));
  BOOTSEAL_TRY(expectation.baseline.image, baseline.string("image"));
  BOOTSEAL_TRY(std::vector<json::Reader> components, baseline.objects("components"));
  if (components.size() > kMaximumComponents)
    return baseline.problem("components", "has more than 1024 entries");
  for (json::Reader& next : components) {
    BOOTSEAL_TRY(Component component, parse_component(next));
    expectation.baseline.components.push_back(std::move(component));
  }
  return expectation;
}

json::Value to_json(const Expectation& expectation) {
  json::Array components;
  for (const Component& component : expectation.baseline.components) components.push_back(to_json(component));
  return {{"vmName", expectation.vm_name},
          {"secureBoot", expectation.secure_boot},
          {"vtpm", expectation.vtpm},
          {"baseline", {{"image", expectation.baseline.image}, {"components", std::move(components)}}}};
}

}  // namespace bootseal::attest
