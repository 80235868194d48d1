#include "bootseal/attest/appraise.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "bootseal/tpm/quote.h"
#include "measurements.h"

namespace bootseal::attest {
namespace {

// The running system extends these: 10 by IMA, 11 by systemd-pcrphase, 12 and 13 by credentials and
// extensions that it loads.
constexpr std::uint32_t kExtendedByTheSystem = 1U << 10 | 1U << 11 | 1U << 12 | 1U << 13;

bool is_zero(ByteSpan bytes) {
  return std::ranges::all_of(bytes, [](std::byte value) { return value == std::byte{0}; });
}

class Appraiser {
 public:
  Appraiser(const Evidence& evidence, const Expectation& expectation, const AppraisalContext& context)
      : evidence_(evidence), expectation_(expectation), context_(context) {}

  Appraisal run() {
    Appraisal result;
    verdict_.evidence_time = context_.now;
    try {
      judge(result);
    } catch (const std::exception& problem) {
      findings_.undecided(reason::kInternalError,
                          fmt::format("the appraisal ended early: {}", problem.what()));
    }
    close();
    result.verdict = std::move(verdict_);
    return result;
  }

 private:
  void judge(Appraisal& result) {
    const std::optional<crypto::PublicKey> key = judge_certificate();
    if (!key) return;
    const std::optional<tpm::Attestation> quote = judge_quote(*key);
    if (!quote || !judge_values(*quote)) return;
    verdict_.vtpm_present = true;
    result.clock = judge_clock(*quote, key->fingerprint());
    judge_log();
  }

  std::optional<crypto::PublicKey> judge_certificate() {
    const Result<crypto::Certificate> certificate = crypto::Certificate::from_der(evidence_.ak_certificate);
    if (!certificate) {
      findings_.fail(reason::kAkCertificateInvalid,
                     "the certificate of the attestation key cannot be read: " + certificate.error().message);
      return std::nullopt;
    }
    const Status chain =
        crypto::verify_chain(*certificate, {}, context_.roots, context_.now, crypto::kOidAkCertificate);
    if (!chain) {
      findings_.fail(reason::kAkCertificateInvalid,
                     "the attestation key is not one that this site has certified: " + chain.error().message);
      return std::nullopt;
    }
    findings_.pass();
    const std::vector<std::string> names = certificate->alternative_names().uris;
    if (names.size() != 1 || names.front() != "urn:uuid:" + context_.vm.to_string()) {
      findings_.fail(reason::kAkCertificateOtherVm,
                     fmt::format("the attestation key is certified for {}, not for this VM",
                                 names.empty() ? "no VM" : names.front()));
      return std::nullopt;
    }
    findings_.pass();
    Result<crypto::PublicKey> key = certificate->public_key();
    if (!key) {
      findings_.fail(reason::kAkCertificateInvalid, key.error().message);
      return std::nullopt;
    }
    verdict_.ak_certificate_issuer = certificate->issuer_common_name();
    return *std::move(key);
  }

  std::optional<tpm::Attestation> judge_quote(const crypto::PublicKey& key) {
    Result<tpm::Attestation> quote =
        tpm::verify_quote(evidence_.quote, evidence_.signature, key, context_.nonce, kWantedPcrs);
    if (!quote) {
      findings_.fail(quote_failure(), quote.error().message);
      return std::nullopt;
    }
    findings_.pass();
    return *std::move(quote);
  }

  // Why a quote was refused, for the code only.
  std::string_view quote_failure() const {
    const Result<tpm::Attestation> quote = tpm::parse_quote(evidence_.quote);
    if (!quote) return reason::kQuoteMalformed;
    if (!std::ranges::equal(quote->nonce, context_.nonce)) return reason::kNonceMismatch;
    const bool selected = quote->selections.size() == 1 && quote->selections[0].bank == kWantedPcrs.bank &&
                          quote->selections[0].mask == kWantedPcrs.mask;
    return selected ? reason::kQuoteSignatureInvalid : reason::kPcrSelectionWrong;
  }

  bool judge_values(const tpm::Attestation& quote) {
    if (evidence_.pcr_bank != "sha256") {
      findings_.fail(
          reason::kPcrValuesWrong,
          fmt::format("the PCR values are of the bank \"{}\"; sha256 was asked for", evidence_.pcr_bank));
      return false;
    }
    std::vector<tpm::PcrValue> values;
    for (const auto& [index, digest] : evidence_.pcr_values) values.push_back({index, digest});
    if (const Status status = tpm::check_pcr_values(quote, values); !status) {
      findings_.fail(reason::kPcrValuesWrong,
                     "the PCR values are not the quoted ones: " + status.error().message);
      return false;
    }
    findings_.pass();
    verdict_.bank = evidence_.pcr_bank;
    for (const auto& [index, digest] : evidence_.pcr_values) verdict_.pcrs[index] = to_hex(digest);
    return true;
  }

