// What a resource type does beyond being stored. The common handlers (resource_handlers.cpp) do the rest:
// schema, names, location, tags, ETags, operations, statuses, lists.
//
//   class DiskProvider final : public ResourceProvider { … };
//   providers["microsoft.compute/disks"] = std::make_unique<DiskProvider>();   // add_…_providers()
//
// All calls may come from several threads at once. prepare(), check_deletion() and release() run while
// ResourceStore::exclusive() is held and must not wait for a daemon; step() runs on the reconciler's threads.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "gateway.h"
#include "resource_store.h"

namespace bootseal::api {

// What a PUT or a PATCH is about to store. A child that is embedded in its parent comes as its parent's
// draft.
struct Draft {
  ResourceRecord record;                     // with location, tags and body as they were sent
  const ResourceRecord* existing = nullptr;  // what it takes the place of
  ResourceChange also;                       // written in the same transaction
};

// How far a step of a change that takes time came.
struct Step {
  enum class Next : std::uint8_t { done, wait, retry };  // wait: an event will come; retry: after a while
  Next next = Next::done;
  std::string reason;                     // of wait and retry, in plain words
  std::optional<model::ArmError> error;   // done, and failed
  json::Value output;                     // done: of the operation
  std::optional<json::Object> new_state;  // takes the place of record.state
};

class ResourceProvider {
 public:
  virtual ~ResourceProvider() = default;

  // Fills defaults in and checks what the schema cannot: rules, references. Changes draft.record.body and
  // .state.
  virtual model::ArmStatus prepare(Service& service, const Caller& caller, Draft& draft);
  // Adds to an answer what is computed: read-only members, back references. `answer` holds id, name, type,
  // etag, location, tags and the body; embedded children have been given theirs.
  virtual void complete(Service& service, const ResourceRecord& record, json::Object& answer);
  // What stands against a deletion (409 with Azure's code).
  virtual model::ArmStatus check_deletion(Service& service, const ResourceRecord& record);
  // What else is written when the record goes.
  virtual void release(Service& service, const ResourceRecord& record, ResourceChange& also);
  // Of a type that is `long_running`: brings the operation that is going on a step nearer (a deletion when
  // record.deleting). Repeated until it is done, also after a restart: every step must be idempotent.
  // `operation` is nullptr for a deletion whose operation ran out of time: it goes on without.
  virtual Step step(Service& service, const ResourceRecord& record, const model::Operation* operation,
                    const std::stop_token& stop);
};
// By ResourceType::full_type() in lower case. A type without one is only stored.
using ProviderTable = std::map<std::string, std::unique_ptr<ResourceProvider>>;

void add_network_providers(ProviderTable& table);

// -- for providers and handlers --
// The provider of a record's type; never nullptr.
ResourceProvider& provider_of(const Service& service, const model::ResourceId& id);
// The resource as clients get it.
json::Object resource_answer(Service& service, const ResourceRecord& record);
// The resource a body refers to by id, of this type (404 and 400 InvalidResourceReference).
model::ArmResult<ResourcePointer> find_reference(Service& service, const model::ResourceId& referrer,
                                                 std::string_view id, std::string_view wanted_type);
// 412 when If-Match or If-None-Match do not hold; `etag` is empty for what is not there.
model::ArmStatus check_etag(const net::Request& request, const std::string& what, const std::string& etag);
// Stores the record with an operation of this kind begun, and wakes the reconciler. 409 when another one is
// going on (a deletion takes its place). The operation's id.
model::ArmResult<std::string> begin_resource_operation(Service& service, ResourceRecord record,
                                                       model::OperationKind kind, ResourceChange also = {});
// Deletes a resource as DELETE would, the rules apart that only matter to clients: nullopt when it is gone,
// else the id of the operation that removes it.
model::ArmResult<std::optional<std::string>> remove_resource(Service& service, const ResourceRecord& record);

}  // namespace bootseal::api
