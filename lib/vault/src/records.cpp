#include "records.h"

#include <fmt/format.h>

#include <functional>

#include "bootseal/json/json.h"

namespace bootseal::vault {
namespace {

constexpr std::uint64_t kFormat = 1;

Result<Placement> read_placement_fields(json::Reader& reader) {
  Placement placement;
  BOOTSEAL_TRY(placement.host_id, reader.string("hostId"));
  BOOTSEAL_TRY(placement.epoch.value, reader.unsigned_integer("epoch"));
  return placement;
}

template <typename T>
Result<T> read_record(const store::Entry& entry, const std::function<Result<T>(json::Reader&)>& read) {
  const auto whole = [&]() -> Result<T> {
    BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, entry.key));
    return read(reader);
  };
  Result<T> record = whole();
  if (!record) {
    return fail(
        ErrorCode::corrupt,
        fmt::format("the vault's record {} is damaged; restore the store of vaultd from a backup", entry.key),
        record.error());
  }
  return record;
}

}  // namespace

std::string write_stored_key(const StoredKey& key) {
  return json::serialize({{"createdTime", key.created_time},
                          {"generation", key.generation.value},
                          {"wrappedKey", to_base64(key.wrapped_key)}});
}

Result<StoredKey> read_stored_key(const store::Entry& entry) {
  return read_record<StoredKey>(entry, [](json::Reader& reader) -> Result<StoredKey> {
    StoredKey key;
    BOOTSEAL_TRY(key.created_time, reader.string("createdTime"));
    BOOTSEAL_TRY(key.generation.value, reader.unsigned_integer("generation"));
    BOOTSEAL_TRY(key.wrapped_key, reader.base64("wrappedKey"));
    return key;
  });
}

std::string write_placement(const Placement& placement) {
  return json::serialize({{"hostId", placement.host_id}, {"epoch", placement.epoch.value}});
}

Result<Placement> read_placement(const store::Entry& entry) {
  return read_record<Placement>(entry, &read_placement_fields);
}

std::string write_tombstone(const Tombstone& tombstone) {
  return json::serialize({{"hostId", tombstone.placement.host_id},
                          {"epoch", tombstone.placement.epoch.value},
                          {"deletedTime", tombstone.deleted_time}});
}

Result<Tombstone> read_tombstone(const store::Entry& entry) {
  return read_record<Tombstone>(entry, [](json::Reader& reader) -> Result<Tombstone> {
    Tombstone tombstone;
    BOOTSEAL_TRY(tombstone.placement, read_placement_fields(reader));
    BOOTSEAL_TRY(tombstone.deleted_time, reader.string("deletedTime"));
    return tombstone;
  });
}

std::string write_vault_record(const VaultRecord& record) {
  return json::serialize({{"format", kFormat},
                          {"vaultId", record.vault_id},
                          {"caCertificatePem", record.ca_certificate_pem},
                          {"caWrappedKey", to_base64(record.ca_wrapped_key)}});
}

Result<VaultRecord> read_vault_record(const store::Entry& entry) {
  return read_record<VaultRecord>(entry, [](json::Reader& reader) -> Result<VaultRecord> {
    BOOTSEAL_TRY(const std::uint64_t format, reader.unsigned_integer("format"));
    if (format != kFormat) return reader.problem("format", "was written by another version of Bootseal");
    VaultRecord record;
    BOOTSEAL_TRY(record.vault_id, reader.string("vaultId"));
    BOOTSEAL_TRY(record.ca_certificate_pem, reader.string("caCertificatePem"));
    BOOTSEAL_TRY(record.ca_wrapped_key, reader.base64("caWrappedKey"));
    return record;
  });
}

std::string write_audit_head(const log::AuditHead& head) {
  return json::serialize({{"sequence", head.sequence}, {"sha256", head.sha256}});
}

Result<log::AuditHead> read_audit_head(const store::Entry& entry) {
  return read_record<log::AuditHead>(entry, [](json::Reader& reader) -> Result<log::AuditHead> {
    log::AuditHead head;
    BOOTSEAL_TRY(head.sequence, reader.unsigned_integer("sequence"));
    BOOTSEAL_TRY(head.sha256, reader.string("sha256"));
    return head;
  });
}

}  // namespace bootseal::vault
