#include <fmt/format.h>

#include "bootseal/crypto/digest.h"
#include "bootseal/gallery/image.h"
#include "bootseal/model/vm_size.h"
#include "vm_reconciler.h"

namespace bootseal::api {
namespace {

json::Object security_of(const model::SecurityProfile& profile) {
  json::Object security;
  security["type"] = model::to_string(profile.type);
  security["secureBoot"] = profile.secure_boot;
  security["vtpm"] = profile.vtpm;
  security["template"] =
      profile.type == model::SecurityType::trusted_launch ? "MicrosoftUefiCertificateAuthority" : "None";
  return security;
}

json::Object os_of(const model::VmSpec& spec) {
  json::Object os;
  os["computerName"] = spec.computer_name;
  os["adminUsername"] = spec.admin_username;
  json::Array keys;
  for (const std::string& key : spec.ssh_keys) keys.emplace_back(key);
  os["sshKeys"] = std::move(keys);
  if (!spec.custom_data.empty()) os["customData"] = spec.custom_data;
  if (!spec.admin_password_hash.empty()) {
    os["adminPasswordHash"] = spec.admin_password_hash;
    os["passwordAuthentication"] = spec.password_authentication;
  }
  return os;
}

}  // namespace

Result<Intent> make_intent(const VmRecord& record, const Placement& placement,
                           const std::filesystem::path& images, std::optional<json::Array> network) {
  BOOTSEAL_TRY(const model::VmSpec spec, model::spec_of(record.desired));
  const model::VmSize* size = model::find_vm_size(spec.size);
  if (size == nullptr)
    return fail(ErrorCode::unsupported,
                fmt::format("the VM size '{}' is not offered any more; resize the VM", spec.size));
  BOOTSEAL_TRY(const gallery::ImageRecord image,
               gallery::find_image(images, record.image_name + ":" + record.image_version));

  Intent intent;
  intent.assignment["vmId"] = record.vm_id.to_string();
  intent.assignment["name"] = record.id.name;
  intent.assignment["epoch"] = placement.epoch.value;
  json::Object image_part;
  image_part["disk"] = image.disk.string();
  image_part["name"] = fmt::format("{}:{}", record.image_name, record.image_version);
  intent.assignment["image"] = image_part;
  json::Object hardware;
  hardware["cpus"] = size->cpus;
  hardware["memoryMiB"] = size->memory_mib;
  intent.assignment["hardware"] = std::move(hardware);
  intent.assignment["security"] = security_of(spec.security);
  intent.assignment["os"] = os_of(spec);
  if (network) intent.assignment["network"] = *std::move(network);
  json::Object power;
  power["requestId"] = record.power.request_id;
  power["action"] = record.power.action;
  intent.assignment["power"] = std::move(power);

  json::Array components;
  for (const gallery::BootComponent& component : image.manifest.boot_chain)
    components.emplace_back(gallery::component_to_json(component));
  json::Object baseline;
  baseline["image"] = image_part["name"];
  baseline["components"] = std::move(components);
  if (image.manifest.measured_boot)
    baseline["measuredBoot"] = gallery::measured_boot_to_json(*image.manifest.measured_boot);
  intent.expectation["vmName"] = record.id.name;
  intent.expectation["secureBoot"] = spec.security.secure_boot;
  intent.expectation["vtpm"] = spec.security.vtpm;
  intent.expectation["baseline"] = std::move(baseline);
  // The host judges again when this changes.
  intent.assignment["expectationDigest"] =
      crypto::sha256(as_bytes(json::serialize(intent.expectation))).to_hex();
  return intent;
}

}  // namespace bootseal::api
