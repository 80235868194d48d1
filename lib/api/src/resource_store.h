// The records of all resource types that are stored in the common way (resource_provider.h), over the store,
// read from memory.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/model/operation.h"
#include "bootseal/model/resource_type.h"
#include "memory_table.h"

namespace bootseal::api {

struct ResourceRecord {
  model::ResourceId id;  // as it was first written
  std::string location;  // empty for a type without one
  json::Object tags;
  json::Object body;          // "properties" and the type's other members, conformed to its schema
  json::Object state;         // what the provider keeps beside it; clients never send it
  std::uint64_t version = 1;  // counts the changes; the ETag
  TimePoint created_time;
  TimePoint changed_time;
  std::string provisioning_state = "Succeeded";
  bool deleting = false;
  std::string operation_id;      // the one that is going on; empty = none
  store::Revision revision = 0;  // 0 = not stored yet

  [[nodiscard]] std::string key() const { return id.key(); }
  [[nodiscard]] std::string etag() const;
  // body["properties"]; empty when there is none.
  [[nodiscard]] const json::Object& properties() const;
  [[nodiscard]] json::Object& properties();
};
using ResourcePointer = std::shared_ptr<const ResourceRecord>;

// What is written in one transaction.
struct ResourceChange {
  std::vector<ResourceRecord>
      puts;  // as read, and changed: conflict when somebody else changed one meanwhile
  std::vector<ResourceRecord> removals;
  std::vector<model::Operation> operations;
  std::vector<store::Condition> conditions;
  std::vector<store::Operation> writes;
};

class ResourceStore {
 public:
  explicit ResourceStore(store::Store& store);

  // Held from the reading of what a change depends on (references, addresses that are free) to its writing:
  // then nothing a rule was checked against changes between. Never held while something slow is waited for.
  [[nodiscard]] std::unique_lock<std::mutex> exclusive() { return std::unique_lock(exclusive_); }

  // `key` = ResourceId::key(). nullptr when there is none.
  Result<ResourcePointer> get(const std::string& key) { return table_.get(key); }
  // All resources whose id is below `scope` (an id in lower case, empty = all).
  Result<std::vector<ResourcePointer>> below(const std::string& scope);
  // Those of one type, "Microsoft.Network/networkInterfaces" in any case, below `scope` (in lower case).
  Result<std::vector<ResourcePointer>> of_type(std::string_view full_type, const std::string& scope = {});
  // Those whose body or state names the id `key` (in lower case), anywhere in a member called "id".
  Result<std::vector<ResourcePointer>> referrers(const std::string& key);
  // The group of a new record must exist and not be deleted meanwhile (conflict). Everything or nothing.
  Status write(const ResourceChange& change);

 private:
  store::Store& store_;
  MemoryTable<ResourceRecord> table_;
  std::mutex exclusive_;
};

// The ids (in lower case) that members called "id" hold, at any depth.
std::vector<std::string> referenced_ids(const json::Value& value);

}  // namespace bootseal::api
