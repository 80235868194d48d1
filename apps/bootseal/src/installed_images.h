// The images in HOME/images, as their manifests say (docs/architecture.md, Images).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bootseal/base/paths.h"
#include "bootseal/json/json.h"

namespace bootseal::app {

struct InstalledImage {
  std::string name;
  std::string version;
  std::filesystem::path folder;
  json::Value manifest;
};

// The images that "NAME" or "NAME:VERSION" means, newest version first; "latest" is the newest one. Empty
// when there is none. Folders without a manifest that can be read are left out.
std::vector<InstalledImage> find_installed(const Paths& paths, const std::string& reference);

}  // namespace bootseal::app
