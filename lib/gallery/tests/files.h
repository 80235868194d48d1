// Files that the tests of lib/gallery read and make.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "bootseal/base/fds.h"
#include "bootseal/json/json.h"

namespace bootseal::gallery {

inline std::string sample_manifest() {
  const auto text =
      read_file(std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/gallery/tests/data/manifest.json", 65536);
  return text ? std::string(as_text(*text)) : std::string();
}

// The sample with one member replaced; `path` is a JSON pointer. An absent `value` removes the member.
inline std::string manifest_with(std::string_view path, const std::optional<json::Value>& value) {
  json::Value document = *json::parse(sample_manifest());
  const std::size_t slash = path.rfind('/');
  json::Object& parent = document.at_pointer(path.substr(0, slash)).as_object();
  const std::string_view member = path.substr(slash + 1);
  if (value) {
    parent[member] = *value;
  } else {
    parent.erase(member);
  }
  return json::serialize(document);
}

}  // namespace bootseal::gallery
