// The measured-boot event log: framing and replay.
// TCG PC Client Platform Firmware Profile 1.05, 9 (Event Logging) and 10; TCG EFI Protocol
// Specification, 5.2.
//
//   BOOTSEAL_TRY(const tpm::EventLog log, tpm::EventLog::parse(bytes));
//   BOOTSEAL_TRY(const tpm::Replay replay, log.replay(tpm::Algorithm::sha256));
//   if (!replay.not_replayable(7) && replay.value(7) == quoted) …
//
// What a log says is a claim: only the digests of a PCR whose replay equals a quoted value are proven. Event
// types and data are never proven by that; check_digest() (event_content.h) says which data a digest covers.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "bootseal/tpm/wire.h"

namespace bootseal::tpm {

// TCG_EVENTTYPE (Firmware Profile, 10.4.1). Others occur.
enum class EventType : std::uint32_t {
  preboot_cert = 0x00000000,
  post_code = 0x00000001,
  no_action = 0x00000003,
  separator = 0x00000004,
  action = 0x00000005,
  event_tag = 0x00000006,
  scrtm_contents = 0x00000007,
  scrtm_version = 0x00000008,
  cpu_microcode = 0x00000009,
  platform_config_flags = 0x0000000A,
  table_of_devices = 0x0000000B,
  compact_hash = 0x0000000C,
  ipl = 0x0000000D,
  ipl_partition_data = 0x0000000E,
  nonhost_code = 0x0000000F,
  nonhost_config = 0x00000010,
  nonhost_info = 0x00000011,
  omit_boot_device_events = 0x00000012,
  post_code2 = 0x00000013,
  efi_variable_driver_config = 0x80000001,
  efi_variable_boot = 0x80000002,
  efi_boot_services_application = 0x80000003,
  efi_boot_services_driver = 0x80000004,
  efi_runtime_services_driver = 0x80000005,
  efi_gpt_event = 0x80000006,
  efi_action = 0x80000007,
  efi_platform_firmware_blob = 0x80000008,
  efi_handoff_tables = 0x80000009,
  efi_platform_firmware_blob2 = 0x8000000A,
  efi_handoff_tables2 = 0x8000000B,
  efi_variable_boot2 = 0x8000000C,
  efi_gpt_event2 = 0x8000000D,
  efi_hcrtm_event = 0x80000010,
  efi_variable_authority = 0x800000E0,
  efi_spdm_firmware_blob = 0x800000E1,
  efi_spdm_firmware_config = 0x800000E2,
};

// "EV_EFI_VARIABLE_AUTHORITY"; "0x00000402" for a type that is not in the list above.
std::string event_type_name(EventType type);

inline constexpr std::size_t kAlgorithmCount = 5;
// The place of an algorithm in tables of kAlgorithmCount.
std::size_t algorithm_index(Algorithm algorithm);

// PCR index of EV_NO_ACTION events that belong to no PCR.
inline constexpr std::uint32_t kNoPcr = 0xFFFFFFFF;

// One event; the spans point into the EventLog.
struct Event {
  std::uint32_t pcr = 0;  // below 24, or kNoPcr (EV_NO_ACTION only). In a CCEL log n (1 to 4) is RTMR n-1
  EventType type = EventType::no_action;
  std::array<ByteSpan, kAlgorithmCount>
      digests;  // by algorithm_index(); empty = the event has none for that bank
  ByteSpan data;
  std::size_t offset = 0;  // of the record in the log, bytes

  // Empty when the event has none for this bank.
  [[nodiscard]] ByteSpan digest(Algorithm bank) const { return digests[algorithm_index(bank)]; }
  // EV_NO_ACTION is told and never extended.
  [[nodiscard]] bool extends() const { return type != EventType::no_action; }
};

// PCR values that a log leads to, in one bank.
struct Replay {
  Algorithm bank = Algorithm::sha256;
  std::uint32_t extended = 0;             // bit n: the log extends PCR n
  std::uint32_t without_digest = 0;       // bit n: some event of PCR n has no digest for this bank
  std::array<Bytes, kPcrCount> values{};  // empty where the log extends nothing or `without_digest` is set

  // True when an event of this PCR lacks the bank's digest: firmware and boot managers sometimes extend other
  // banks only, and no value can be told then.
  [[nodiscard]] bool not_replayable(unsigned pcr) const { return (without_digest >> pcr & 1U) != 0; }
  // Empty unless the log extends the PCR and is replayable there.
  [[nodiscard]] ByteSpan value(unsigned pcr) const { return values.at(pcr); }
};

class EventLog {
 public:
  static constexpr std::size_t kMaximumSize = std::size_t{2} << 20;
  static constexpr std::size_t kMaximumEvents = 16384;

  // A whole log of TCG_PCR_EVENT (SHA-1, TPM 1.2) or, when it begins with a "Spec ID Event03" record, of
  // TCG_PCR_EVENT2 records. The bytes are copied. Padding of ff or 00 bytes after the last event is tolerated
  // (ACPI CCEL tables). Errors, with the offset:
  //   corrupt      empty, cut off, a size past the end, a digest named twice or not named by the header, a
  //   PCR above 23, a
  //                StartupLocality that is malformed or comes after an extension of PCR 0
  //   unsupported  a hash algorithm that is not in wire.h
  //   exhausted    more than kMaximumSize bytes or kMaximumEvents events
  static Result<EventLog> parse(ByteSpan bytes);

  EventLog(EventLog&&) noexcept = default;
  EventLog& operator=(EventLog&&) noexcept = default;
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Without the Spec ID record, in the order of the log.
  [[nodiscard]] const std::vector<Event>& events() const { return events_; }
  // As the header lists them; SHA-1 for a log without a Spec ID record.
  [[nodiscard]] const std::vector<Algorithm>& banks() const { return banks_; }
  // False for a TPM 1.2 log.
  [[nodiscard]] bool crypto_agile() const { return crypto_agile_; }
  // 0, 3 or 4: PCR 0 starts at this value.
  [[nodiscard]] std::uint8_t startup_locality() const { return startup_locality_; }
  // Bytes of padding after the last event.
  [[nodiscard]] std::size_t padding() const { return padding_; }
  [[nodiscard]] ByteSpan bytes() const { return bytes_; }

  // unsupported when the header does not list the bank.
  Result<Replay> replay(Algorithm bank) const;

 private:
  EventLog() = default;
  Status parse_header(ByteReader& reader);
  Status parse_agile(ByteReader& reader);
  Status parse_sha1(ByteReader& reader);
  Status add(Event event);

  Bytes bytes_;
  std::vector<Algorithm> banks_;
  std::vector<Event> events_;
  std::size_t padding_ = 0;
  std::uint8_t startup_locality_ = 0;
  bool crypto_agile_ = false;
  bool locality_told_ = false;
  bool pcr0_extended_ = false;
};

}  // namespace bootseal::tpm
