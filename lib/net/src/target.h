// The request target (RFC 9112 section 3.2) as path and query.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::net {

struct Target {
  std::string path;                               // decoded, "//" folded, no trailing "/", never empty
  std::multimap<std::string, std::string> query;  // decoded ("+" is a blank)
};

// Accepts the origin form ("/a?b=c") and the absolute form ("http://host/a?b=c"). invalid_argument for a
// broken escape, for what is not UTF-8 or a control character after decoding, and for "." and ".." segments:
// nobody sends them who means well.
Result<Target> parse_target(std::string_view target);

// The segments of such a path; none for "/".
std::vector<std::string_view> split_path(std::string_view path);

// ASCII only.
bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace bootseal::net
