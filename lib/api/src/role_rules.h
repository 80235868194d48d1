// What everything that gives roles checks.
#pragma once

#include <string>

#include "service.h"

namespace bootseal::api {

void add_role_handlers(HandlerTable& table);

// By id, by an id's last part, or by name, without regard to case. 400 RoleDefinitionDoesNotExist.
model::ArmResult<RolePointer> find_role_by_name(Service& service, const std::string& reference);
// Whether roles can be given at a scope (normalised): the site, the subscription, a group or a resource that
// exists. 404 with the code of what is missing, 400 InvalidScope.
model::ArmStatus check_scope(Service& service, const std::string& scope);

}  // namespace bootseal::api
