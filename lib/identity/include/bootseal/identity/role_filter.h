// The `$filter` of role assignments and role definitions: terms joined by `and`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::identity {

struct FilterTerm {
  std::string name;   // "principalId", "atScope"; as it was written
  std::string value;  // of `name eq 'value'` and `name('value')`
  bool function = false;
};

// "atScope() and principalId eq 'ID'". Values stand in single quotes (two of them for one inside) or bare.
// invalid_argument for anything else, past 2048 bytes and past 8 terms.
Result<std::vector<FilterTerm>> parse_role_filter(std::string_view text);

}  // namespace bootseal::identity
