// Boots of every kind, and the quote that vouches for them.
#include "appraise_fixture.h"

namespace bootseal::attest::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

TEST_F(Appraise, HealthyBootOfDebianIsToldInWords) {
  const Verdict verdict = judge(evidence("pos-good"));
  ASSERT_EQ(verdict.status, VerdictStatus::healthy) << describe(verdict);
  EXPECT_EQ(verdict.secure_boot, SecureBootState::enabled);
  EXPECT_TRUE(verdict.vtpm_present);
  EXPECT_EQ(verdict.ak_certificate_issuer, "Bootseal site CA test");
  EXPECT_EQ(verdict.kernel_command_line, "/vmlinuz console=ttyS0 quiet");
  EXPECT_EQ(verdict.evidence_time, kNow);
  EXPECT_EQ(verdict.bank, "sha256");
  EXPECT_EQ(verdict.pcrs.at(7), "75677db6f14082d3bfec4d14bdd75c8d72612ef6914ca99cd5a5997b7a21309d");
  EXPECT_EQ(verdict.pcrs.size(), 14U);
  EXPECT_THAT(verdict.boot_chain,
              ElementsAre(BootStage{"shim", "/EFI/BOOT/BOOTX64.EFI",
                                    "80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8",
                                    "Microsoft Corporation UEFI CA 2011", "16.1", true},
                          BootStage{"grub", "/EFI/BOOT/grubx64.efi",
                                    "a68f6d71ebddaa19751ff8d729f67d11b0df8e4c49400c3e7e90de16119e1265",
                                    "Debian Secure Boot CA", "2.06-13+deb12u2", true},
                          BootStage{"kernel", "/vmlinuz",
                                    "5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31",
                                    "Debian Secure Boot CA", "6.1.192-2", true}));
  EXPECT_THAT(verdict.reasons, ElementsAre(AllOf(Field(&Reason::code, "ChecksPassed"),
                                                 Field(&Reason::severity, Severity::info))));
}

TEST_F(Appraise, OtherFirmwareTellsItsVersion) {
  const Verdict verdict = judge(evidence("pos-sid-ms"));
  EXPECT_EQ(verdict.status, VerdictStatus::healthy) << describe(verdict);
  EXPECT_EQ(verdict.firmware_version, "2026.08+ds-2");
}

TEST_F(Appraise, KernelCommandLineIsTheMeasuredOne) {
  const Verdict verdict = judge(evidence("pos-cmdline"));
  EXPECT_EQ(verdict.status, VerdictStatus::healthy) << describe(verdict);
  EXPECT_THAT(verdict.kernel_command_line, HasSubstr("tl.extra=1"));
}

TEST_F(Appraise, GoodBootsOfEveryShapeAreHealthyUnderTheirOwnBaseline) {
  const std::pair<std::string, std::vector<Role>> boots[] = {
      {"pos-good", {Role::shim, Role::grub, Role::kernel}},
      {"pos-ms2023", {Role::shim, Role::grub, Role::kernel}},
      {"pos-uki-own-key", {Role::kernel}},
      {"tiny-good", {Role::boot_application}},
      {"shape-2vcpu", {Role::boot_application}},
      {"shape-trixie", {Role::boot_application}},
      {"shape-sid", {Role::boot_application}}};
  for (const auto& [name, roles] : boots) {
    const EditableLog log = EditableLog::parse(read_log(name));
    const Verdict verdict = judge(evidence(name), expectation_of(log, roles));
    EXPECT_EQ(verdict.status, VerdictStatus::healthy) << name << "\n" << describe(verdict);
  }
}

TEST_F(Appraise, RsaAttestationKeysWorkToo) {
  const TestTpm rsa(site(), test_vm(), crypto::KeyKind::rsa);
  EXPECT_EQ(judge(rsa.attest(fields(), read_pcrs("pos-good"), read_log("pos-good"))).status,
            VerdictStatus::healthy);
}

