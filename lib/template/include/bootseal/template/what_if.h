// What a deployment would change: the difference between what is stored and what a template wants.
#pragma once

#include <string_view>

#include "bootseal/json/json.h"

namespace bootseal::templates {

// The delta of one resource:
// [{"path","propertyChangeType":"Create"|"Delete"|"Modify"|"Array","before","after", "children"}], empty when
// nothing would change. Members that the template does not name keep what they have (defaults, computed
// members), except in "tags", which are replaced as a whole; null stands for not named. Ids and locations are
// compared without regard to case; elements of an array at the same index belong together.
json::Array property_changes(const json::Object& before, const json::Object& after);

}  // namespace bootseal::templates
