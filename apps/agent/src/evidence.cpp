#include "evidence.h"

#include <fmt/format.h>

namespace bootseal::agent {
namespace {

constexpr std::size_t kMinimumNonce = 16, kMaximumNonce = 64;
constexpr unsigned kQuoteAttempts = 8;

struct QuotedPcrs {
  tpm::Quote quote;
  std::vector<tpm::PcrValue> values;
};

bool same_values(const std::vector<tpm::PcrValue>& a, const std::vector<tpm::PcrValue>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const tpm::PcrValue& x, const tpm::PcrValue& y) {
                      return x.index == y.index && x.digest == y.digest;
                    });
}

// An extended PCR never comes back to an old value, so a quote between two equal readings is over those
// values.
Result<QuotedPcrs> quote_with_values(tpm::Client& client, const Challenge& challenge) {
  BOOTSEAL_TRY(std::vector<tpm::PcrValue> before, client.pcr_read(challenge.selection));
  for (unsigned attempt = 0; attempt < kQuoteAttempts; ++attempt) {
    BOOTSEAL_TRY(tpm::Quote quote, client.quote(tpm::kAttestationKey, challenge.nonce, challenge.selection));
    BOOTSEAL_TRY(std::vector<tpm::PcrValue> after, client.pcr_read(challenge.selection));
    if (same_values(before, after)) return QuotedPcrs{std::move(quote), std::move(after)};
    before = std::move(after);
  }
  return fail(ErrorCode::unavailable,
              fmt::format("PCRs were extended during each of {} quotes; try again", kQuoteAttempts));
}

// A certificate ends where its DER says; an NV index may be larger.
Result<Bytes> read_certificate(tpm::Client& client) {
  auto content = client.nv_read(tpm::kNvAttestationKeyCertificate, tpm::kNvAttestationKeyCertificate);
  if (!content && content.error().code == ErrorCode::conflict) {
    content = client.nv_read(tpm::kOwner, tpm::kNvAttestationKeyCertificate);
  }
  if (!content) return tl::unexpected(content.error().wrap("the AK certificate"));
  constexpr std::byte kSequence{0x30}, kTwoLengthBytes{0x82};
  if (content->size() > 4 && (*content)[0] == kSequence && (*content)[1] == kTwoLengthBytes) {
    const std::size_t size = 4U + load_be16(*content, 2);
    if (size < content->size()) content->resize(size);
  }
  return content;
}

}  // namespace

Result<Challenge> read_challenge(json::Reader& params) {
  Challenge challenge;
  BOOTSEAL_TRY(challenge.nonce, params.base64("nonce"));
  if (challenge.nonce.size() < kMinimumNonce || challenge.nonce.size() > kMaximumNonce) {
    return params.problem("nonce", fmt::format("{} bytes, and {} to {} are wanted", challenge.nonce.size(),
                                               kMinimumNonce, kMaximumNonce));
  }
  BOOTSEAL_TRY(const std::string bank, params.string("bank"));
  const auto algorithm = tpm::algorithm_from_name(bank);
  if (!algorithm) return params.problem("bank", algorithm.error().message);
  challenge.selection.bank = *algorithm;
  BOOTSEAL_TRY(const json::Value* pcrs, params.value("pcrs"));
  if (!pcrs->is_array() || pcrs->as_array().empty())
    return params.problem("pcrs", "a list of PCR numbers is wanted");
  for (const json::Value& pcr : pcrs->as_array()) {
    const bool number = pcr.is_int64() && pcr.as_int64() >= 0 && pcr.as_int64() < tpm::kPcrCount;
    if (!number) return params.problem("pcrs", "a PCR is a whole number from 0 to 23");
    challenge.selection.mask |= 1U << pcr.as_int64();
  }
  return challenge;
}

Result<json::Value> collect_evidence(tpm::Transport& transport, const Challenge& challenge,
                                     const std::filesystem::path& event_log, const Machine& machine,
                                     std::string_view agent_version) {
  tpm::Client client(transport);
  BOOTSEAL_TRY(const Bytes certificate, read_certificate(client));
  BOOTSEAL_TRY(const QuotedPcrs quoted, quote_with_values(client, challenge));
  BOOTSEAL_TRY(const Bytes log, read_event_log(event_log));
  json::Object values;
  for (const tpm::PcrValue& value : quoted.values) values[std::to_string(value.index)] = to_hex(value.digest);
  return json::Value(json::Object{
      {"quote", to_base64(quoted.quote.attest)},
      {"signature", to_base64(quoted.quote.signature)},
      {"akCertificate", to_base64(certificate)},
      {"eventLog", to_base64(log)},
      {"pcrs",
       json::Object{{"bank", tpm::algorithm_name(challenge.selection.bank)}, {"values", std::move(values)}}},
      {"agentVersion", agent_version},
      {"kernelRelease", machine.kernel_release},
      {"osName", machine.os_name},
      {"bootId", machine.boot_id},
  });
}

}  // namespace bootseal::agent
