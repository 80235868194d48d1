// An NBD client that is hostile: nothing outside the flash is touched, and an input gives the same answers
// whole and in pieces.
#include "bootseal/base/result.h"
#include "nbd_session.h"
#include "support.h"

namespace {

using namespace bootseal;
using namespace bootseal::guest;

Bytes answers(ByteSpan input, std::size_t piece) {
  auto store = std::make_shared<test::MemoryStore>();
  store->blobs[Blob::uefi_flash] = Bytes(kVariableFlashSize, std::byte{0xFF});
  StateKeeper keeper(test::open_memory_state(store));
  VariableFlash flash = VariableFlash::load(keeper).value();
  NbdSession session(flash);
  Bytes output;
  while (!input.empty() && session.open() && output.size() <= NbdSession::kOutputLimit) {
    const std::size_t size = std::min(piece, input.size());
    session.receive(input.first(size), {}, output);
    input = input.subspan(size);
  }
  BOOTSEAL_CHECK(flash.flush().has_value());
  BOOTSEAL_CHECK(store->blobs[Blob::uefi_flash].size() == kVariableFlashSize);
  return output;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan input(reinterpret_cast<const std::byte*>(data), size);
  const Bytes whole = answers(input, size + 1);
  if (whole.size() <= NbdSession::kOutputLimit) BOOTSEAL_CHECK(answers(input, 7) == whole);
  return 0;
}
