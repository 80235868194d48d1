// Resource ids as templates make them: from a scope, a type with its segments and as many names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bootseal/model/arm_error.h"

namespace bootseal::templates {

// "a/b/c" → {"a","b","c"}; empty parts stay.
std::vector<std::string> split_path(std::string_view text);
// "Microsoft.Network/virtualNetworks/subnets", {"v","s"} → "Microsoft.Network/virtualNetworks/v/subnets/s".
// The type has one part more than there are names.
std::string interleave(std::string_view type, const std::vector<std::string>& names);
// scope + "/providers/" + interleave(type, names); scope "" or "/" is the tenant.
std::string make_id(std::string_view scope, std::string_view type, const std::vector<std::string>& names);

}  // namespace bootseal::templates