TEST_F(Appraise, SecureBootOffIsUnhealthyWhereItWasAskedFor) {
  const EditableLog log = EditableLog::parse(read_log("tiny-sboff"));
  Expectation expectation = expectation_of(log, {Role::boot_application});
  const Verdict verdict = judge(evidence("tiny-sboff"), expectation);
  EXPECT_EQ(verdict.status, VerdictStatus::unhealthy);
  EXPECT_TRUE(has(verdict, "SecureBootDisabled")) << describe(verdict);
  EXPECT_EQ(verdict.secure_boot, SecureBootState::disabled);
  expectation.secure_boot = false;
  EXPECT_EQ(judge(evidence("tiny-sboff"), expectation).status, VerdictStatus::healthy);
}

TEST_F(Appraise, LogThatLacksEventsMismatchesTheirPcr) {
  Expectation expectation = debian_expectation();
  expectation.secure_boot = false;
  const Verdict verdict = judge(evidence("pos-sboff-dump"), expectation);
  EXPECT_EQ(verdict.status, VerdictStatus::unhealthy);
  ASSERT_TRUE(has(verdict, "PcrMismatch"));
  for (const Reason& reason : verdict.reasons) {
    if (reason.code == "PcrMismatch") {
      EXPECT_THAT(reason.message, HasSubstr("PCR 5 "));
    }
  }
}

TEST_F(Appraise, KernelPastTheFirmwareIsUnhealthy) {
  for (const std::string name : {"direct-kernel-debian12", "direct-kernel-trixie"}) {
    const Verdict verdict = judge(evidence(name));
    EXPECT_EQ(verdict.status, VerdictStatus::unhealthy) << name;
    EXPECT_TRUE(has(verdict, "NoBootApplication")) << describe(verdict);
  }
}

TEST_F(Appraise, RefusedBootsAreUnhealthy) {
  for (const std::string name : {"neg-grub", "neg-kernel", "neg-empty", "neg-dbx-tiny"}) {
    EXPECT_EQ(judge(evidence(name)).status, VerdictStatus::unhealthy) << name;
  }
  EXPECT_TRUE(has(judge(evidence("neg-grub")), "BootComponentMissing"));
  // shim measured the kernel, then refused it.
  EXPECT_TRUE(has(judge(evidence("neg-kernel")), "BootUnfinished"));
}

TEST_F(Appraise, EmptyLogIsUnknown) {
  for (const Bytes& log : {Bytes{}, good().header}) {
    const Verdict verdict = judge(tpm().attest(fields(), read_pcrs("pos-good"), log));
    EXPECT_EQ(verdict.status, VerdictStatus::unknown);
    EXPECT_TRUE(has(verdict, "EventLogEmpty")) << describe(verdict);
  }
}

TEST_F(Appraise, WithoutABaselineNothingIsHealthy) {
  Expectation expectation = debian_expectation();
  expectation.baseline.components.clear();
  const Verdict verdict = judge(evidence("pos-good"), expectation);
  EXPECT_EQ(verdict.status, VerdictStatus::unknown);
  EXPECT_TRUE(has(verdict, "BaselineMissing"));
  EXPECT_EQ(verdict.boot_chain.size(), 3U);
  EXPECT_FALSE(verdict.boot_chain[0].in_baseline);
}

TEST_F(Appraise, UnknownGrubIsNamedByPlaceAndHash) {
  EditableLog log = good();
  const std::size_t grub = log.of(4)[3];
  ASSERT_EQ(log.records[grub].type, kApplication);
  log.records[grub].digest = crypto::digest(crypto::HashAlgorithm::sha256, as_bytes("another grub"));
  const Verdict verdict = judge(log);
  EXPECT_EQ(verdict.status, VerdictStatus::unhealthy);
  EXPECT_THAT(
      verdict.reasons,
      ElementsAre(AllOf(Field(&Reason::code, "BootComponentUnknown"), Field(&Reason::component, "grub"),
                        Field(&Reason::message, HasSubstr(to_hex(log.records[grub].digest))))));
  EXPECT_EQ(verdict.boot_chain[1].role, "grub");
  EXPECT_FALSE(verdict.boot_chain[1].in_baseline);
  EXPECT_TRUE(verdict.boot_chain[2].in_baseline);
}

TEST_F(Appraise, UnknownKernelMeasuredTwiceIsOneFinding) {
  EditableLog log = good();
  for (const std::size_t i : log.of(4)) {
    if (to_hex(log.records[i].digest).starts_with("5f21ff2c"))
      log.records[i].digest = Bytes(32, std::byte{0x77});
  }
  const Verdict verdict = judge(log);
  EXPECT_EQ(verdict.boot_chain.size(), 3U);
  EXPECT_THAT(verdict.reasons, ElementsAre(AllOf(Field(&Reason::code, "BootComponentUnknown"),
                                                 Field(&Reason::component, "kernel"))));
}

