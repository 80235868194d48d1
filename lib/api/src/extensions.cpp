#include "extensions.h"

#include <array>

namespace bootseal::api {
namespace {

constexpr std::array<std::string_view, 1> kVersions = {"1.0.0.0"};
constexpr std::array kImages = {
    ExtensionImage{"Microsoft.Azure.Security.LinuxAttestation", "GuestAttestation", "Linux", kVersions},
    ExtensionImage{"Microsoft.Azure.Security.WindowsAttestation", "GuestAttestation", "Windows", kVersions},
};

}  // namespace

std::span<const ExtensionImage> extension_images() {
  return kImages;
}

const ExtensionImage* find_extension_image(std::string_view publisher, std::string_view type) {
  for (const ExtensionImage& image : kImages) {
    if (model::equal_ignoring_case(image.publisher, publisher) &&
        model::equal_ignoring_case(image.type, type))
      return &image;
  }
  return nullptr;
}

}  // namespace bootseal::api
