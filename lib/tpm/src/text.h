// Text out of bytes that a guest chose: always printable, always UTF-8.
#pragma once

#include <string>

#include "bootseal/base/bytes.h"

namespace bootseal::tpm {

// Printable UTF-8 stays; every other byte becomes \xNN.
std::string escaped_text(ByteSpan bytes);
// Appends one code point as UTF-8; control characters and surrogates become \uNNNN.
void append_code_point(std::string& text, std::uint32_t code_point);

}  // namespace bootseal::tpm
