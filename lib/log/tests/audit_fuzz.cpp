// An audit file that somebody else wrote: verify() ends, and what it accepts can be opened and gone on with.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bootseal/base/fds.h"
#include "bootseal/log/audit.h"

namespace {

// Not a hash that protects: the fuzzer may find collisions, and gets to the checks behind it sooner.
std::string weak_hash(bootseal::ByteSpan data) {
  return fmt::format("{:064x}", bootseal::crc32(data) & 0xffU);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  static const int memory = ::memfd_create("audit", 0);
  static const std::string path = fmt::format("/proc/self/fd/{}", memory);
  BOOTSEAL_CHECK(memory >= 0 && ::ftruncate(memory, 0) == 0);
  BOOTSEAL_CHECK(write_all_at(memory, std::as_bytes(std::span(data, size)), 0).has_value());
  const auto head = log::AuditChain::verify(path, &weak_hash);
  if (!head) return 0;
  BOOTSEAL_CHECK(log::AuditChain::verify(path, &weak_hash, *head) == *head);
  return 0;
}
