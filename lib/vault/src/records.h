// What the vault keeps in the store, as JSON.
//
//   vault              {format, vaultId, caCertificatePem, caWrappedKey}
//   audit-head         {sequence, sha256}
//   placements/VMID    {hostId, epoch}
//   keys/VMID          {createdTime, generation, wrappedKey}
//   seal               {mac}: see seal.h, also for the "mac" of all but the first
//   tombstones/VMID    {hostId, epoch, deletedTime}: where a VM was placed when it was deleted last; kept for
//   good
#pragma once

#include "bootseal/vault/vault.h"

namespace bootseal::vault {

inline constexpr std::string_view kVaultKey = "vault";
inline constexpr std::string_view kAuditHeadKey = "audit-head";
inline constexpr std::string_view kKeyPrefix = "keys/";
inline constexpr std::string_view kPlacementPrefix = "placements/";
inline constexpr std::string_view kTombstonePrefix = "tombstones/";

inline std::string key_key(const VmId& vm) {
  return std::string(kKeyPrefix) + vm.to_string();
}
inline std::string placement_key(const VmId& vm) {
  return std::string(kPlacementPrefix) + vm.to_string();
}
inline std::string tombstone_key(const VmId& vm) {
  return std::string(kTombstonePrefix) + vm.to_string();
}
// The label under which a VM's key is wrapped: the key of one VM never opens in another one's place.
inline std::string key_label(const VmId& vm) {
  return "guest-state-key/" + vm.to_string();
}
inline std::string ca_label(const std::string& vault_id) {
  return "site-ca-key/" + vault_id;
}

struct StoredKey {
  std::string created_time;
  Generation generation;
  Bytes wrapped_key;
};

struct Tombstone {
  Placement placement;  // the last
  std::string deleted_time;
};

struct VaultRecord {
  std::string vault_id;
  std::string ca_certificate_pem;
  Bytes ca_wrapped_key;
};

// Reading fails with corrupt and the name of the entry.
std::string write_stored_key(const StoredKey& key);
Result<StoredKey> read_stored_key(const store::Entry& entry);
std::string write_placement(const Placement& placement);
Result<Placement> read_placement(const store::Entry& entry);
std::string write_tombstone(const Tombstone& tombstone);
Result<Tombstone> read_tombstone(const store::Entry& entry);
std::string write_vault_record(const VaultRecord& record);
Result<VaultRecord> read_vault_record(const store::Entry& entry);
std::string write_audit_head(const log::AuditHead& head);
Result<log::AuditHead> read_audit_head(const store::Entry& entry);

}  // namespace bootseal::vault
