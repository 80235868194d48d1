#include "deployment_store.h"

#include <fmt/format.h>

#include "bootseal/template/unique.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{512} << 10;
constexpr std::string_view kRecords = "deployments";

std::string text_prefix(DeploymentStore::Text kind, const std::string& run_id) {
  const bool document = kind == DeploymentStore::Text::document;
  return fmt::format("deployment-{}/{}/", document ? "templates" : "parameters", run_id);
}
std::string steps_prefix(const std::string& run_id) {
  return fmt::format("deployment-steps/{}/", run_id);
}
std::string cancel_key(const std::string& run_id) {
  return "deployment-cancels/" + run_id;
}

std::string record_text(const DeploymentRecord& record) {
  json::Object object{{"id", record.id},
                      {"scope", record.scope},
                      {"name", record.name},
                      {"location", record.location},
                      {"tags", record.tags},
                      {"runId", record.run_id},
                      {"state", record.state},
                      {"complete", record.complete},
                      {"principalId", record.caller.principal_id},
                      {"callerName", record.caller.name},
                      {"siteOwner", record.caller.site_owner},
                      {"started", format_time(record.started)},
                      {"correlationId", record.correlation_id},
                      {"templateHash", record.template_hash},
                      {"parameters", record.parameters},
                      {"outputs", record.outputs},
                      {"providers", record.providers},
                      {"dependencies", record.dependencies},
                      {"outputResources", record.output_resources}};
  if (record.ended) object["ended"] = format_time(*record.ended);
  if (record.error) object["error"] = error_to_json(*record.error);
  return json::serialize(object);
}

Result<json::Object> object_of(json::Reader& reader, std::string_view name) {
  BOOTSEAL_TRY(const json::Reader inner, reader.object(name));
  return inner.raw().get_object();
}
Result<json::Array> array_of(json::Reader& reader, std::string_view name) {
  BOOTSEAL_TRY(const json::Value* value, reader.value(name));
  if (!value->is_array()) return reader.problem(name, "wanted an array");
  return value->get_array();
}
Result<TimePoint> time_of(json::Reader& reader, std::string_view name) {
  BOOTSEAL_TRY(const std::string text, reader.string(name));
  return parse_time(text);
}

constexpr json::Limits kStored{.bytes = store::kMaxValueBytes, .depth = 200};

Result<DeploymentRecord> parse_record(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value, kStored));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, entry.key));
  DeploymentRecord record;
  BOOTSEAL_TRY(record.id, reader.string("id"));
  BOOTSEAL_TRY(record.scope, reader.string("scope"));
  BOOTSEAL_TRY(record.name, reader.string("name"));
  BOOTSEAL_TRY(record.location, reader.string("location"));
  BOOTSEAL_TRY(record.tags, object_of(reader, "tags"));
  BOOTSEAL_TRY(record.run_id, reader.string("runId"));
  BOOTSEAL_TRY(record.state, reader.string("state"));
  BOOTSEAL_TRY(record.complete, reader.boolean("complete"));
  BOOTSEAL_TRY(record.caller.principal_id, reader.string("principalId"));
  BOOTSEAL_TRY(record.caller.name, reader.string("callerName"));
  BOOTSEAL_TRY(record.caller.site_owner, reader.boolean("siteOwner"));
  BOOTSEAL_TRY(record.started, time_of(reader, "started"));
  BOOTSEAL_TRY(record.correlation_id, reader.string("correlationId"));
  BOOTSEAL_TRY(record.template_hash, reader.string("templateHash"));
  BOOTSEAL_TRY(record.parameters, object_of(reader, "parameters"));
  BOOTSEAL_TRY(record.outputs, object_of(reader, "outputs"));
  BOOTSEAL_TRY(record.providers, array_of(reader, "providers"));
  BOOTSEAL_TRY(record.dependencies, array_of(reader, "dependencies"));
  BOOTSEAL_TRY(record.output_resources, array_of(reader, "outputResources"));
  if (reader.has("ended")) {
    BOOTSEAL_TRY(record.ended, time_of(reader, "ended"));
  }
  if (const json::Value* error = document.get_object().if_contains("error"))
    record.error = error_from_json(*error);
  record.revision = entry.mod_revision;
  return record;
}

