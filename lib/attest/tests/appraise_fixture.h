// What the tests of appraisal share: a site, a TPM of this VM, and shorthands.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_tpm.h"

namespace bootseal::attest::testing {

inline constexpr std::uint32_t kSeparator = 4, kIpl = 0xD, kApplication = 0x80000003, kUnused = 0x2;

inline bool has(const Verdict& verdict, std::string_view code) {
  for (const Reason& reason : verdict.reasons) {
    if (reason.code == code) return true;
  }
  return false;
}

inline std::string describe(const Verdict& verdict) {
  return json::serialize_pretty(to_json(verdict));
}

class Appraise : public ::testing::Test {
 protected:
  static const Site& site() {
    static const Site site;
    return site;
  }
  static const TestTpm& tpm() {
    static const TestTpm tpm(site());
    return tpm;
  }

  AppraisalContext context() const { return {test_vm(), nonce_, {site().certificate}, kNow, std::nullopt}; }
  QuoteFields fields() const {
    QuoteFields fields;
    fields.nonce = nonce_;
    return fields;
  }
  Verdict judge(const Evidence& evidence, const Expectation& expectation = debian_expectation()) const {
    return appraise(evidence, expectation, context()).verdict;
  }
  // Evidence of a recorded boot with a right quote.
  Evidence evidence(const std::string& name) const {
    return tpm().attest(fields(), read_pcrs(name), read_log(name));
  }
  // The log says `told`, and the TPM holds what `happened` leads to.
  Verdict judge(const EditableLog& told, const EditableLog& happened,
                const Expectation& expectation = debian_expectation()) const {
    return judge(tpm().attest(fields(), happened.replay(), told.bytes()), expectation);
  }
  Verdict judge(const EditableLog& both, const Expectation& expectation = debian_expectation()) const {
    return judge(both, both, expectation);
  }

  static EditableLog good() { return EditableLog::parse(read_log("pos-good")); }

  const Bytes nonce_ = crypto::random_bytes(kNonceSize);
};

}  // namespace bootseal::attest::testing
