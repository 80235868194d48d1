// The control plane's records, typed, over the store. Every change is one transaction.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/ids.h"
#include "bootseal/model/operation.h"
#include "bootseal/model/resource_id.h"
#include "bootseal/model/virtual_machine.h"
#include "bootseal/store/store.h"
#include "memory_table.h"

namespace bootseal::api {

struct Site {
  std::string tenant;
  std::string subscription;
};

struct GroupRecord {
  std::string subscription;
  std::string name;
  std::string location;
  json::Object tags;
  bool deleting = false;
  std::string operation_id;
  store::Revision revision = 0;  // 0 = not stored yet
};

struct PowerIntent {
  std::string request_id;
  std::string action = "none";  // of the Assignment
};

struct VmRecord {
  model::ResourceId id;
  VmId vm_id;
  json::Object desired;
  TimePoint time_created;
  TimePoint time_changed;  // by a client
  std::string image_name;  // as resolved at creation
  std::string image_version;
  std::string os_name;        // what its manifest calls the system, until the guest says it itself
  std::uint64_t version = 1;  // counts the changes that clients made; the ETag
  std::string provisioning_state = "Creating";
  bool created = false;  // the host has made it once: it is never made again
  bool deallocated = false;
  bool deleting = false;
  // attestd and the host have not been told of the last change of what the VM should be.
  bool expectation_due = false;
  std::optional<TimePoint> expectation_changed;  // when that was; a verdict on older evidence is about
                                                 // something else
  PowerIntent power;
  std::string operation_id;  // the one that is going on; empty = none
  store::Revision revision = 0;

  [[nodiscard]] std::string etag() const;
};

struct Placement {
  std::string host_id;
  Epoch epoch;
};

class Database {
 public:
  explicit Database(store::Store& store);

  // Made at the first call.
  Result<Site> site();

  Result<std::optional<GroupRecord>> group(const std::string& subscription, const std::string& name);
  Result<std::vector<GroupRecord>> groups();
  // Conflict when the record changed since it was read.
  Status put_group(const GroupRecord& record);
  // The group and its operation in one transaction.
  Status put_group(const GroupRecord& record, const model::Operation& operation);
  Status remove_group(const GroupRecord& record, const model::Operation& operation);

  Result<std::optional<VmRecord>> vm(const std::string& key);  // ResourceId::key()
  Result<std::optional<std::string>> vm_key(const VmId& id);
  // `group_key` = ResourceId::key() of a group; empty = all.
  Result<std::vector<VmRecord>> vms(const std::string& group_key = {});
  // The same without copies.
  Result<std::vector<std::shared_ptr<const VmRecord>>> vm_list(const std::string& group_key = {});
  // The VMs whose resource names the id `key` (in lower case), in a member called "id".
  Result<std::vector<std::shared_ptr<const VmRecord>>> vms_referring_to(const std::string& key);
  // The record and the operations, all or nothing; conflict when the record changed since it was read, or was
  // made by somebody else, or the group of a new VM is gone or being deleted.
  Status put_vm(const VmRecord& record, const std::vector<model::Operation>& operations = {});
  Status remove_vm(const VmRecord& record, const std::vector<model::Operation>& operations);

  Result<std::optional<model::Operation>> operation(const std::string& id);
  Status put_operation(const model::Operation& operation);
  // Forgets operations that ended before `before`, at most a few hundred at a time.
  Status forget_operations(TimePoint before);

  // The placement; when there is none yet, compare-and-swap to {host_id, epoch 1}.
  Result<std::optional<Placement>> placement(const VmId& id);
  Result<Placement> place(const VmId& id, const std::string& host_id);

  // Bearer tokens by the SHA-256 of their text.
  Status put_token(const std::string& sha256_hex, const std::string& name, TimePoint created);
  // The name of the token's owner; nullopt when it is not known.
  Result<std::optional<std::string>> token_owner(const std::string& sha256_hex);

  [[nodiscard]] store::Store& store() { return store_; }

 private:
  store::Store& store_;
  MemoryTable<GroupRecord> groups_;
  MemoryTable<VmRecord> vms_;
};

// For transactions that are put together elsewhere. The condition that the group of a resource is there and
// is not being deleted; conflict when it does not hold now.
Result<store::Condition> group_is_there(store::Store& store, const model::ResourceId& id);
store::Operation operation_write(const model::Operation& operation);

}  // namespace bootseal::api
