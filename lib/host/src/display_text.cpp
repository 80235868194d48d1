#include "display_text.h"

namespace bootseal::host {

std::string display_text(std::string_view text, std::size_t maximum) {
  if (text.size() > maximum) {
    // Not in the middle of a character: bytes 10xxxxxx continue one.
    while (maximum > 0 && (static_cast<unsigned char>(text[maximum]) & 0xC0) == 0x80) --maximum;
    text = text.substr(0, maximum);
  }
  std::string safe(text);
  for (std::size_t i = 0; i < safe.size(); ++i) {
    const auto letter = static_cast<unsigned char>(safe[i]);
    if (letter < 0x20 || letter == 0x7F) safe[i] = ' ';
    // C1 controls (U+0080 to U+009F) are C2 80 to C2 9F in UTF-8.
    if (letter == 0xC2 && i + 1 < safe.size() && static_cast<unsigned char>(safe[i + 1]) < 0xA0)
      safe[i] = safe[i + 1] = ' ';
  }
  return safe;
}

}  // namespace bootseal::host
