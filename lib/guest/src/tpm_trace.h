// What a log may say of the TPM at work.
#pragma once

#include <string>
#include <string_view>

namespace bootseal::guest {

// A line of libtpms' trace without the bytes in it, which may be secrets: "(N bytes)" stands for each run of
// two or more pairs of hex digits, and for a pair that is the whole line.
std::string without_bytes(std::string_view line);

}  // namespace bootseal::guest