TEST_F(Appraise, ProgramsMustRunInOrderAndCompletely) {
  EditableLog swapped = good();
  const std::vector<std::size_t> boot = swapped.of(4);
  std::swap(swapped.records[boot[2]].digest, swapped.records[boot[3]].digest);
  EXPECT_TRUE(has(judge(swapped), "BootOrderWrong"));
  EditableLog short_chain = good();
  short_chain.records.erase(short_chain.records.begin() + static_cast<std::ptrdiff_t>(boot[3]));
  EXPECT_TRUE(has(judge(short_chain), "BootComponentMissing"));
}

TEST_F(Appraise, ExtraProgramIsUnhealthy) {
  EditableLog log = good();
  Record extra = log.records[log.of(4).back()];
  extra.digest = Bytes(32, std::byte{1});
  log.records.push_back(extra);
  EXPECT_TRUE(has(judge(log), "BootComponentUnknown"));
}

TEST_F(Appraise, OnlyAFreshQuoteOfThisVmsKeyCounts) {
  const PcrValues values = read_pcrs("pos-good");
  const Bytes log = read_log("pos-good");
  const auto expect_failure = [&](const Evidence& evidence, std::string_view code) {
    const Appraisal appraisal = appraise(evidence, debian_expectation(), context());
    EXPECT_EQ(appraisal.verdict.status, VerdictStatus::unhealthy) << code;
    EXPECT_TRUE(has(appraisal.verdict, code)) << code << "\n" << describe(appraisal.verdict);
    EXPECT_FALSE(appraisal.clock) << code;
    EXPECT_EQ(appraisal.verdict.secure_boot, SecureBootState::unknown)
        << "nothing may be believed of a log without a quote";
    EXPECT_TRUE(appraisal.verdict.boot_chain.empty() && appraisal.verdict.pcrs.empty());
  };

  QuoteFields wrong = fields();
  wrong.nonce = crypto::random_bytes(kNonceSize);
  expect_failure(tpm().attest(wrong, values, log), "NonceMismatch");
  wrong.nonce = to_bytes(ByteSpan(nonce_).first(31));
  expect_failure(tpm().attest(wrong, values, log), "NonceMismatch");

  wrong = fields();
  wrong.magic = 0xFF544348;
  expect_failure(tpm().attest(wrong, values, log), "QuoteMalformed");
  wrong = fields();
  wrong.type = 0x8017;  // TPM_ST_ATTEST_CERTIFY
  expect_failure(tpm().attest(wrong, values, log), "QuoteMalformed");
  wrong = fields();
  wrong.trailing = Bytes(1);
  expect_failure(tpm().attest(wrong, values, log), "QuoteMalformed");
  wrong = fields();
  wrong.bank = 0x0004;  // SHA-1
  expect_failure(tpm().attest(wrong, values, log), "PcrSelectionWrong");
  wrong = fields();
  wrong.mask &= ~(1U << 7);
  expect_failure(tpm().attest(wrong, values, log), "PcrSelectionWrong");

  // The AK of another TPM under this VM's certificate.
  Evidence foreign = TestTpm(site()).attest(fields(), values, log);
  foreign.ak_certificate = tpm().ak_certificate.der();
  expect_failure(foreign, "QuoteSignatureInvalid");
  Evidence changed = tpm().attest(fields(), values, log);
  changed.quote[70] ^= std::byte{1};
  EXPECT_EQ(judge(changed).status, VerdictStatus::unhealthy);

  Evidence other_values = tpm().attest(fields(), values, log);
  other_values.pcr_values[4][0] ^= std::byte{1};
  expect_failure(other_values, "PcrValuesWrong");
  other_values = tpm().attest(fields(), values, log);
  other_values.pcr_values.erase(13);
  expect_failure(other_values, "PcrValuesWrong");
  other_values = tpm().attest(fields(), values, log);
  other_values.pcr_bank = "sha1";
  expect_failure(other_values, "PcrValuesWrong");
}

