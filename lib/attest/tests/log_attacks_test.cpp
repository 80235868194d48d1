// Logs that tell something else than what happened.
#include "appraise_fixture.h"

namespace bootseal::attest::testing {
namespace {

TEST_F(Appraise, EveryLeftOutEventIsFound) {
  const EditableLog log = good();
  for (std::size_t i = 0; i < log.records.size(); ++i) {
    if (log.records[i].type == 3) continue;
    EditableLog told = log;
    told.records.erase(told.records.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_EQ(judge(told, log).status, VerdictStatus::unhealthy) << "event " << i;
  }
}

TEST_F(Appraise, EveryChangedDigestAndEveryAddedEventIsFound) {
  const EditableLog log = good();
  for (std::size_t i = 0; i < log.records.size(); ++i) {
    if (log.records[i].type == 3) continue;
    EditableLog changed = log, added = log;
    changed.records[i].digest[5] ^= std::byte{8};
    EXPECT_EQ(judge(changed, log).status, VerdictStatus::unhealthy) << "event " << i;
    added.records.insert(added.records.begin() + static_cast<std::ptrdiff_t>(i), log.records[i]);
    EXPECT_EQ(judge(added, log).status, VerdictStatus::unhealthy) << "event " << i;
  }
}

TEST_F(Appraise, CutLogsAreNeverHealthy) {
  const Bytes log = read_log("pos-good");
  for (std::size_t size = 0; size < log.size(); size += 101) {
    const Verdict verdict = judge(tpm().attest(fields(), read_pcrs("pos-good"), ByteSpan(log).first(size)));
    EXPECT_NE(verdict.status, VerdictStatus::healthy) << size;
  }
}

// Types are not authenticated: code that has taken over the guest may hand out any. What it cannot change are
// the digests and their order.
TEST_F(Appraise, RelabelledEventsOfDecidingPcrsAreNeverHealthy) {
  const EditableLog log = good();
  const std::uint32_t types[] = {
      kUnused,    0,          1,          2,          3,          kSeparator, 5,          6,
      7,          8,          0xA,        0xC,        kIpl,       0xE,        0xF,        0x10,
      0x11,       0x12,       0x40E,      0xFFFF,     0x80000001, 0x80000002, 0x80000003, 0x80000006,
      0x80000007, 0x80000008, 0x80000009, 0x8000000B, 0x80000010, 0x800000E0, 0x8401,     0xFFFFFFFF};
  for (const std::uint32_t pcr : {4U, 7U, 8U, 14U}) {
    for (const std::size_t i : log.of(pcr)) {
      for (const std::uint32_t type : types) {
        if (type == log.records[i].type) continue;
        EditableLog told = log;
        told.records[i].type = type;
        EXPECT_EQ(judge(told, log).status, VerdictStatus::unhealthy)
            << "event " << i << " of PCR " << pcr << " told as type " << type;
      }
    }
  }
}

// The attack of go-attestation's disclosure: the true boot ran something else, the told one hides it behind
// an ignored type.
TEST_F(Appraise, HiddenProgramBehindAnUnusedTypeIsFound) {
  EditableLog happened = good();
  Record evil = happened.records[happened.of(4).back()];
  evil.digest = crypto::digest(crypto::HashAlgorithm::sha256, as_bytes("bootkit"));
  happened.records.insert(happened.records.begin() + static_cast<std::ptrdiff_t>(happened.of(4)[2]), evil);
  for (const std::uint32_t type : {kUnused, 0x3U, kSeparator, kIpl, 0x80000007U, 0x12345678U}) {
    EditableLog told = happened;
    told.records[happened.of(4)[2]].type = type;
    EXPECT_EQ(judge(told, happened).status, VerdictStatus::unhealthy) << type;
  }
}

// Secure Boot was off; the log is written as if it had been on.
TEST_F(Appraise, SecureBootVariableCannotBeToldOtherwise) {
  EditableLog happened = good();
  const std::size_t variable = happened.of(7)[0];
  ASSERT_EQ(happened.records[variable].data.back(), std::byte{1});
  happened.records[variable].data.back() = std::byte{0};
  happened.records[variable].digest =
      crypto::digest(crypto::HashAlgorithm::sha256, happened.records[variable].data);
  const Verdict honest = judge(happened);
  EXPECT_TRUE(has(honest, "SecureBootDisabled")) << describe(honest);

  EditableLog told = happened;
  told.records[variable].data.back() = std::byte{1};
  EXPECT_TRUE(has(judge(told, happened), "SecureBootEventInvalid"));

  // The true variable hidden, an own one appended: the attacker can extend PCR 7 afterwards.
  EditableLog appended = happened;
  appended.records[variable].type = kUnused;
  appended.records.push_back(good().records[variable]);
  EXPECT_EQ(judge(appended).status, VerdictStatus::unhealthy);
  EditableLog twice = happened;
  twice.records.push_back(good().records[variable]);
  EXPECT_TRUE(has(judge(twice), "SecureBootEventInvalid"));
}

TEST_F(Appraise, VariablesOutOfOrderRepeatedOrUnknownAreFound) {
  const std::vector<std::size_t> places = good().of(7);
  EditableLog swapped = good();
  std::swap(swapped.records[places[1]], swapped.records[places[2]]);
  EXPECT_TRUE(has(judge(swapped), "SecureBootEventInvalid"));
  EditableLog repeated = good();
  repeated.records.insert(repeated.records.begin() + static_cast<std::ptrdiff_t>(places[4]),
                          repeated.records[places[3]]);
  EXPECT_TRUE(has(judge(repeated), "SecureBootEventInvalid"));
  EditableLog missing = good();
  missing.records.erase(missing.records.begin() + static_cast<std::ptrdiff_t>(places[4]));
  EXPECT_TRUE(has(judge(missing), "SecureBootEventInvalid"));
  EditableLog no_authority = good();
  ASSERT_EQ(no_authority.records[places[6]].type, 0x800000E0U);
  no_authority.records.erase(no_authority.records.begin() + static_cast<std::ptrdiff_t>(places[6]));
  EXPECT_TRUE(has(judge(no_authority), "AuthorityMissing"));
}

TEST_F(Appraise, SeparatorsMustBeOneAndGood) {
  for (std::uint32_t pcr = 0; pcr < 8; ++pcr) {
    EditableLog twice = good(), missing = good(), error = good();
    std::size_t place = 0;
    for (const std::size_t i : twice.of(pcr)) place = twice.records[i].type == kSeparator ? i : place;
    twice.records.insert(twice.records.begin() + static_cast<std::ptrdiff_t>(place), twice.records[place]);
    EXPECT_TRUE(has(judge(twice), "SeparatorWrong")) << pcr;
    missing.records.erase(missing.records.begin() + static_cast<std::ptrdiff_t>(place));
    EXPECT_TRUE(has(judge(missing), "SeparatorWrong")) << pcr;
    error.records[place].data = Bytes(4, std::byte{0xFF});
    error.records[place].digest = crypto::digest(crypto::HashAlgorithm::sha256, error.records[place].data);
    EXPECT_TRUE(has(judge(error), "SeparatorWrong")) << pcr;
  }
}

TEST_F(Appraise, ProgramBeforeTheSeparatorIsFound) {
  EditableLog log = good();
  const std::vector<std::size_t> boot = log.of(4);
  std::swap(log.records[boot[1]], log.records[boot[2]]);
  EXPECT_TRUE(has(judge(log), "BootEventInvalid"));
}

TEST_F(Appraise, CommandLineCannotBeToldOtherwise) {
  EditableLog told = good();
  for (const std::size_t i : told.of(8)) {
    Bytes& data = told.records[i].data;
    if (as_text(data).starts_with("kernel_cmdline: ")) data[20] ^= std::byte{1};
  }
  const Verdict verdict = judge(told, good());
  EXPECT_TRUE(has(verdict, "CommandLineInvalid"));
  EXPECT_EQ(verdict.kernel_command_line, "");
}

TEST_F(Appraise, ShimStateBesideTheUsualIsFound) {
  EditableLog log = good();
  Record insecure = log.records[log.of(14)[0]];
  insecure.data = to_bytes("MokSBState");
  insecure.digest = crypto::digest(crypto::HashAlgorithm::sha256, Bytes(1, std::byte{1}));
  log.records.insert(log.records.begin() + static_cast<std::ptrdiff_t>(log.of(14)[2]), insecure);
  EXPECT_TRUE(has(judge(log), "ShimStateInvalid"));
  // The same, told under the name of another variable.
  log.records[log.of(14)[2]].data = to_bytes("MokListTrusted");
  EXPECT_TRUE(has(judge(log), "ShimStateInvalid"));
}

TEST_F(Appraise, PcrsThatTheSystemExtendsDecideNothing) {
  for (const unsigned pcr : {11U, 12U, 13U}) {
    PcrValues values = read_pcrs("pos-good");
    values[pcr] = Bytes(32, std::byte{0x42});
    const Verdict verdict = judge(tpm().attest(fields(), values, read_log("pos-good")));
    EXPECT_EQ(verdict.status, VerdictStatus::healthy) << pcr;
    EXPECT_TRUE(has(verdict, "PcrExtendedLater"));
  }
  for (const unsigned pcr : {0U, 1U, 2U, 5U, 7U, 8U, 9U, 14U}) {
    PcrValues values = read_pcrs("pos-good");
    values[pcr] = crypto::digest(crypto::HashAlgorithm::sha256, {values[pcr], Bytes(32)});
    const Verdict verdict = judge(tpm().attest(fields(), values, read_log("pos-good")));
    EXPECT_EQ(verdict.status, VerdictStatus::unhealthy) << pcr;
    EXPECT_TRUE(has(verdict, "PcrMismatch"));
  }
}

TEST_F(Appraise, PcrThatTheLogExtendsAndTheTpmDidNotIsFound) {
  PcrValues values = read_pcrs("pos-uki-own-key");
  values[11] = Bytes(32);
  const Bytes log = read_log("pos-uki-own-key");
  const Verdict verdict =
      judge(tpm().attest(fields(), values, log), expectation_of(EditableLog::parse(log), {Role::kernel}));
  EXPECT_TRUE(has(verdict, "PcrMismatch")) << describe(verdict);
}

TEST_F(Appraise, MutatedDataNeverTellsSomethingElseAsHealthy) {
  const Bytes log = read_log("pos-good");
  const Verdict honest = judge(evidence("pos-good"));
  std::size_t healthy = 0;
  for (std::size_t i = 0; i < log.size(); i += 17) {
    Evidence changed = evidence("pos-good");
    changed.event_log[i] ^= std::byte{0x21};
    const Verdict verdict = judge(changed);
    if (verdict.status != VerdictStatus::healthy) continue;
    ++healthy;
    EXPECT_EQ(verdict.boot_chain, honest.boot_chain) << i;
    EXPECT_EQ(verdict.secure_boot, honest.secure_boot) << i;
    EXPECT_EQ(verdict.kernel_command_line, honest.kernel_command_line) << i;
  }
  EXPECT_LT(healthy, log.size() / 17)
      << "data of PCR 1 and device paths prove nothing and may change; the rest may not";
}

TEST_F(Appraise, HostileNumbersOfBadEventsStayBounded) {
  EditableLog log = good();
  Record bad = log.records[log.of(4).back()];
  bad.type = kUnused;
  for (int i = 0; i < 5000; ++i) log.records.push_back(bad);
  const Verdict verdict = judge(log);
  EXPECT_EQ(verdict.status, VerdictStatus::unhealthy);
  EXPECT_LE(verdict.reasons.size(), 64U);
}

}  // namespace
}  // namespace bootseal::attest::testing
