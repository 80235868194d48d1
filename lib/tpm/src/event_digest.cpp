#include <algorithm>

#include "bootseal/tpm/event_content.h"
#include "hasher.h"

namespace bootseal::tpm {
namespace {

// What the digest of an event may be over, by its type; counted over 47 logs of real machines.
enum class Rule : std::uint8_t { data_only, variable, authority, ipl, data_or_opaque, opaque_only };

Rule rule_for(EventType type) {
  switch (type) {
    case EventType::separator:
    case EventType::efi_action:
    case EventType::efi_gpt_event:
    case EventType::efi_gpt_event2:
    case EventType::scrtm_version:
      return Rule::data_only;
    case EventType::efi_variable_driver_config:
    case EventType::efi_variable_boot:
    case EventType::efi_variable_boot2:
      return Rule::variable;
    case EventType::efi_variable_authority:
      return Rule::authority;
    case EventType::ipl:
      return Rule::ipl;
    case EventType::efi_boot_services_application:
    case EventType::efi_boot_services_driver:
    case EventType::efi_runtime_services_driver:
    case EventType::efi_platform_firmware_blob:
    case EventType::efi_platform_firmware_blob2:
    case EventType::efi_handoff_tables:
    case EventType::efi_handoff_tables2:
    case EventType::post_code:
    case EventType::post_code2:
    case EventType::scrtm_contents:
      return Rule::opaque_only;
    default:
      return Rule::data_or_opaque;
  }
}

class Matcher {
 public:
  Matcher(Algorithm bank, ByteSpan digest) : hasher_(bank), digest_(digest) {}
  bool matches(ByteSpan data) { return std::ranges::equal(hasher_.digest({data}), digest_); }

 private:
  Hasher hasher_;
  ByteSpan digest_;
};

// The text that grub hashes: behind its prefix, without the NUL.
std::optional<ByteSpan> measured_text(ByteSpan data) {
  constexpr std::string_view kPrefixes[] = {"grub_cmd: ", "kernel_cmdline: ", "module_cmdline: "};
  for (const std::string_view prefix : kPrefixes) {
    if (data.size() < prefix.size() || as_text(data.first(prefix.size())) != prefix) continue;
    ByteSpan text = data.subspan(prefix.size());
    if (!text.empty() && text.back() == std::byte{0}) text = text.first(text.size() - 1);
    return text;
  }
  return std::nullopt;
}

DigestCover check_ipl(Matcher& matcher, ByteSpan data) {
  const std::optional<ByteSpan> text = measured_text(data);
  if (text) {
    if (matcher.matches(*text)) return DigestCover::text;
    return matcher.matches(data) ? DigestCover::data : DigestCover::mismatch;
  }
  return matcher.matches(data) ? DigestCover::data : DigestCover::opaque;
}

DigestCover check_variable(Matcher& matcher, const Event& event) {
  if (matcher.matches(event.data)) return DigestCover::data;
  const auto content = read_content(event);
  if (!content) return DigestCover::mismatch;
  const auto* variable = std::get_if<VariableContent>(&*content);
  return variable != nullptr && matcher.matches(variable->data) ? DigestCover::variable_data
                                                                : DigestCover::mismatch;
}

DigestCover check_authority(Matcher& matcher, ByteSpan data) {
  if (matcher.matches(data)) return DigestCover::data;
  const bool shorter = !data.empty() && matcher.matches(data.first(data.size() - 1));
  return shorter ? DigestCover::data_without_last_byte : DigestCover::mismatch;
}

}  // namespace

std::string_view digest_cover_name(DigestCover cover) {
  switch (cover) {
    case DigestCover::data:
      return "data";
    case DigestCover::variable_data:
      return "variable data";
    case DigestCover::text:
      return "text";
    case DigestCover::data_without_last_byte:
      return "data without its last byte";
    case DigestCover::opaque:
      return "opaque";
    case DigestCover::mismatch:
      return "mismatch";
    case DigestCover::absent:
      return "absent";
  }
  check_failed("a known cover", __FILE__, __LINE__);
}

DigestCover check_digest(const Event& event, Algorithm bank) {
  const ByteSpan digest = event.digest(bank);
  if (digest.empty() || !event.extends()) return DigestCover::absent;
  const Rule rule = rule_for(event.type);
  if (rule == Rule::opaque_only) return DigestCover::opaque;
  Matcher matcher(bank, digest);
  switch (rule) {
    case Rule::variable:
      return check_variable(matcher, event);
    case Rule::authority:
      return check_authority(matcher, event.data);
    case Rule::ipl:
      return check_ipl(matcher, event.data);
    case Rule::data_only:
      return matcher.matches(event.data) ? DigestCover::data : DigestCover::mismatch;
    default:
      return matcher.matches(event.data) ? DigestCover::data : DigestCover::opaque;
  }
}

}  // namespace bootseal::tpm
