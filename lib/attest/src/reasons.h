// The codes of all reasons, and the list into which an appraisal writes them.
#pragma once

#include <string>
#include <string_view>

#include "bootseal/attest/verdict.h"

namespace bootseal::attest::reason {

// The evidence as a whole
inline constexpr std::string_view kChecksPassed = "ChecksPassed";
inline constexpr std::string_view kNothingChecked = "NothingChecked";
inline constexpr std::string_view kInternalError = "InternalError";
inline constexpr std::string_view kBaselineMissing = "BaselineMissing";
// The attestation key and its quote
inline constexpr std::string_view kAkCertificateInvalid = "AkCertificateInvalid";
inline constexpr std::string_view kAkCertificateOtherVm = "AkCertificateOtherVm";
inline constexpr std::string_view kQuoteMalformed = "QuoteMalformed";
inline constexpr std::string_view kQuoteSignatureInvalid = "QuoteSignatureInvalid";
inline constexpr std::string_view kNonceMismatch = "NonceMismatch";
inline constexpr std::string_view kPcrSelectionWrong = "PcrSelectionWrong";
inline constexpr std::string_view kPcrValuesWrong = "PcrValuesWrong";
inline constexpr std::string_view kClockWentBack = "ClockWentBack";
inline constexpr std::string_view kAttestationKeyChanged = "AttestationKeyChanged";
// The event log
inline constexpr std::string_view kEventLogEmpty = "EventLogEmpty";
inline constexpr std::string_view kEventLogMalformed = "EventLogMalformed";
inline constexpr std::string_view kPcrNotReplayable = "PcrNotReplayable";
inline constexpr std::string_view kPcrMismatch = "PcrMismatch";
inline constexpr std::string_view kPcrExtendedLater = "PcrExtendedLater";
inline constexpr std::string_view kSeparatorWrong = "SeparatorWrong";
inline constexpr std::string_view kOptionRom = "OptionRom";
// PCR 7, 14
inline constexpr std::string_view kSecureBootDisabled = "SecureBootDisabled";
inline constexpr std::string_view kSecureBootEventInvalid = "SecureBootEventInvalid";
inline constexpr std::string_view kSecureBootKeysMissing = "SecureBootKeysMissing";
inline constexpr std::string_view kAuthorityMissing = "AuthorityMissing";
inline constexpr std::string_view kShimStateInvalid = "ShimStateInvalid";
// PCR 4, 5, 8
inline constexpr std::string_view kBootEventInvalid = "BootEventInvalid";
inline constexpr std::string_view kNoBootApplication = "NoBootApplication";
inline constexpr std::string_view kBootComponentUnknown = "BootComponentUnknown";
inline constexpr std::string_view kBootComponentMissing = "BootComponentMissing";
inline constexpr std::string_view kBootOrderWrong = "BootOrderWrong";
inline constexpr std::string_view kBootUnfinished = "BootUnfinished";
inline constexpr std::string_view kCommandLineInvalid = "CommandLineInvalid";
// PCR 8 and 9 against the image as it was made
inline constexpr std::string_view kBootFileChanged = "BootFileChanged";
inline constexpr std::string_view kBootFileMissing = "BootFileMissing";
inline constexpr std::string_view kCommandLineChanged = "CommandLineChanged";
inline constexpr std::string_view kBootCommandsChanged = "BootCommandsChanged";

}  // namespace bootseal::attest::reason

namespace bootseal::attest {

// Collects reasons and counts the checks that passed. A log can hold thousands of bad events: past
// kMaximumReasons they still count and are no longer listed.
class Findings {
 public:
  static constexpr std::size_t kMaximumReasons = 64;

  void pass() { ++passed_; }
  void fail(std::string_view code, std::string message, std::string component = {}) {
    failed_ = true;
    add(code, Severity::failure, std::move(message), std::move(component));
  }
  // What was there does not suffice to say: at best Unknown.
  void undecided(std::string_view code, std::string message) {
    undecided_ = true;
    add(code, Severity::failure, std::move(message), {});
  }
  void warn(std::string_view code, std::string message) {
    add(code, Severity::warning, std::move(message), {});
  }
  void tell(std::string_view code, std::string message, std::string component = {}) {
    add(code, Severity::info, std::move(message), std::move(component));
  }

  [[nodiscard]] std::size_t passed() const { return passed_; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool is_undecided() const { return undecided_; }
  [[nodiscard]] std::vector<Reason> take() { return std::move(reasons_); }

 private:
  void add(std::string_view code, Severity severity, std::string message, std::string component) {
    if (reasons_.size() == kMaximumReasons) return;
    reasons_.push_back({std::string(code), severity, std::move(message), std::move(component)});
  }

  std::vector<Reason> reasons_;
  std::size_t passed_ = 0;
  bool failed_ = false;
  bool undecided_ = false;
};

}  // namespace bootseal::attest
