// Option texts and configuration files: parsed or refused, whatever they are.
#include <string>

#include "command_line.h"
#include "key_option.h"
#include "option_string.h"
#include "setup_options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::swtpm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // No users and groups: their look-up reads the machine's files.
  constexpr OptionRule kRules[] = {{"path", OptionKind::text},
                                   {"port", OptionKind::number},
                                   {"on", OptionKind::truth},
                                   {"mode", OptionKind::mode}};
  if (const auto options = OptionString::parse(text, kRules)) {
    BOOTSEAL_CHECK(options->mode("mode").value_or(0) <= 0777);
    BOOTSEAL_CHECK(options->number("port").value_or(0) >= 0);
    if (const auto path = options->text("path")) BOOTSEAL_CHECK(!path->empty());
  }
  static_cast<void>(parse_tpmstate_option(std::string(text)));
  static_cast<void>(parse_flags_option(text));
  for (const auto& [name, value] : parse_setup_configuration(text))
    BOOTSEAL_CHECK(name.find('\n') == std::string::npos);
  for (const std::size_t key_size : {std::size_t{16}, std::size_t{32}}) {
    for (const KeyFormat format : {KeyFormat::hex, KeyFormat::binary}) {
      if (const auto key = parse_key(as_bytes(text), format, key_size))
        BOOTSEAL_CHECK(key->size() == key_size);
    }
  }
  return 0;
}
