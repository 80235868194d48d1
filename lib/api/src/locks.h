// Locks: Microsoft.Authorization/locks, CanNotDelete and ReadOnly, at a subscription, a group or a resource,
// and for everything below it.
#pragma once

#include <string>
#include <string_view>

#include "bootseal/model/arm_error.h"

namespace bootseal::api {

struct Service;

// 409 ScopeLocked when a lock at or above `scope` forbids it: CanNotDelete a deletion, ReadOnly everything
// but reading. A deletion is also forbidden by a lock below the scope. Locks themselves are never locked.
model::ArmStatus check_locks(Service& service, std::string_view method, std::string_view action,
                             std::string_view scope);

}  // namespace bootseal::api
