#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/gallery/image.h"
#include "fields.h"

namespace bootseal::gallery {
namespace {

constexpr std::array<std::string_view, 4> kRoles = {"shim", "grub", "kernel", "bootApplication"};
constexpr std::size_t kMaximumComponents = 32;
constexpr std::uint64_t kMaximumDiskSize = std::uint64_t{64} << 40,
                        kMaximumMemoryMib = std::uint64_t{16} << 20;

// One of the values this version knows.
Result<std::string> known(json::Reader& reader, std::string_view field, std::string_view value) {
  BOOTSEAL_TRY(std::string found, reader.string(field));
  if (found != value) return reader.problem(field, fmt::format("wanted '{}', there is '{}'", value, found));
  return found;
}

Result<std::string> read_resource_name(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(std::string name, reader.string(field));
  if (!is_valid_resource_name(name)) {
    return reader.problem(field,
                          fmt::format("'{}' is no name (1 to 64 letters, digits, '.', '-' and '_')", name));
  }
  return name;
}

Status read_disk(json::Reader disk, ImageManifest& manifest) {
  BOOTSEAL_TRY(manifest.disk_file, disk.string("file"));
  if (!is_valid_resource_name(manifest.disk_file))
    return disk.problem("file", "wanted the name of a file in the image's folder");
  BOOTSEAL_TRY(manifest.disk_format, known(disk, "format", "qcow2"));
  BOOTSEAL_TRY(manifest.disk_virtual_size_bytes, disk.unsigned_integer("virtualSizeBytes"));
  if (manifest.disk_virtual_size_bytes == 0 || manifest.disk_virtual_size_bytes > kMaximumDiskSize) {
    return disk.problem("virtualSizeBytes", "wanted 1 byte to 64 TiB");
  }
  BOOTSEAL_TRY(manifest.disk_sha256, read_digest(disk, "sha256"));
  return disk.no_other_fields();
}

Status read_packages(json::Reader packages, ImageManifest& manifest) {
  BOOTSEAL_TRY(manifest.shim_package, packages.string_or("shim", ""));
  BOOTSEAL_TRY(manifest.grub_package, packages.string_or("grub", ""));
  BOOTSEAL_TRY(manifest.kernel_package, packages.string_or("kernel", ""));
  return packages.no_other_fields();
}

Status read_manifest(json::Reader& reader, ImageManifest& manifest) {
  BOOTSEAL_TRY(manifest.name, read_resource_name(reader, "name"));
  BOOTSEAL_TRY(manifest.version, read_resource_name(reader, "version"));
  BOOTSEAL_TRY(manifest.description, reader.string_or("description", ""));
  BOOTSEAL_TRY(manifest.os_type, reader.string("osType"));
  if (manifest.os_type != "Linux" && manifest.os_type != "Windows")
    return reader.problem("osType", "wanted 'Linux' or 'Windows'");
  BOOTSEAL_TRY(manifest.os_name, reader.string_or("osName", ""));
  BOOTSEAL_TRY(manifest.hyper_v_generation, known(reader, "hyperVGeneration", "V2"));
  BOOTSEAL_TRY(manifest.architecture, known(reader, "architecture", "x64"));
  BOOTSEAL_TRY(json::Reader features, reader.object("features"));
  BOOTSEAL_TRY(manifest.security_type, features.string("securityType"));
  if (manifest.security_type != "TrustedLaunchSupported" && manifest.security_type != "Standard") {
    return features.problem("securityType", "wanted 'TrustedLaunchSupported' or 'Standard'");
  }
  BOOTSEAL_TRY_STATUS(features.no_other_fields());
  BOOTSEAL_TRY(json::Reader disk, reader.object("disk"));
  BOOTSEAL_TRY_STATUS(read_disk(std::move(disk), manifest));
  BOOTSEAL_TRY(const std::string created, reader.string("createdTime"));
  const auto time = parse_time(created);
  if (!time) return reader.problem("createdTime", time.error().message);
  manifest.created_time = *time;
  BOOTSEAL_TRY(manifest.minimum_memory_mib, reader.unsigned_integer_or("minimumMemoryMiB", 0));
  if (manifest.minimum_memory_mib > kMaximumMemoryMib)
    return reader.problem("minimumMemoryMiB", "wanted at most 16 TiB");
  BOOTSEAL_TRY(manifest.agent, reader.boolean_or("agent", false));
  BOOTSEAL_TRY(manifest.cloud_init, reader.boolean_or("cloudInit", false));
  BOOTSEAL_TRY(std::vector<json::Reader> chain, reader.objects("bootChain"));
  if (chain.size() > kMaximumComponents)
    return reader.problem("bootChain", fmt::format("wanted at most {} components", kMaximumComponents));
  for (json::Reader& each : chain) {
    BOOTSEAL_TRY(BootComponent component, component_from_json(each));
    manifest.boot_chain.push_back(std::move(component));
  }
  BOOTSEAL_TRY(std::optional<json::Reader> measured, reader.optional_object("measuredBoot"));
  if (measured) {
    BOOTSEAL_TRY(manifest.measured_boot, measured_boot_from_json(*measured));
  }
  BOOTSEAL_TRY(std::optional<json::Reader> packages, reader.optional_object("packages"));
  if (packages) BOOTSEAL_TRY_STATUS(read_packages(*std::move(packages), manifest));
  return reader.no_other_fields();
}

}  // namespace

json::Object component_to_json(const BootComponent& component) {
  json::Object object;
  object["role"] = component.role;
  object["file"] = component.file;
  object["authenticodeSha256"] = component.authenticode_sha256.to_hex();
  object["signers"] = json::Array(component.signers.begin(), component.signers.end());
  object["version"] = component.version;
  if (!component.sbat.empty()) object["sbat"] = component.sbat;
  return object;
}

Result<BootComponent> component_from_json(json::Reader& reader) {
  BootComponent component;
  BOOTSEAL_TRY(component.role, reader.string("role"));
  if (std::ranges::find(kRoles, component.role) == kRoles.end()) {
    return reader.problem("role", "wanted 'shim', 'grub', 'kernel' or 'bootApplication'");
  }
  BOOTSEAL_TRY(component.file, reader.string("file"));
  BOOTSEAL_TRY(component.authenticode_sha256, read_digest(reader, "authenticodeSha256"));
  BOOTSEAL_TRY(component.signers, reader.strings("signers"));
  BOOTSEAL_TRY(component.version, reader.string_or("version", ""));
  BOOTSEAL_TRY(component.sbat, reader.string_or("sbat", ""));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return component;
}

Result<ImageManifest> parse_manifest(std::string_view text) {
  BOOTSEAL_TRY(const json::Value document, json::parse(text, {.bytes = std::size_t{1} << 20, .depth = 8}));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the manifest"));
  ImageManifest manifest;
  BOOTSEAL_TRY_STATUS(read_manifest(reader, manifest));
  return manifest;
}

std::string serialize_manifest(const ImageManifest& manifest) {
  json::Object object;
  object["name"] = manifest.name;
  object["version"] = manifest.version;
  object["description"] = manifest.description;
  object["osType"] = manifest.os_type;
  object["osName"] = manifest.os_name;
  object["hyperVGeneration"] = manifest.hyper_v_generation;
  object["architecture"] = manifest.architecture;
  object["features"] = {{"securityType", manifest.security_type}};
  object["disk"] = {{"file", manifest.disk_file},
                    {"format", manifest.disk_format},
                    {"virtualSizeBytes", manifest.disk_virtual_size_bytes},
                    {"sha256", manifest.disk_sha256.to_hex()}};
  object["createdTime"] = format_time(manifest.created_time);
  object["minimumMemoryMiB"] = manifest.minimum_memory_mib;
  object["agent"] = manifest.agent;
  object["cloudInit"] = manifest.cloud_init;
  json::Array chain;
  for (const BootComponent& component : manifest.boot_chain) chain.emplace_back(component_to_json(component));
  object["bootChain"] = std::move(chain);
  if (manifest.measured_boot) object["measuredBoot"] = measured_boot_to_json(*manifest.measured_boot);
  json::Object packages;
  if (!manifest.shim_package.empty()) packages["shim"] = manifest.shim_package;
  if (!manifest.grub_package.empty()) packages["grub"] = manifest.grub_package;
  if (!manifest.kernel_package.empty()) packages["kernel"] = manifest.kernel_package;
  object["packages"] = std::move(packages);
  return json::serialize_pretty(object);
}

}  // namespace bootseal::gallery
