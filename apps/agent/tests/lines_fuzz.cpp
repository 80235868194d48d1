// Bytes from the host: every line is answered with one line of JSON, whatever it is. There is no TPM here, so
// that a well-formed attest ends in an error too, and a configuration that cannot be read, so that no script
// runs.
#include "agent.h"
#include "bootseal/json/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  static agent::Agent agent(
      {.tpm = "/nonexistent/tpm", .event_log = "/nonexistent/log", .version = "fuzz", .configuration = "/"});
  agent::LineBuffer lines(256);
  ByteSpan rest = std::as_bytes(std::span(data, size));
  while (!rest.empty()) {
    // The first byte of a piece is its length.
    const std::size_t length = std::min<std::size_t>(rest.size() - 1, std::to_integer<std::size_t>(rest[0]));
    lines.feed(rest.subspan(1, length));
    rest = rest.subspan(1 + length);
    while (const auto line = lines.next()) {
      BOOTSEAL_CHECK(line->text.size() <= 256 && agent.script() == nullptr);
      const std::string answer = agent.answer(*line);
      BOOTSEAL_CHECK(answer.find('\n') == std::string::npos && json::parse(answer).has_value());
    }
  }
  return 0;
}
