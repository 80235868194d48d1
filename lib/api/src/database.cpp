#include "database.h"

#include <fmt/format.h>

#include "bootseal/crypto/secret.h"
#include "resource_store.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kGroups = "groups";
constexpr std::string_view kVms = "vms";
constexpr std::size_t kForgottenAtOnce = 100;
constexpr std::size_t kTokenKeyLength =
    16;  // hex digits that find the record; the rest is compared in constant time

std::string group_key(const std::string& subscription, const std::string& name) {
  return std::string(kGroups) + model::ResourceId::of_group(subscription, name).key();
}
std::string vm_record_key(const std::string& id_key) {
  return std::string(kVms) + id_key;
}
std::string vm_index_key(const VmId& id) {
  return "vm-index/" + id.to_string();
}
std::string placement_key(const VmId& id) {
  return "placements/" + id.to_string();
}
std::string operation_key(const std::string& id) {
  return "operations/" + id;
}

std::string group_text(const GroupRecord& record) {
  json::Object object;
  object["subscription"] = record.subscription;
  object["name"] = record.name;
  object["location"] = record.location;
  object["tags"] = record.tags;
  object["deleting"] = record.deleting;
  object["operationId"] = record.operation_id;
  return json::serialize(object);
}

Result<GroupRecord> parse_group(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, entry.key));
  GroupRecord record;
  BOOTSEAL_TRY(record.subscription, reader.string("subscription"));
  BOOTSEAL_TRY(record.name, reader.string("name"));
  BOOTSEAL_TRY(record.location, reader.string("location"));
  BOOTSEAL_TRY(json::Reader tags, reader.object("tags"));
  record.tags = tags.raw().get_object();
  BOOTSEAL_TRY(record.deleting, reader.boolean("deleting"));
  BOOTSEAL_TRY(record.operation_id, reader.string("operationId"));
  record.revision = entry.mod_revision;
  return record;
}

std::string vm_text(const VmRecord& record) {
  json::Object object;
  object["id"] = record.id.to_string();
  object["vmId"] = record.vm_id.to_string();
  object["desired"] = record.desired;
  object["timeCreated"] = format_time(record.time_created);
  object["timeChanged"] = format_time(record.time_changed);
  object["imageName"] = record.image_name;
  object["imageVersion"] = record.image_version;
  object["osName"] = record.os_name;
  object["version"] = record.version;
  object["provisioningState"] = record.provisioning_state;
  object["created"] = record.created;
  object["deallocated"] = record.deallocated;
  object["deleting"] = record.deleting;
  object["expectationDue"] = record.expectation_due;
  if (record.expectation_changed) object["expectationChanged"] = format_time(*record.expectation_changed);
  object["powerRequestId"] = record.power.request_id;
  object["powerAction"] = record.power.action;
  object["operationId"] = record.operation_id;
  return json::serialize(object);
}

Result<VmRecord> parse_vm(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, entry.key));
  VmRecord record;
  BOOTSEAL_TRY(const std::string id, reader.string("id"));
  BOOTSEAL_TRY(record.id, model::ResourceId::parse(id));
  BOOTSEAL_TRY(const std::string vm_id, reader.string("vmId"));
  BOOTSEAL_TRY(record.vm_id, VmId::parse(vm_id));
  BOOTSEAL_TRY(json::Reader desired, reader.object("desired"));
  record.desired = desired.raw().get_object();
  BOOTSEAL_TRY(const std::string created_time, reader.string("timeCreated"));
  BOOTSEAL_TRY(record.time_created, parse_time(created_time));
  BOOTSEAL_TRY(const std::string changed_time, reader.string_or("timeChanged", created_time));
  BOOTSEAL_TRY(record.time_changed, parse_time(changed_time));
  BOOTSEAL_TRY(record.image_name, reader.string("imageName"));
  BOOTSEAL_TRY(record.image_version, reader.string("imageVersion"));
  BOOTSEAL_TRY(record.os_name, reader.string_or("osName", record.image_name));
  BOOTSEAL_TRY(record.version, reader.unsigned_integer("version"));
  BOOTSEAL_TRY(record.provisioning_state, reader.string("provisioningState"));
  BOOTSEAL_TRY(record.created, reader.boolean("created"));
  BOOTSEAL_TRY(record.deallocated, reader.boolean("deallocated"));
  BOOTSEAL_TRY(record.deleting, reader.boolean("deleting"));
  BOOTSEAL_TRY(record.expectation_due, reader.boolean_or("expectationDue", false));
  BOOTSEAL_TRY(const auto changed, reader.optional_string("expectationChanged"));
  if (changed) {
    BOOTSEAL_TRY(record.expectation_changed, parse_time(*changed));
  }
  BOOTSEAL_TRY(record.power.request_id, reader.string("powerRequestId"));
  BOOTSEAL_TRY(record.power.action, reader.string("powerAction"));
  BOOTSEAL_TRY(record.operation_id, reader.string("operationId"));
  record.revision = entry.mod_revision;
  return record;
}