  std::optional<ClockState> judge_clock(const tpm::Attestation& quote, const crypto::Sha256Digest& ak) {
    const ClockState now{ak, quote.reset_count, quote.restart_count, quote.clock_ms};
    const auto& last = context_.last_clock;
    if (!last) return now;
    if (last->ak != ak) {
      findings_.warn(reason::kAttestationKeyChanged,
                     "the VM's attestation key is another one than the last time: its TPM was made anew");
      return now;
    }
    const bool reset_back = now.reset_count < last->reset_count;
    const bool restart_back = now.reset_count == last->reset_count && now.restart_count < last->restart_count;
    // After a power cut a TPM may repeat some of its time, and says so (Part 1, 36.3.2: safe).
    const bool clock_back =
        now.clock_ms < last->clock_ms && (now.reset_count == last->reset_count || quote.safe);
    if (reset_back || restart_back || clock_back) {
      findings_.fail(
          reason::kClockWentBack,
          fmt::format("the TPM's clock went back (resets {} after {}, {} ms after {} ms): the "
                      "guest cleared its TPM (TPM2_Clear sets both to 0), or this is an older copy "
                      "of the TPM, or a second one. When the guest cleared it, this ends when the "
                      "clock has passed where it was, or with a new TPM: `bootseal vm "
                      "reset-guest-state`, which loses what is sealed to this one",
                      now.reset_count, last->reset_count, now.clock_ms, last->clock_ms));
      return std::nullopt;
    }
    findings_.pass();
    return now;
  }

  void judge_log() {
    if (evidence_.event_log.empty()) return log_is_empty();
    const Result<tpm::EventLog> log = tpm::EventLog::parse(evidence_.event_log);
    if (!log)
      return findings_.fail(reason::kEventLogMalformed,
                            "the event log cannot be read: " + log.error().message);
    if (log->events().empty()) return log_is_empty();
    const Result<tpm::Replay> replay = log->replay(kWantedPcrs.bank);
    if (!replay)
      return findings_.fail(reason::kEventLogMalformed,
                            "the event log has no digests for the quoted PCRs: " + replay.error().message);
    const std::uint32_t proven = compare(*replay);
    judge_events({*log, kWantedPcrs.bank, expectation_}, proven);
  }

  void log_is_empty() {
    findings_.undecided(reason::kEventLogEmpty,
                        "the system handed out no event log, so nothing can be said about how it booted "
                        "(grub 2.06 does that when Secure Boot is off)");
  }

  // The PCRs whose quoted value is what the log leads to.
  std::uint32_t compare(const tpm::Replay& replay) {
    std::uint32_t proven = 0;
    for (const auto& [pcr, quoted] : evidence_.pcr_values) {
      const std::uint32_t bit = 1U << pcr;
      const bool extended = (replay.extended & bit) != 0;
      const bool may_differ = (kExtendedByTheSystem & bit) != 0 && !is_zero(quoted);
      if (replay.not_replayable(pcr)) {
        findings_.fail(
            reason::kPcrNotReplayable,
            fmt::format("an event of PCR {} has no sha256 digest, so its value cannot be explained", pcr));
      } else if (extended ? std::ranges::equal(replay.value(pcr), quoted) : is_zero(quoted)) {
        findings_.pass();
        proven |= bit;
      } else if (may_differ) {
        findings_.tell(reason::kPcrExtendedLater,
                       fmt::format("PCR {} was extended after the boot, as the system may do", pcr));
      } else {
        findings_.fail(
            reason::kPcrMismatch,
            fmt::format("PCR {} is {} and the event log leads to {}: events were left out, added or changed",
                        pcr, to_hex(quoted), extended ? to_hex(replay.value(pcr)) : "zero"));
      }
    }
    return proven;
  }

  void judge_events(const Measurements& measurements, std::uint32_t proven) {
    const auto is_proven = [&](unsigned pcr) { return (proven >> pcr & 1U) != 0; };
    judge_separators(measurements, findings_);
    Authorities authorities;
    if (is_proven(7)) authorities = judge_secure_boot(measurements, findings_, verdict_);
    if (is_proven(14)) judge_shim_state(measurements, findings_);
    if (is_proven(4)) judge_boot_chain(measurements, authorities, findings_, verdict_);
    if (is_proven(5)) judge_hand_over(measurements, findings_);
    if (is_proven(9)) judge_boot_files(measurements, findings_, verdict_);
    if (is_proven(8)) {
      judge_command_line(measurements, findings_, verdict_);
      judge_boot_commands(measurements, findings_, verdict_);
    }
    if (is_proven(0)) read_firmware(measurements, findings_, verdict_);
    judged_ = is_proven(4) && is_proven(5) && is_proven(7);
  }

  void close() {
    if (!judged_ && !findings_.failed() && !findings_.is_undecided()) {
      findings_.undecided(reason::kNothingChecked, "the boot of this VM was not checked");
    }
    if (findings_.failed()) {
      verdict_.status = VerdictStatus::unhealthy;
    } else if (findings_.is_undecided() || findings_.passed() == 0) {
      verdict_.status = VerdictStatus::unknown;
    } else {
      verdict_.status = VerdictStatus::healthy;
      findings_.tell(reason::kChecksPassed, fmt::format("all {} checks passed", findings_.passed()));
    }
    verdict_.reasons = findings_.take();
  }

  const Evidence& evidence_;
  const Expectation& expectation_;
  const AppraisalContext& context_;
  Verdict verdict_;
  Findings findings_;
  bool judged_ = false;
};

}  // namespace

Appraisal appraise(const Evidence& evidence, const Expectation& expectation,
                   const AppraisalContext& context) {
  return Appraiser(evidence, expectation, context).run();
}

}  // namespace bootseal::attest
