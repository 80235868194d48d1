// A TPM and a site made of OpenSSL keys, and logs that can be edited: an attester that can also lie. Shared
// by tests, fuzz target and benchmark.
#pragma once

#include <string>

#include "bootseal/attest/appraise.h"

namespace bootseal::attest::testing {

inline const TimePoint kNow = *parse_time("2026-11-21T20:00:00Z");
const VmId& test_vm();

struct Site {
  crypto::PrivateKey key = *crypto::PrivateKey::generate(crypto::KeyKind::ec_p256);
  crypto::Certificate certificate = *crypto::make_self_signed(
      key,
      crypto::site_ca_content("Bootseal site CA test", kNow - std::chrono::days(1), std::chrono::days(3650)));
};

using PcrValues = std::map<unsigned, Bytes>;

// What goes into TPMS_ATTEST; a test changes what it wants to be wrong.
struct QuoteFields {
  std::uint32_t magic = 0xFF544347;
  std::uint16_t type = 0x8018;
  Bytes nonce;
  std::uint64_t clock_ms = 1000;
  std::uint32_t reset_count = 1, restart_count = 0;
  bool safe = true;
  std::uint16_t bank = 0x000B;
  std::uint32_t mask = kWantedPcrs.mask;
  Bytes trailing;
};

class TestTpm {
 public:
  explicit TestTpm(const Site& site, const VmId& vm = test_vm(),
                   crypto::KeyKind kind = crypto::KeyKind::ec_p256);

  // Evidence with a right quote over `values` (those of the mask), signed by the AK.
  [[nodiscard]] Evidence attest(const QuoteFields& fields, const PcrValues& values, ByteSpan log) const;

  crypto::PrivateKey ak;
  crypto::Certificate ak_certificate;
};

// One TCG_PCR_EVENT2 record of a log with the SHA-256 bank only.
struct Record {
  std::uint32_t pcr = 0;
  std::uint32_t type = 0;
  Bytes digest;
  Bytes data;
};

// Written without lib/tpm, so that a mistake there does not hide itself.
struct EditableLog {
  Bytes header;
  std::vector<Record> records;

  static EditableLog parse(ByteSpan log);
  [[nodiscard]] Bytes bytes() const;
  // The PCRs 0 to 14 that a TPM would hold after these records.
  [[nodiscard]] PcrValues replay() const;
  // Places of the records of one PCR.
  [[nodiscard]] std::vector<std::size_t> of(std::uint32_t pcr) const;
};

Bytes read_log(const std::string& name);
PcrValues read_pcrs(const std::string& name);

// What the image of the fixtures is made of.
Expectation debian_expectation();
// The same, with what grub measured in the recorded boot "pos-good", of an image that never changes it.
Expectation immutable_expectation();
// The expectation that a log's own programs would make, roles by the order given.
Expectation expectation_of(const EditableLog& log, const std::vector<Role>& roles);

}  // namespace bootseal::attest::testing
