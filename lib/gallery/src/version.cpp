#include <algorithm>
#include <string_view>

#include "bootseal/gallery/image.h"

namespace bootseal::gallery {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Takes the run of digits (or of other characters) off the front.
std::string_view take_run(std::string_view& text, bool digits) {
  std::size_t size = 0;
  while (size < text.size() && is_digit(text[size]) == digits) ++size;
  const std::string_view run = text.substr(0, size);
  text.remove_prefix(size);
  return run;
}

std::strong_ordering compare_numbers(std::string_view a, std::string_view b) {
  a.remove_prefix(std::min(a.find_first_not_of('0'), a.size()));
  b.remove_prefix(std::min(b.find_first_not_of('0'), b.size()));
  if (a.size() != b.size()) return a.size() <=> b.size();
  return a <=> b;
}

}  // namespace

std::strong_ordering compare_versions(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    const std::strong_ordering texts = take_run(a, false) <=> take_run(b, false);
    if (texts != std::strong_ordering::equal) return texts;
    const std::strong_ordering numbers = compare_numbers(take_run(a, true), take_run(b, true));
    if (numbers != std::strong_ordering::equal) return numbers;
  }
  return a.size() <=> b.size();
}

}  // namespace bootseal::gallery
