// What a guest may send: never a crash, and what passes has the interface's own addresses.
#include <cstdlib>

#include "bootseal/netd/frame.h"
#include "interface_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::netd;
  static const Interface interface = test::test_interface();
  FrameSplitter splitter;
  static_cast<void>(splitter.feed(std::as_bytes(std::span(data, size)), [](ByteSpan frame) {
    const auto packet = parse_packet(frame);
    if (packet && packet->payload.size() > frame.size()) std::abort();
    if (judge(interface, frame, [](Ipv4Address) { return false; }) == Verdict::drop) return;
    if (packet && packet->source != interface.address && packet->source.value != 0) std::abort();
    if (packet && packet->destination.value >> 24 == 127) std::abort();
  }));
  return 0;
}
