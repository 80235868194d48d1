// Storing what the common handlers have made of a request.
#pragma once

#include "resource_provider.h"
#include "service.h"

namespace bootseal::api {

// Retries a change that was checked against something which somebody else changed meanwhile.
inline constexpr int kWriteAttempts = 5;

// 404 ResourceGroupNotFound or 409 ResourceGroupBeingDeleted for the group of an id; 404
// SubscriptionNotFound.
model::ArmStatus check_place(Service& service, const model::ResourceId& id, bool to_be_made);
model::ArmError resource_not_found(const model::ResourceId& id);
// Prepares the draft and stores it, with an operation where the type has them. Call it while exclusive() is
// held.
model::ArmResult<ResourceRecord> store_draft(Service& service, const Caller& caller, Draft draft);
// Deletes everything of a group that has no VMs any more, what others use after its users. How many resources
// are still being deleted; what stands against one that cannot be.
model::ArmResult<std::size_t> remove_rest_of_group(Service& service, const GroupRecord& group);
// Of the reconciler: one step of a resource of the common kind.
Outcome step_resource(Service& service, const std::string& key, const std::string& last_reason,
                      const std::stop_token& stop);

}  // namespace bootseal::api
