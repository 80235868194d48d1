// Files that the tests of lib/uefi read.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "bootseal/base/fds.h"

namespace bootseal::uefi {

inline constexpr const char* kSignedShim = "/usr/lib/shim/shimx64.efi.signed";
inline constexpr const char* kSignedGrub = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";

inline std::filesystem::path test_data(std::string_view name) {
  return std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/uefi/tests/data" / name;
}

inline Bytes read_or_fail(const std::filesystem::path& path) {
  Result<Bytes> content = read_file(path, std::size_t{64} << 20);
  if (!content) ADD_FAILURE() << content.error().describe();
  return content ? *std::move(content) : Bytes{};
}

}  // namespace bootseal::uefi
