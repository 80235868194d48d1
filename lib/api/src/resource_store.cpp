#include "resource_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "database.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kPrefix = "resources";
constexpr std::string_view kTypeLabel = "type:";
constexpr std::string_view kReferenceLabel = "id:";

std::string text_of(const ResourceRecord& record) {
  json::Object object;
  object["id"] = record.id.to_string();
  object["location"] = record.location;
  object["tags"] = record.tags;
  object["body"] = record.body;
  object["state"] = record.state;
  object["version"] = record.version;
  object["createdTime"] = format_time(record.created_time);
  object["changedTime"] = format_time(record.changed_time);
  object["provisioningState"] = record.provisioning_state;
  object["deleting"] = record.deleting;
  object["operationId"] = record.operation_id;
  return json::serialize(object);
}

Result<ResourceRecord> parse(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, entry.key));
  ResourceRecord record;
  BOOTSEAL_TRY(const std::string id, reader.string("id"));
  BOOTSEAL_TRY(record.id, model::ResourceId::parse(id));
  BOOTSEAL_TRY(record.location, reader.string("location"));
  BOOTSEAL_TRY(const json::Reader tags, reader.object("tags"));
  record.tags = tags.raw().get_object();
  BOOTSEAL_TRY(const json::Reader body, reader.object("body"));
  record.body = body.raw().get_object();
  BOOTSEAL_TRY(const json::Reader state, reader.object("state"));
  record.state = state.raw().get_object();
  BOOTSEAL_TRY(record.version, reader.unsigned_integer("version"));
  BOOTSEAL_TRY(const std::string created, reader.string("createdTime"));
  BOOTSEAL_TRY(record.created_time, parse_time(created));
  BOOTSEAL_TRY(const std::string changed, reader.string("changedTime"));
  BOOTSEAL_TRY(record.changed_time, parse_time(changed));
  BOOTSEAL_TRY(record.provisioning_state, reader.string("provisioningState"));
  BOOTSEAL_TRY(record.deleting, reader.boolean("deleting"));
  BOOTSEAL_TRY(record.operation_id, reader.string("operationId"));
  record.revision = entry.mod_revision;
  return record;
}

void collect(const json::Value& value, std::vector<std::string>& ids) {
  if (value.is_array()) {
    for (const json::Value& element : value.get_array()) collect(element, ids);
    return;
  }
  if (!value.is_object()) return;
  for (const auto& [name, member] : value.get_object()) {
    const bool id = member.is_string() && std::string_view(name) == "id";
    if (id && member.get_string().starts_with('/')) {
      ids.push_back(model::to_lower(std::string_view(member.get_string())));
    } else {
      collect(member, ids);
    }
  }
}

std::vector<std::string> labels_of(const ResourceRecord& record) {
  std::vector<std::string> labels = {std::string(kTypeLabel) + model::to_lower(record.id.full_type())};
  for (const json::Object* part : {&record.body, &record.state}) {
    for (const std::string& id : referenced_ids(*part)) labels.push_back(std::string(kReferenceLabel) + id);
  }
  return labels;
}

}  // namespace

std::vector<std::string> referenced_ids(const json::Value& value) {
  std::vector<std::string> ids;
  collect(value, ids);
  return ids;
}

std::string ResourceRecord::etag() const {
  return fmt::format("W/\"{:x}-{}\"", created_time.time_since_epoch().count(), version);
}

const json::Object& ResourceRecord::properties() const {
  static const json::Object kNone;
  const json::Value* found = body.if_contains("properties");
  return found != nullptr && found->is_object() ? found->get_object() : kNone;
}

json::Object& ResourceRecord::properties() {
  json::Value& found = body["properties"];
  if (!found.is_object()) found = json::Object();
  return found.get_object();
}

ResourceStore::ResourceStore(store::Store& store)
    : store_(store), table_(store, std::string(kPrefix), parse, labels_of) {}

Result<std::vector<ResourcePointer>> ResourceStore::below(const std::string& scope) {
  return table_.list(scope + "/");
}

Result<std::vector<ResourcePointer>> ResourceStore::of_type(std::string_view full_type,
                                                            const std::string& scope) {
  return table_.labelled(std::string(kTypeLabel) + model::to_lower(full_type), scope + "/");
}

Result<std::vector<ResourcePointer>> ResourceStore::referrers(const std::string& key) {
  return table_.labelled(std::string(kReferenceLabel) + key);
}

Status ResourceStore::write(const ResourceChange& change) {
  std::vector<store::Condition> conditions = change.conditions;
  std::vector<store::Operation> writes = change.writes;
  for (const ResourceRecord& record : change.puts) {
    const std::string key = std::string(kPrefix) + record.key();
    conditions.push_back({key, record.revision});
    writes.emplace_back(store::Put{key, text_of(record), {}});
    if (record.revision != 0 || record.id.group.empty()) continue;
    BOOTSEAL_TRY(store::Condition group, group_is_there(store_, record.id));
    const bool known = std::ranges::any_of(
        conditions, [&](const store::Condition& condition) { return condition.key == group.key; });
    if (!known) conditions.push_back(std::move(group));
  }
  for (const ResourceRecord& record : change.removals) {
    const std::string key = std::string(kPrefix) + record.key();
    conditions.push_back({key, record.revision});
    writes.emplace_back(store::Delete{key});
  }
  for (const model::Operation& operation : change.operations) writes.push_back(operation_write(operation));
  BOOTSEAL_TRY_STATUS(store_.transact(conditions, writes));
  return {};
}

}  // namespace bootseal::api
