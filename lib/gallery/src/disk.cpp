#include "bootseal/gallery/disk.h"

#include <fmt/format.h>

namespace bootseal::gallery {
namespace {

// QEMU docs/interop/qcow2.txt, big endian.
constexpr std::size_t kMinimumHeader = 72;
constexpr std::size_t kVersion = 4, kBackingOffset = 8, kVirtualSize = 24, kEncryption = 32,
                      kIncompatibleFeatures = 72;
constexpr std::uint64_t kDirty = 1, kExternalData = 4;

}  // namespace

Result<std::uint64_t> check_qcow2(ByteSpan file) {
  if (file.size() < kMinimumHeader || as_text(file.first(4)) != std::string_view("QFI\xfb", 4)) {
    return fail(ErrorCode::invalid_argument,
                "the disk is no qcow2 image; convert it with qemu-img convert -O qcow2");
  }
  const std::uint32_t version = load_be32(file, kVersion);
  if (version != 2 && version != 3)
    return fail(ErrorCode::unsupported, fmt::format("the disk is a qcow2 image of version {}", version));
  if (load_be64(file, kBackingOffset) != 0) {
    return fail(ErrorCode::invalid_argument,
                "the disk has a backing file, which could be any file of the host; convert it with qemu-img "
                "convert -O qcow2");
  }
  if (load_be32(file, kEncryption) != 0)
    return fail(ErrorCode::unsupported, "the disk is an encrypted qcow2 image");
  if (version == 3) {
    if (file.size() < kIncompatibleFeatures + 8)
      return fail(ErrorCode::corrupt, "the header of the qcow2 image is cut off");
    const std::uint64_t features = load_be64(file, kIncompatibleFeatures);
    if ((features & kExternalData) != 0) {
      return fail(ErrorCode::invalid_argument,
                  "the disk keeps its data in another file; convert it with qemu-img convert -O qcow2");
    }
    if ((features & kDirty) != 0)
      return fail(ErrorCode::invalid_argument,
                  "the disk was not closed properly; repair it with qemu-img check -r all");
  }
  const std::uint64_t size = load_be64(file, kVirtualSize);
  if (size == 0) return fail(ErrorCode::invalid_argument, "the disk has no size");
  return size;
}

}  // namespace bootseal::gallery
