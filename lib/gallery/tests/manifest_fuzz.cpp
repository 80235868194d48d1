// A manifest that somebody imported: parses or fails, and what parses survives a round trip. The same bytes
// are tried as a disk.
#include "bootseal/gallery/disk.h"
#include "bootseal/gallery/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  (void)gallery::check_qcow2({reinterpret_cast<const std::byte*>(data), size});
  const auto manifest = gallery::parse_manifest({reinterpret_cast<const char*>(data), size});
  if (!manifest) return 0;
  const auto again = gallery::parse_manifest(gallery::serialize_manifest(*manifest));
  BOOTSEAL_CHECK(again && *again == *manifest);
  return 0;
}