void add_operations(std::vector<store::Operation>& target, const std::vector<model::Operation>& operations) {
  for (const model::Operation& operation : operations) {
    target.push_back(operation_write(operation));
  }
}

}  // namespace

Result<store::Condition> group_is_there(store::Store& store, const model::ResourceId& id) {
  BOOTSEAL_TRY(const auto entry, store.get(group_key(id.subscription, id.group)));
  if (!entry) return fail(ErrorCode::conflict, fmt::format("the resource group '{}' is gone", id.group));
  BOOTSEAL_TRY(const GroupRecord record, parse_group(*entry));
  if (record.deleting)
    return fail(ErrorCode::conflict, fmt::format("the resource group '{}' is being deleted", id.group));
  return store::Condition::same(*entry);
}

store::Operation operation_write(const model::Operation& operation) {
  return store::Put{operation_key(operation.id), json::serialize(operation.to_json()), {}};
}

Database::Database(store::Store& store)
    : store_(store),
      groups_(store, std::string(kGroups), parse_group),
      vms_(store, std::string(kVms), parse_vm,
           [](const VmRecord& record) { return referenced_ids(record.desired); }) {}

std::string VmRecord::etag() const {
  return fmt::format("\"{}-{}\"", vm_id.to_string().substr(0, 8), version);
}

Result<Site> Database::site() {
  BOOTSEAL_TRY(const auto found, store_.get("site"));
  if (!found) {
    json::Object object;
    object["tenant"] = Guid::random().to_string();
    object["subscription"] = Guid::random().to_string();
    const auto made = store_.transact({store::Condition::absent("site")},
                                      {store::Put{"site", json::serialize(object), {}}});
    if (!made && made.error().code != ErrorCode::conflict) return tl::unexpected(made.error());
    return site();
  }
  BOOTSEAL_TRY(const json::Value document, json::parse(found->value));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the stored site"));
  Site site;
  BOOTSEAL_TRY(site.tenant, reader.string("tenant"));
  BOOTSEAL_TRY(site.subscription, reader.string("subscription"));
  return site;
}

Result<std::optional<GroupRecord>> Database::group(const std::string& subscription, const std::string& name) {
  BOOTSEAL_TRY(const auto record, groups_.get(model::ResourceId::of_group(subscription, name).key()));
  return record == nullptr ? std::optional<GroupRecord>() : std::optional<GroupRecord>(*record);
}

Result<std::vector<GroupRecord>> Database::groups() {
  BOOTSEAL_TRY(const auto found, groups_.list());
  std::vector<GroupRecord> records;
  for (const auto& record : found) records.push_back(*record);
  return records;
}

Status Database::put_group(const GroupRecord& record) {
  const std::string key = group_key(record.subscription, record.name);
  BOOTSEAL_TRY_STATUS(store_.transact({{key, record.revision}}, {store::Put{key, group_text(record), {}}}));
  return {};
}

Status Database::put_group(const GroupRecord& record, const model::Operation& operation) {
  const std::string key = group_key(record.subscription, record.name);
  std::vector<store::Operation> writes = {store::Put{key, group_text(record), {}}};
  add_operations(writes, {operation});
  BOOTSEAL_TRY_STATUS(store_.transact({{key, record.revision}}, writes));
  return {};
}

Status Database::remove_group(const GroupRecord& record, const model::Operation& operation) {
  const std::string key = group_key(record.subscription, record.name);
  std::vector<store::Operation> writes = {store::Delete{key}};
  add_operations(writes, {operation});
  BOOTSEAL_TRY_STATUS(store_.transact({{key, record.revision}}, writes));
  return {};
}

Result<std::optional<VmRecord>> Database::vm(const std::string& key) {
  BOOTSEAL_TRY(const auto record, vms_.get(key));
  return record == nullptr ? std::optional<VmRecord>() : std::optional<VmRecord>(*record);
}

Result<std::optional<std::string>> Database::vm_key(const VmId& id) {
  BOOTSEAL_TRY(const auto entry, store_.get(vm_index_key(id)));
  if (!entry) return std::optional<std::string>();
  return std::optional<std::string>(entry->value);
}

Result<std::vector<VmRecord>> Database::vms(const std::string& group_prefix) {
  BOOTSEAL_TRY(const auto found, vm_list(group_prefix));
  std::vector<VmRecord> records;
  records.reserve(found.size());
  for (const auto& record : found) records.push_back(*record);
  return records;
}

Result<std::vector<std::shared_ptr<const VmRecord>>> Database::vm_list(const std::string& group_prefix) {
  return vms_.list(group_prefix + "/");
}

Result<std::vector<std::shared_ptr<const VmRecord>>> Database::vms_referring_to(const std::string& key) {
  return vms_.labelled(key);
}

