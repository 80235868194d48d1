#include "text.h"

#include "bootseal/base/bytes.h"

namespace bootseal::log {

std::string clean_text(std::string_view text, std::size_t maximum) {
  const bool cut = text.size() > maximum;
  text = text.substr(0, maximum);
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = utf8_character_size(text);
    // A character that the cut went through is left out, not repaired.
    if (size == 0 && cut && text.size() < 4) break;
    clean += size == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  if (cut) clean += "\xe2\x80\xa6";
  return clean;
}

}  // namespace bootseal::log
