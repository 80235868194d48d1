// The virtual machine resource, Microsoft.Compute/virtualMachines: what clients may ask, the rules it is held
// to, and what they get to see.
//
// A *desired* object is the resource as it is stored: conformed to the schema, with every default filled in,
// with the write-only members (customData, adminPasswordHash) still in it. It changes only through the
// functions here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/base/ids.h"
#include "bootseal/json/json.h"
#include "bootseal/model/arm_error.h"
#include "bootseal/model/resource_id.h"
#include "bootseal/model/schema.h"

namespace bootseal::model {

inline constexpr std::string_view kLocation = "local";
inline constexpr std::string_view kVirtualMachineType = "Microsoft.Compute/virtualMachines";

enum class SecurityType : std::uint8_t { trusted_launch, standard };
std::string_view to_string(SecurityType type);  // "TrustedLaunch"

struct SecurityProfile {
  SecurityType type = SecurityType::trusted_launch;
  bool secure_boot = true;
  bool vtpm = true;
  bool operator==(const SecurityProfile&) const = default;
};

// Either an id or the four parts of a marketplace name; our own images go by `offer` alone, or by the last
// part of an id.
struct ImageReference {
  std::string id;
  std::string publisher;
  std::string offer;
  std::string sku;
  std::string version;  // "latest" or empty = the newest

  // NAME or NAME:VERSION as the image folder knows it.
  [[nodiscard]] std::string image_name() const;
  [[nodiscard]] std::string describe() const;
};

// A network interface of a VM.
struct InterfaceReference {
  std::string id;
  bool primary = true;
  bool operator==(const InterfaceReference&) const = default;
};

// The typed view of a desired object.
struct VmSpec {
  std::string size;
  ImageReference image;
  SecurityProfile security;
  std::string computer_name;
  std::string admin_username;
  std::vector<std::string> ssh_keys;  // one line each
  std::string custom_data;            // decoded: cloud-init user data as text, may be empty
  std::string admin_password_hash;    // crypt(3); empty = no password
  bool password_authentication = false;
  std::optional<std::vector<InterfaceReference>> interfaces;  // nullopt = never said anything about
};

SchemaRef virtual_machine_schema();
SchemaRef virtual_machine_update_schema();

// PUT. `existing` is the desired object of a VM that is there already: what the body leaves out (image,
// custom data, keys, interfaces) stays, and what cannot change is refused with 409 PropertyChangeNotAllowed.
// Without securityProfile a new VM gets Trusted Launch with both features. The result still holds
// osProfile.adminPassword when the body does: it is for take_password() before anything is stored.
ArmResult<json::Object> desired_from_put(const json::Value& body, const ResourceId& id,
                                         const json::Object* existing);
// Takes osProfile.adminPassword out of what desired_from_put() made; empty when there is none.
std::string take_password(json::Object& desired);
// osProfile.adminPasswordHash, the one form in which a password is stored; empty when there is none.
std::string password_hash_of(const json::Object& desired);
void set_password_hash(json::Object& desired, std::string hash);
// PATCH: tags (replaced as a whole), hardwareProfile, securityProfile, identity and diagnosticsProfile.
ArmResult<json::Object> desired_from_patch(const json::Value& body, const ResourceId& id,
                                           const json::Object& existing);
// Only for objects made by the two above; corrupt for anything else.
Result<VmSpec> spec_of(const json::Object& desired);

// What the server knows beside the desired object.
struct VmFacts {
  ResourceId id;
  VmId vm_id;
  TimePoint time_created;
  std::string provisioning_state;  // "Creating", "Updating", "Succeeded", "Failed", "Deleting"
  std::string etag;
  std::string image_version;  // the one that was resolved at creation
};
// The resource as clients get it: without write-only members, with ids, defaults and states.
json::Object resource_json(const json::Object& desired, const VmFacts& facts);

}  // namespace bootseal::model
