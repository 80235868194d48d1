// Both channels of the TPM from a hostile QEMU, into a real TPM. The first byte of each chunk says where it
// goes and how long it is. Two targets: a TPM 2.0, and a TPM 1.2.
#include "bootseal/base/result.h"
#include "control_host.h"
#include "support.h"
#include "tpm_data.h"

namespace {

using namespace bootseal;
using namespace bootseal::guest;

#ifdef BOOTSEAL_FUZZED_TPM12
constexpr TpmVersion kVersion = TpmVersion::v1_2;
#else
constexpr TpmVersion kVersion = TpmVersion::v2_0;
#endif

struct Machine {
  StateKeeper keeper{test::open_memory_state(std::make_shared<test::MemoryStore>())};
  TpmEngine engine{keeper, TpmEngine::WhenMissing::manufacture, [](const std::string&) {}, kVersion};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Machine machine;
  machine.engine.power_off();
  test::ControlHost host(machine.engine);
  TpmControlSession control(machine.engine, host);
  TpmDataSession commands(machine.engine);
  const TpmDataSession::Time now{};
  ByteSpan rest(reinterpret_cast<const std::byte*>(data), size);
  while (!rest.empty()) {
    const auto head = static_cast<std::size_t>(rest.front());
    const ByteSpan chunk = rest.subspan(1).first(std::min(head >> 1, rest.size() - 1));
    rest = rest.subspan(1 + chunk.size());
    Bytes output;
    if ((head & 1) == 0) {
      control.receive(chunk, UniqueFd(), output);
    } else {
      commands.receive(chunk, output);
      commands.give_up_if_late(now, output);
      commands.give_up_if_late(now + TpmDataSession::kCommandLimit, output);
      // Every answer is a whole response.
      for (ByteReader reader(output); !reader.at_end();) {
        BOOTSEAL_CHECK(reader.remaining() >= 10);
        BOOTSEAL_CHECK(reader.skip(load_be32(reader.rest(), 2), "a response").has_value());
      }
    }
  }
  return 0;
}
