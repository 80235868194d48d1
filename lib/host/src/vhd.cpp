#include "bootseal/host/vhd.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::host {
namespace {

constexpr std::string_view kCookie = "conectix";
constexpr std::uint32_t kFixed = 2, kFeatures = 2, kVersion = 0x00010000;
constexpr std::uint64_t kNoHeader = ~std::uint64_t{0};
constexpr std::int64_t kEpochOfVhd = 946684800;  // 2000-01-01T00:00:00Z
constexpr std::size_t kDataOffsetAt = 16, kTimeAt = 24, kCreatorAt = 28, kSystemAt = 36, kOriginalSizeAt = 40,
                      kSizeAt = 48, kGeometryAt = 56, kTypeAt = 60, kChecksumAt = 64, kIdAt = 68;

std::uint32_t checksum_of(ByteSpan footer) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < footer.size(); ++i) {
    if (i < kChecksumAt || i >= kChecksumAt + 4) sum += std::to_integer<std::uint32_t>(footer[i]);
  }
  return ~sum;
}

// Cylinders, heads and sectors as the specification's appendix has them.
std::uint32_t geometry_of(std::uint64_t size) {
  const std::uint64_t sectors = std::min<std::uint64_t>(size / 512, std::uint64_t{65535} * 16 * 255);
  std::uint64_t per_track = 17, heads = 0, cylinders_times_heads = 0;
  if (sectors >= std::uint64_t{65535} * 16 * 63) {
    per_track = 255;
    heads = 16;
    cylinders_times_heads = sectors / per_track;
  } else {
    cylinders_times_heads = sectors / per_track;
    heads = std::max<std::uint64_t>((cylinders_times_heads + 1023) / 1024, 4);
    if (cylinders_times_heads >= heads * 1024 || heads > 16) {
      per_track = 31;
      heads = 16;
      cylinders_times_heads = sectors / per_track;
    }
    if (cylinders_times_heads >= heads * 1024) {
      per_track = 63;
      heads = 16;
      cylinders_times_heads = sectors / per_track;
    }
  }
  return static_cast<std::uint32_t>(cylinders_times_heads / heads << 16 | heads << 8 | per_track);
}

}  // namespace

Bytes make_vhd_footer(std::uint64_t size, const Guid& id, TimePoint time) {
  Bytes footer(kVhdFooterBytes);
  const MutableByteSpan view(footer);
  std::ranges::copy(as_bytes(kCookie), footer.begin());
  store_be32(view, 8, kFeatures);
  store_be32(view, 12, kVersion);
  store_be64(view, kDataOffsetAt, kNoHeader);
  const std::int64_t seconds =
      std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count() - kEpochOfVhd;
  store_be32(view, kTimeAt, static_cast<std::uint32_t>(std::max<std::int64_t>(seconds, 0)));
  // What readers know as "the size counts, not the geometry" (qemu/block/vpc.c: "win ").
  std::ranges::copy(as_bytes("win "), footer.begin() + kCreatorAt);
  store_be32(view, kCreatorAt + 4, 0x000a0000);
  std::ranges::copy(as_bytes("Wi2k"), footer.begin() + kSystemAt);
  store_be64(view, kOriginalSizeAt, size);
  store_be64(view, kSizeAt, size);
  store_be32(view, kGeometryAt, geometry_of(size));
  store_be32(view, kTypeAt, kFixed);
  std::ranges::copy(id.bytes, footer.begin() + kIdAt);
  store_be32(view, kChecksumAt, checksum_of(footer));
  return footer;
}

Status check_vhd_footer(ByteSpan footer, std::uint64_t size) {
  const auto wrong = [](std::string what) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the last 512 bytes are not the footer of a fixed VHD: {}. Make one with: qemu-img "
                    "convert -O vpc -o subformat=fixed,force_size=on",
                    what));
  };
  if (footer.size() != kVhdFooterBytes) return wrong(fmt::format("there are {} bytes", footer.size()));
  if (as_text(footer.first(kCookie.size())) != kCookie) return wrong("they do not begin with 'conectix'");
  if (load_be32(footer, kChecksumAt) != checksum_of(footer)) return wrong("the checksum does not fit");
  if (const std::uint32_t type = load_be32(footer, kTypeAt); type != kFixed)
    return wrong(fmt::format("the disk type is {}, that of fixed disks is {}", type, kFixed));
  if (const std::uint64_t said = load_be64(footer, kSizeAt); said != size)
    return wrong(fmt::format("it speaks of {} bytes, the disk has {}", said, size));
  return {};
}

}  // namespace bootseal::host
