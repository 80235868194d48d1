#include "resource_ids.h"

namespace bootseal::templates {

std::vector<std::string> split_path(std::string_view text) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (true) {
    const std::size_t end = text.find('/', at);
    parts.emplace_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    if (end == std::string_view::npos) return parts;
    at = end + 1;
  }
}

std::string interleave(std::string_view type, const std::vector<std::string>& names) {
  const std::vector<std::string> types = split_path(type);
  std::string result = types.front();
  for (std::size_t i = 0; i < names.size() && i + 1 < types.size(); ++i)
    result += "/" + types[i + 1] + "/" + names[i];
  return result;
}

std::string make_id(std::string_view scope, std::string_view type, const std::vector<std::string>& names) {
  while (scope.ends_with('/')) scope.remove_suffix(1);
  return std::string(scope) + "/providers/" + interleave(type, names);
}

}  // namespace bootseal::templates
