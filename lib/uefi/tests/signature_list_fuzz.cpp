// A signature database from a guest's variables or event log: parses or fails, and what parses survives a
// round trip.
#include "bootseal/uefi/signature_list.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const ByteSpan input{reinterpret_cast<const std::byte*>(data), size};
  BOOTSEAL_CHECK(uefi::authentication_header_size(input) <= size);
  const auto database = uefi::parse_signature_database(input);
  if (!database) return 0;
  const auto again = uefi::parse_signature_database(uefi::serialize_signature_database(*database));
  BOOTSEAL_CHECK(again && *again == *database);
  return 0;
}
