#include "installed_images.h"

#include <algorithm>
#include <cstring>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kManifestLimit = std::size_t{4} << 20;

}  // namespace

std::vector<InstalledImage> find_installed(const Paths& paths, const std::string& reference) {
  const std::size_t colon = reference.find(':');
  const std::string name = reference.substr(0, colon);
  const std::string wanted = colon == std::string::npos ? "" : reference.substr(colon + 1);
  std::vector<InstalledImage> images;
  if (!is_valid_resource_name(name)) return images;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(paths.images() / name, error)) {
    InstalledImage image{name, entry.path().filename().string(), entry.path(), {}};
    if (!wanted.empty() && wanted != "latest" && wanted != image.version) continue;
    const auto content = read_file(entry.path() / "manifest.json", kManifestLimit);
    if (!content) continue;
    auto manifest = json::parse(as_text(*content));
    if (!manifest) continue;
    image.manifest = *std::move(manifest);
    images.push_back(std::move(image));
  }
  std::sort(images.begin(), images.end(), [](const InstalledImage& a, const InstalledImage& b) {
    return ::strverscmp(a.version.c_str(), b.version.c_str()) > 0;
  });
  if (wanted == "latest" && images.size() > 1) images.erase(images.begin() + 1, images.end());
  return images;
}

}  // namespace bootseal::app