TEST_F(Appraise, OnlyCertificatesOfThisSiteForThisVmCount) {
  const PcrValues values = read_pcrs("pos-good");
  const Bytes log = read_log("pos-good");
  EXPECT_TRUE(
      has(judge(TestTpm(site(), VmId::random()).attest(fields(), values, log)), "AkCertificateOtherVm"));
  EXPECT_TRUE(has(judge(TestTpm(Site()).attest(fields(), values, log)), "AkCertificateInvalid"));

  // Any other certificate of the site, for the same key and VM.
  TestTpm with_ek_certificate(site());
  with_ek_certificate.ak_certificate = *crypto::issue_certificate(
      site().key, site().certificate, with_ek_certificate.ak.public_key(),
      crypto::tpm_ek_content(test_vm().to_string(), "web-1", crypto::KeyKind::ec_p256, kNow,
                             std::chrono::days(1)));
  EXPECT_TRUE(has(judge(with_ek_certificate.attest(fields(), values, log)), "AkCertificateInvalid"));

  Evidence no_certificate = tpm().attest(fields(), values, log);
  no_certificate.ak_certificate.clear();
  EXPECT_TRUE(has(judge(no_certificate), "AkCertificateInvalid"));

  AppraisalContext later = context();
  later.now = kNow + std::chrono::days(400);
  EXPECT_TRUE(has(appraise(tpm().attest(fields(), values, log), debian_expectation(), later).verdict,
                  "AkCertificateInvalid"));
}

TEST_F(Appraise, ClockThatGoesBackIsAReplayOrAClone) {
  const auto at = [&](std::uint32_t resets, std::uint32_t restarts, std::uint64_t clock, bool safe = true) {
    QuoteFields when = fields();
    when.reset_count = resets;
    when.restart_count = restarts;
    when.clock_ms = clock;
    when.safe = safe;
    return tpm().attest(when, read_pcrs("pos-good"), read_log("pos-good"));
  };
  AppraisalContext then = context();
  const Appraisal first = appraise(at(5, 1, 90'000), debian_expectation(), then);
  ASSERT_EQ(first.verdict.status, VerdictStatus::healthy);
  ASSERT_TRUE(first.clock);
  EXPECT_EQ(*first.clock, (ClockState{tpm().ak.public_key().fingerprint(), 5, 1, 90'000}));
  then.last_clock = first.clock;

  const auto went_back = [&](const Evidence& evidence) {
    const Appraisal appraisal = appraise(evidence, debian_expectation(), then);
    EXPECT_EQ(appraisal.clock.has_value(), !has(appraisal.verdict, "ClockWentBack"));
    return appraisal.verdict.status == VerdictStatus::unhealthy && has(appraisal.verdict, "ClockWentBack");
  };
  EXPECT_TRUE(went_back(at(4, 9, 99'000)));
  EXPECT_TRUE(went_back(at(5, 0, 99'000)));
  EXPECT_TRUE(went_back(at(5, 1, 89'999)));
  EXPECT_TRUE(went_back(at(5, 1, 89'999, false)));
  EXPECT_TRUE(went_back(at(6, 0, 80'000)));
  EXPECT_FALSE(went_back(at(6, 0, 80'000, false)))
      << "after a power cut a TPM may repeat some time, and says so";
  EXPECT_FALSE(went_back(at(5, 1, 90'000)));
  EXPECT_FALSE(went_back(at(6, 0, 90'001)));

  // What TPM2_Clear leaves (Part 3, 24.6): no accusation without the other way it can be.
  const Appraisal cleared = appraise(at(0, 0, 1'000), debian_expectation(), then);
  ASSERT_EQ(cleared.verdict.status, VerdictStatus::unhealthy);
  EXPECT_THAT(describe(cleared.verdict), ::testing::AllOf(::testing::HasSubstr("the guest cleared its TPM"),
                                                          ::testing::HasSubstr("older copy"),
                                                          ::testing::HasSubstr("reset-guest-state")));

  then.last_clock->ak = crypto::sha256(as_bytes("another key"));
  const Appraisal renewed = appraise(at(1, 0, 10), debian_expectation(), then);
  EXPECT_EQ(renewed.verdict.status, VerdictStatus::healthy);
  EXPECT_TRUE(has(renewed.verdict, "AttestationKeyChanged"));
}

}  // namespace
}  // namespace bootseal::attest::testing
