#include "bootseal/attest/expectation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace bootseal::attest {
namespace {

constexpr std::array<Role, 4> kRoles = {Role::shim, Role::grub, Role::kernel, Role::boot_application};
constexpr std::array<FileRole, 3> kFileRoles = {FileRole::grub_config, FileRole::kernel, FileRole::initrd};

Result<crypto::Sha256Digest> read_digest(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string hash, reader.string(field));
  const auto digest = crypto::Sha256Digest::parse(hash);
  if (!digest) return reader.problem(field, digest.error().message);
  return *digest;
}

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
  BOOTSEAL_TRY(component.authenticode_sha256, read_digest(reader, "authenticodeSha256"));
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

Result<MeasuredFile> parse_measured_file(json::Reader& reader) {
  MeasuredFile file;
  BOOTSEAL_TRY(const std::string role, reader.string("role"));
  const auto known = std::ranges::find(kFileRoles, role, &file_role_name);
  if (known == kFileRoles.end())
    return reader.problem("role", fmt::format("\"{}\" is none of grubConfig, kernel, initrd", role));
  file.role = *known;
  BOOTSEAL_TRY(file.file, reader.string("file"));
  BOOTSEAL_TRY(file.sha256, read_digest(reader, "sha256"));
  return file;
}

Result<MeasuredBoot> parse_measured_boot(json::Reader& reader) {
  MeasuredBoot measured;
  BOOTSEAL_TRY(measured.immutable, reader.boolean("immutable"));
  BOOTSEAL_TRY(std::vector<json::Reader> files, reader.objects("files"));
  if (files.size() > kMaximumMeasuredFiles) return reader.problem("files", "has more than 32 entries");
  for (json::Reader& next : files) {
    BOOTSEAL_TRY(MeasuredFile file, parse_measured_file(next));
    measured.files.push_back(std::move(file));
  }
  BOOTSEAL_TRY(measured.commands, reader.strings("commands"));
  if (measured.commands.size() > kMaximumCommands)
    return reader.problem("commands", "has more than 1024 entries");
  BOOTSEAL_TRY(measured.kernel_command_line, reader.string("kernelCommandLine"));
  return measured;
}

json::Value to_json(const MeasuredBoot& measured) {
  json::Array files;
  for (const MeasuredFile& file : measured.files) {
    files.push_back(
        {{"role", file_role_name(file.role)}, {"file", file.file}, {"sha256", file.sha256.to_hex()}});
  }
  return {{"immutable", measured.immutable},
          {"files", std::move(files)},
          {"commands", json::Array(measured.commands.begin(), measured.commands.end())},
          {"kernelCommandLine", measured.kernel_command_line}};
}

}  // namespace

std::string_view file_role_name(FileRole role) {
  switch (role) {
    case FileRole::grub_config:
      return "grubConfig";
    case FileRole::kernel:
      return "kernel";
    case FileRole::initrd:
      return "initrd";
  }
  return "";
}

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
  BOOTSEAL_TRY(std::optional<json::Reader> measured, baseline.optional_object("measuredBoot"));
  if (measured) {
    BOOTSEAL_TRY(expectation.baseline.measured_boot, parse_measured_boot(*measured));
  }
  return expectation;
}

json::Value to_json(const Expectation& expectation) {
  json::Array components;
  for (const Component& component : expectation.baseline.components) components.push_back(to_json(component));
  json::Object baseline = {{"image", expectation.baseline.image}, {"components", std::move(components)}};
  if (expectation.baseline.measured_boot)
    baseline["measuredBoot"] = to_json(*expectation.baseline.measured_boot);
  return {{"vmName", expectation.vm_name},
          {"secureBoot", expectation.secure_boot},
          {"vtpm", expectation.vtpm},
          {"baseline", std::move(baseline)}};
}

}  // namespace bootseal::attest