std::string step_text(const DeploymentStep& step) {
  json::Object object{{"resource", step.resource}, {"type", step.type},
                      {"name", step.name},         {"removal", step.removal},
                      {"state", step.state},       {"operation", step.operation},
                      {"status", step.status},     {"begun", format_time(step.begun)}};
  if (step.ended) object["ended"] = format_time(*step.ended);
  if (step.error) object["error"] = error_to_json(*step.error);
  return json::serialize(object);
}

Result<DeploymentStep> parse_step(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value, kStored));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, entry.key));
  DeploymentStep step;
  BOOTSEAL_TRY(step.resource, reader.string("resource"));
  BOOTSEAL_TRY(step.type, reader.string("type"));
  BOOTSEAL_TRY(step.name, reader.string("name"));
  BOOTSEAL_TRY(step.removal, reader.boolean("removal"));
  BOOTSEAL_TRY(step.state, reader.string("state"));
  BOOTSEAL_TRY(step.operation, reader.string("operation"));
  BOOTSEAL_TRY(const std::int64_t status, reader.integer("status"));
  step.status = static_cast<int>(status);
  BOOTSEAL_TRY(step.begun, time_of(reader, "begun"));
  if (reader.has("ended")) {
    BOOTSEAL_TRY(step.ended, time_of(reader, "ended"));
  }
  if (const json::Value* error = document.get_object().if_contains("error"))
    step.error = error_from_json(*error);
  return step;
}

// Of a resource, as part of a key: ids may be longer than a key.
std::string step_key(const std::string& run_id, const DeploymentStep& step) {
  return steps_prefix(run_id) + (step.removal ? "delete-" : "create-") +
         templates::name_guid(model::to_lower(step.resource));
}

std::string text_member(const json::Object& object, std::string_view name) {
  const json::Value* found = object.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::string duration(std::chrono::microseconds time) {
  return fmt::format("PT{:.3f}S",
                     std::chrono::duration<double>(std::max(time, std::chrono::microseconds(0))).count());
}

}  // namespace

json::Object error_to_json(const model::ArmError& error) {
  json::Object object{
      {"status", error.status}, {"code", error.code}, {"message", error.message}, {"target", error.target}};
  json::Array details;
  for (const model::ArmError& detail : error.details) details.push_back(error_to_json(detail));
  object["details"] = std::move(details);
  return object;
}

model::ArmError error_from_json(const json::Value& value) {
  model::ArmError error;
  const json::Object* object = value.if_object();
  if (object == nullptr) return error;
  error.code = text_member(*object, "code");
  error.message = text_member(*object, "message");
  error.target = text_member(*object, "target");
  if (const json::Value* status = object->if_contains("status"); status != nullptr && status->is_int64())
    error.status = static_cast<int>(status->get_int64());
  if (const json::Value* details = object->if_contains("details"); details != nullptr && details->is_array())
    for (const json::Value& detail : details->get_array()) error.details.push_back(error_from_json(detail));
  return error;
}

json::Object DeploymentRecord::answer() const {
  json::Object properties{{"templateHash", template_hash},
                          {"parameters", parameters},
                          {"mode", complete ? "Complete" : "Incremental"},
                          {"provisioningState", state},
                          {"timestamp", format_time(ended.value_or(started))},
                          {"duration", duration(ended.value_or(started) - started)},
                          {"correlationId", correlation_id},
                          {"providers", providers},
                          {"dependencies", dependencies}};
  if (!active()) {
    properties["outputResources"] = output_resources;
    if (state == "Succeeded") properties["outputs"] = outputs;
  }
  if (error) properties["error"] = error->to_json();
  json::Object object{{"id", id}, {"name", name}, {"type", "Microsoft.Resources/deployments"}};
  if (!location.empty()) object["location"] = location;
  if (!tags.empty()) object["tags"] = tags;
  object["properties"] = std::move(properties);
  return object;
}

