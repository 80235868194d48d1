// What the shell's completion asks for.
#include <fmt/format.h>

#include <algorithm>

#include "image_recipes.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

Result<std::vector<std::string>> names_of(const std::string& kind) {
  if (kind == "recipe") {
    BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
    BOOTSEAL_TRY(const auto builder, find_builder(paths));
    return recipe_names(builder);
  }
  BOOTSEAL_TRY(const auto site, open_site());
  const std::string path = kind == "size"    ? "/providers/Microsoft.Compute/locations/local/vmSizes"
                           : kind == "vm"    ? "/providers/Microsoft.Compute/virtualMachines"
                           : kind == "image" ? "/providers/Bootseal.Gallery/images"
                                             : "/resourceGroups";
  BOOTSEAL_TRY(const auto answer, site->call("GET", site->subscription_path() + path));
  std::vector<std::string> names;
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array()) return names;
  for (const json::Value& item : list->get_array()) names.push_back(cli::text_at(item, {"name"}));
  // An image is listed once for each version.
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace

Status complete_names(const std::string& kind) {
  const auto names = names_of(kind);
  if (!names) return {};  // no names is all that a completion can say
  for (const std::string& name : *names) fmt::print("{}\n", cli::printable(name));
  return {};
}

}  // namespace bootseal::app
