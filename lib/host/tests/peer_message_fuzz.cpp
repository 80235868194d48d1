// What QEMU, guestd and the agent may send: never a crash, and what is understood fits its bounds.
#include <cstdlib>

#include "bootseal/host/peer_client.h"
#include "guestd_messages.h"
#include "qemu_machine.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal::host;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  LineSplitter splitter(4096);
  static_cast<void>(splitter.feed(text, [](std::string_view line) {
    if (line.size() > 4096 || line.find('\n') != std::string_view::npos) std::abort();
    for (const Dialect dialect : {Dialect::qmp, Dialect::bootseal}) {
      const auto message = parse_peer_message(dialect, line);
      if (!message) continue;
      if (message->error && message->error->message.size() > 1000) std::abort();
      static_cast<void>(parse_guestd_event(*message));
      static_cast<void>(parse_guestd_status(message->content));
      static_cast<void>(parse_certificates_wanted(message->content));
      if (const auto hello = parse_agent_hello(message->content); hello && hello->os_name.size() > 200)
        std::abort();
    }
    static_cast<void>(parse_ready_line(line));
  }));
  return 0;
}
