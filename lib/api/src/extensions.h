// The extensions a VM can have.
#pragma once

#include <span>
#include <string_view>

#include "service.h"

namespace bootseal::api {

struct ExtensionImage {
  std::string_view publisher;
  std::string_view type;
  std::string_view operating_system;
  std::span<const std::string_view> versions;  // oldest first
};

std::span<const ExtensionImage> extension_images();
// Compared without regard to case; nullptr for one that is not offered.
const ExtensionImage* find_extension_image(std::string_view publisher, std::string_view type);

}  // namespace bootseal::api