DeploymentStore::DeploymentStore(store::Store& store)
    : store_(store), table_(store, std::string(kRecords) + "/", parse_record) {}

Result<DeploymentPointer> DeploymentStore::get(const std::string& id) {
  return table_.get(model::to_lower(id).substr(1));
}

Result<std::vector<DeploymentPointer>> DeploymentStore::list(const std::string& scope) {
  if (scope.empty()) return table_.list();
  return table_.list(model::to_lower(scope).substr(1) + "/providers/microsoft.resources/deployments/");
}

Result<store::Revision> DeploymentStore::put(const DeploymentRecord& record) {
  const std::string key = std::string(kRecords) + record.key();
  return store_.transact({{key, record.revision}}, {store::Put{key, record_text(record), {}}});
}

Status DeploymentStore::remove(const DeploymentRecord& record) {
  const std::string key = std::string(kRecords) + record.key();
  BOOTSEAL_TRY_STATUS(store_.transact({{key, record.revision}}, {store::Delete{key}}));
  return forget_run(record.run_id);
}

Status DeploymentStore::forget_run(const std::string& run_id) {
  BOOTSEAL_TRY_STATUS(remove_text(Text::document, run_id));
  BOOTSEAL_TRY_STATUS(remove_text(Text::parameters, run_id));
  BOOTSEAL_TRY_STATUS(store_.remove(cancel_key(run_id)));
  return remove_all(steps_prefix(run_id));
}

Status DeploymentStore::put_text(Text kind, const std::string& run_id, const std::string& text) {
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size() || at == 0; at += kPieceBytes, ++number)
    BOOTSEAL_TRY_STATUS(
        store_.put(fmt::format("{}{:04}", text_prefix(kind, run_id), number), text.substr(at, kPieceBytes)));
  return {};
}

Result<std::string> DeploymentStore::text(Text kind, const std::string& run_id) {
  BOOTSEAL_TRY(const auto pieces, store_.list_all(text_prefix(kind, run_id)));
  std::string text;
  for (const store::Entry& piece : pieces) text += piece.value;
  return text;
}

Status DeploymentStore::remove_text(Text kind, const std::string& run_id) {
  return remove_all(text_prefix(kind, run_id));
}

Status DeploymentStore::remove_all(const std::string& prefix) {
  BOOTSEAL_TRY(const auto entries, store_.list_all(prefix));
  for (const store::Entry& entry : entries) BOOTSEAL_TRY_STATUS(store_.remove(entry.key));
  return {};
}

Status DeploymentStore::put_step(const std::string& run_id, const DeploymentStep& step) {
  BOOTSEAL_TRY_STATUS(store_.put(step_key(run_id, step), step_text(step)));
  return {};
}

Result<std::vector<DeploymentStep>> DeploymentStore::steps(const std::string& run_id) {
  BOOTSEAL_TRY(const auto entries, store_.list_all(steps_prefix(run_id)));
  std::vector<DeploymentStep> steps;
  for (const store::Entry& entry : entries) {
    BOOTSEAL_TRY(DeploymentStep step, parse_step(entry));
    steps.push_back(std::move(step));
  }
  return steps;
}

Status DeploymentStore::ask_to_cancel(const std::string& run_id) {
  BOOTSEAL_TRY_STATUS(store_.put(cancel_key(run_id), "1"));
  return {};
}

Result<bool> DeploymentStore::is_to_be_cancelled(const std::string& run_id) {
  BOOTSEAL_TRY(const auto entry, store_.get(cancel_key(run_id)));
  return entry.has_value();
}

}  // namespace bootseal::api
