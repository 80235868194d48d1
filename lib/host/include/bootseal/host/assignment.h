// What the control plane asks of a host, and what the host says about a VM (docs/architecture.md, hostd).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/base/ids.h"
#include "bootseal/json/json.h"
#include "bootseal/netd/interface.h"

namespace bootseal::host {

enum class SecurityType : std::uint8_t { trusted_launch, standard };
enum class PowerAction : std::uint8_t { none, start, stop, kill, restart };
enum class PowerState : std::uint8_t { stopped, starting, running, stopping };
enum class ProvisioningState : std::uint8_t { creating, succeeded, failed };
enum class RequestState : std::uint8_t { running, succeeded, failed };

std::string_view power_action_name(PowerAction action);  // "start", …
std::string_view power_state_name(PowerState state);
std::string_view provisioning_state_name(ProvisioningState state);
std::string_view request_state_name(RequestState state);

struct OperatingSystemSettings {
  std::string computer_name;
  std::string admin_username;
  std::vector<std::string> ssh_keys;
  std::string custom_data;          // cloud-init user data, as text; empty = none
  std::string admin_password_hash;  // crypt(3); empty = none
  bool password_authentication = false;
};

// The identity of a disk of this host's store.
struct DiskId {
  Guid guid;

  static DiskId random() { return DiskId{Guid::random()}; }
  static Result<DiskId> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const { return guid.to_string(); }
  auto operator<=>(const DiskId&) const = default;
};

enum class Caching : std::uint8_t { none, read_only, read_write };

struct DataDisk {
  DiskId disk;
  unsigned lun = 0;
  bool read_only = false;
  Caching caching = Caching::none;
  bool operator==(const DataDisk&) const = default;
};

struct Assignment {
  VmId vm;
  std::string name;
  Epoch epoch;
  std::string image_disk;  // path of the qcow2; may be empty with os_disk
  std::string image_name;
  std::uint64_t cpus = 1;
  std::uint64_t memory_mib = 512;
  std::string cpu_model;  // empty = the host's choice for its accelerator
  SecurityType security = SecurityType::trusted_launch;
  bool secure_boot = true;
  bool vtpm = true;
  std::string signature_template;  // "MicrosoftUefiCertificateAuthority" | "MicrosoftWindows" | "None"
  OperatingSystemSettings os;
  // nullopt = the control plane says nothing of them.
  std::optional<std::vector<netd::Interface>> network;
  std::optional<std::vector<DataDisk>> disks;
  std::optional<DiskId> os_disk;  // of the store; nullopt = an overlay on the image in the VM's folder
  // SHA-256 (hex) of what attestd expects of this VM; another one means that a verdict is of the past. Empty
  // = not told.
  std::string expectation_digest;
  std::string request_id;  // of the power request; empty = none
  PowerAction action = PowerAction::none;

  [[nodiscard]] const std::vector<netd::Interface>& interfaces() const {
    static const std::vector<netd::Interface> kNone;
    return network ? *network : kNone;
  }
  [[nodiscard]] const std::vector<DataDisk>& data_disks() const {
    static const std::vector<DataDisk> kNone;
    return disks ? *disks : kNone;
  }
  [[nodiscard]] bool trusted() const { return security == SecurityType::trusted_launch; }
};

// Errors: invalid_argument with the path of the field. Unknown fields are refused.
Result<Assignment> parse_assignment(const json::Value& value);
json::Value to_json(const Assignment& assignment);

struct Notice {
  std::string code;
  std::string message;
  TimePoint time;
};

struct BootStatus {
  std::string outcome;  // "Booting" | "Booted" | "Refused" | "NothingToBoot" | "DidNotBoot" | ""
  std::string component, file, message;
  TimePoint time;
};

struct TpmIdentity {
  std::string ek_issuer, ek_subject;               // of the EK certificate
  std::string ek_public_sha256, ak_public_sha256;  // hex, of the SubjectPublicKeyInfo
};

json::Value error_json(const Error& error);  // {code, message}
Result<Error> error_from_json(json::Reader& reader);

}  // namespace bootseal::host