Status Database::put_vm(const VmRecord& record, const std::vector<model::Operation>& operations) {
  const std::string id_key = record.id.key();
  const std::string key = vm_record_key(id_key);
  std::vector<store::Condition> conditions = {{key, record.revision}};
  std::vector<store::Operation> writes = {store::Put{key, vm_text(record), {}}};
  if (record.revision == 0) {
    // Else a VM would be left in a group that is being deleted.
    BOOTSEAL_TRY(store::Condition group_there, group_is_there(store_, record.id));
    conditions.push_back(std::move(group_there));
    writes.emplace_back(store::Put{vm_index_key(record.vm_id), id_key, {}});
  }
  add_operations(writes, operations);
  BOOTSEAL_TRY_STATUS(store_.transact(conditions, writes));
  return {};
}

Status Database::remove_vm(const VmRecord& record, const std::vector<model::Operation>& operations) {
  const std::string key = vm_record_key(record.id.key());
  std::vector<store::Operation> writes = {store::Delete{key}, store::Delete{vm_index_key(record.vm_id)},
                                          store::Delete{placement_key(record.vm_id)}};
  add_operations(writes, operations);
  BOOTSEAL_TRY_STATUS(store_.transact({{key, record.revision}}, writes));
  return {};
}

Result<std::optional<model::Operation>> Database::operation(const std::string& id) {
  BOOTSEAL_TRY(const auto entry, store_.get(operation_key(id)));
  if (!entry) return std::optional<model::Operation>();
  BOOTSEAL_TRY(const json::Value document, json::parse(entry->value));
  BOOTSEAL_TRY(model::Operation operation, model::Operation::parse(document));
  return std::optional<model::Operation>(std::move(operation));
}

Status Database::put_operation(const model::Operation& operation) {
  BOOTSEAL_TRY_STATUS(store_.put(operation_key(operation.id), json::serialize(operation.to_json())));
  return {};
}

Status Database::forget_operations(TimePoint before) {
  BOOTSEAL_TRY(const auto entries, store_.list_all("operations/"));
  std::vector<store::Operation> deletions;
  for (const store::Entry& entry : entries) {
    BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
    BOOTSEAL_TRY(const model::Operation operation, model::Operation::parse(document));
    if (operation.end_time && *operation.end_time < before) deletions.emplace_back(store::Delete{entry.key});
    if (deletions.size() == kForgottenAtOnce) break;
  }
  if (deletions.empty()) return {};
  BOOTSEAL_TRY_STATUS(store_.transact({}, deletions));
  return {};
}

Result<Placement> Database::place(const VmId& id, const std::string& host_id) {
  BOOTSEAL_TRY(auto known, placement(id));
  if (known) return *std::move(known);
  const std::string key = placement_key(id);
  json::Object object;
  object["hostId"] = host_id;
  object["epoch"] = 1;
  const auto placed =
      store_.transact({store::Condition::absent(key)}, {store::Put{key, json::serialize(object), {}}});
  if (!placed && placed.error().code != ErrorCode::conflict) return tl::unexpected(placed.error());
  return place(id, host_id);
}

Result<std::optional<Placement>> Database::placement(const VmId& id) {
  const std::string key = placement_key(id);
  BOOTSEAL_TRY(const auto entry, store_.get(key));
  if (!entry) return std::optional<Placement>();
  BOOTSEAL_TRY(const json::Value document, json::parse(entry->value));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, key));
  Placement placement;
  BOOTSEAL_TRY(placement.host_id, reader.string("hostId"));
  BOOTSEAL_TRY(placement.epoch.value, reader.unsigned_integer("epoch"));
  return std::make_optional(std::move(placement));
}

Status Database::put_token(const std::string& sha256_hex, const std::string& name, TimePoint created) {
  json::Object object;
  object["sha256"] = sha256_hex;
  object["name"] = name;
  object["createdTime"] = format_time(created);
  BOOTSEAL_TRY_STATUS(store_.put("tokens/" + sha256_hex.substr(0, kTokenKeyLength), json::serialize(object)));
  return {};
}

Result<std::optional<std::string>> Database::token_owner(const std::string& sha256_hex) {
  BOOTSEAL_TRY(const auto entry, store_.get("tokens/" + sha256_hex.substr(0, kTokenKeyLength)));
  if (!entry) return std::optional<std::string>();
  BOOTSEAL_TRY(const json::Value document, json::parse(entry->value));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the stored token"));
  BOOTSEAL_TRY(const std::string stored, reader.string("sha256"));
  BOOTSEAL_TRY(std::string name, reader.string("name"));
  if (!crypto::equal_constant_time(as_bytes(stored), as_bytes(sha256_hex)))
    return std::optional<std::string>();
  return std::optional<std::string>(std::move(name));
}

}  // namespace bootseal::api
