// The recipes that images are built from, as they are installed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bootseal/base/paths.h"

namespace bootseal::app {

// images/build-image. not_found naming where it was looked for.
Result<std::filesystem::path> find_builder(const Paths& paths);
// Sorted. `builder` as of find_builder().
std::vector<std::string> recipe_names(const std::filesystem::path& builder);
// not_found, listing what there is.
Status check_recipe(const std::filesystem::path& builder, const std::string& name);
// The version that the builder gives an image when it is told none.
Result<std::string> first_version(const std::filesystem::path& builder);

}  // namespace bootseal::app
