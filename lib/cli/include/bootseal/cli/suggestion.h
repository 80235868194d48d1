// What somebody meant who mistyped a word.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bootseal::cli {

// The candidate that is nearest to `word` when upper case, two wrong letters in a long word or one in a short
// one are forgiven (a letter left out, put in, changed, or two neighbours swapped).
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace bootseal::cli
