#include "image_recipes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kVersionFileSize = 256;

}  // namespace

Result<std::filesystem::path> find_builder(const Paths& paths) {
  // Installed, in out/ of the source tree, in a build folder of the source tree.
  const std::filesystem::path candidates[] = {paths.data / "images/build-image",
                                              paths.programs / "../../images/build-image",
                                              paths.programs / "../../../images/build-image"};
  std::error_code error;
  for (const auto& candidate : candidates) {
    if (std::filesystem::is_regular_file(candidate, error)) return candidate.lexically_normal();
  }
  return fail(
      ErrorCode::not_found,
      fmt::format(
          "the image recipes are not at {}; set BOOTSEAL_SHARE to the folder that holds images/build-image",
          candidates[0].string()));
}

std::vector<std::string> recipe_names(const std::filesystem::path& builder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(builder.parent_path() / "recipes", error)) {
    if (entry.path().extension() == ".sh") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status check_recipe(const std::filesystem::path& builder, const std::string& name) {
  const std::vector<std::string> known = recipe_names(builder);
  if (std::find(known.begin(), known.end(), name) != known.end()) return {};
  return fail(ErrorCode::not_found,
              fmt::format("there is no recipe '{}'; there are: {}", name, fmt::join(known, ", ")));
}

Result<std::string> first_version(const std::filesystem::path& builder) {
  const std::filesystem::path file = builder.parent_path() / "lib/first-version";
  BOOTSEAL_TRY(const Bytes content, read_file(file, kVersionFileSize));
  std::string version(as_text(content));
  while (!version.empty() && version.back() == '\n') version.pop_back();
  if (is_valid_resource_name(version)) return version;
  return fail(ErrorCode::corrupt,
              fmt::format("{} holds no version of an image; install Bootseal again", file.string()));
}

}  // namespace bootseal::app
