#include "tpm_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace bootseal::guest {
namespace {

bool is_byte(std::string_view word) {
  return word.size() == 2 &&
         std::ranges::all_of(word, [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; });
}

}  // namespace

std::string without_bytes(std::string_view line) {
  const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
  std::vector<std::string_view> words;
  for (std::size_t at = indent; at < line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    if (end > at) words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  std::string result(line.substr(0, indent));
  for (std::size_t i = 0; i < words.size();) {
    const auto other = std::find_if_not(words.begin() + static_cast<std::ptrdiff_t>(i), words.end(), is_byte);
    const auto bytes = static_cast<std::size_t>(other - words.begin()) - i;
    if (i > 0) result += ' ';
    const bool hidden = bytes > 1 || bytes == words.size();
    result += hidden && bytes > 0 ? fmt::format("({} bytes)", bytes) : std::string(words[i]);
    i += hidden ? std::max<std::size_t>(bytes, 1) : 1;
  }
  return result;
}

}  // namespace bootseal::guest
