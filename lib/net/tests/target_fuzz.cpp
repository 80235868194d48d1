// Request targets: what parse_target() makes of one, written out and parsed again, is the same.
#include <fmt/format.h>

#include "bootseal/base/bytes.h"
#include "target.h"

namespace {

std::string escape(std::string_view text, std::string_view kept) {
  std::string escaped;
  for (const char character : text) {
    if (kept.find(character) != std::string_view::npos) {
      escaped += character;
    } else {
      escaped += fmt::format("%{:02x}", static_cast<unsigned char>(character));
    }
  }
  return escaped;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::net;
  const auto parsed = parse_target({reinterpret_cast<const char*>(data), size});
  if (!parsed) return 0;
  std::string again = escape(parsed->path, "/");
  char separator = '?';
  for (const auto& [name, value] : parsed->query) {
    again += fmt::format("{}{}={}", separator, escape(name, ""), escape(value, ""));
    separator = '&';
  }
  const auto reparsed = parse_target(again);
  BOOTSEAL_CHECK(reparsed.has_value() && reparsed->path == parsed->path && reparsed->query == parsed->query);
  BOOTSEAL_CHECK(is_utf8(parsed->path));
  return 0;
}
