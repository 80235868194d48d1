// The rules for each part of a virtual machine resource. All objects have been conformed to the schema.
#pragma once

#include <string>
#include <string_view>

#include "bootseal/json/json.h"
#include "bootseal/model/arm_error.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::model {

// The member object, or nullptr.
const json::Object* member_object(const json::Object& object, std::string_view name);
// The member's text; empty when it or the object is not there.
std::string member_text(const json::Object* object, std::string_view name);
// The member object, made when it is not there.
json::Object& make_object(json::Object& object, std::string_view name);

ArmStatus check_envelope(const json::Object& body);  // tags
ArmStatus check_location(const json::Object& body);
// The size's name in its canonical case.
ArmResult<std::string> check_size(const std::string& name);
ArmStatus check_storage(const json::Object& properties, bool is_new);
// Fills in which interface is the primary one.
ArmStatus check_network(json::Object& properties);
// Fills in the computer name.
ArmStatus check_os_profile(json::Object& properties, const ResourceId& id);

}  // namespace bootseal::model
