// Text from anywhere as JSON strings.
#pragma once

#include <string>
#include <string_view>

namespace bootseal::log {

// The first `maximum` bytes of the text, every byte that is not part of well-formed UTF-8 replaced by U+FFFD.
std::string clean_text(std::string_view text, std::size_t maximum);

}  // namespace bootseal::log
