#include "bootseal/attest/evidence.h"

#include <fmt/format.h>

#include <charconv>

#include "bootseal/tpm/wire.h"

namespace bootseal::attest {
namespace {

constexpr std::size_t kMaximumClaim = 1024;
constexpr std::size_t kMaximumDigest = 64;

Result<unsigned> parse_index(json::Reader& reader, std::string_view text) {
  unsigned index = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (problem != std::errc{} || end != text.data() + text.size() || index >= tpm::kPcrCount ||
      text != std::to_string(index)) {
    return reader.problem("values", fmt::format("\"{}\" is no index of a PCR", text.substr(0, 32)));
  }
  return index;
}

Result<std::map<unsigned, Bytes>> parse_values(json::Reader& pcrs) {
  BOOTSEAL_TRY(json::Reader reader, pcrs.object("values"));
  std::map<unsigned, Bytes> values;
  for (const auto& member : reader.raw().as_object()) {
    BOOTSEAL_TRY(const unsigned index, parse_index(pcrs, member.key()));
    BOOTSEAL_TRY(const std::string text, reader.string(member.key()));
    const Result<Bytes> digest = from_hex(text);
    if (!digest || digest->empty() || digest->size() > kMaximumDigest)
      return reader.problem(member.key(), "is no digest in hex");
    values[index] = *digest;
  }
  return values;
}

Result<std::string> parse_claim(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(std::string text, reader.string_or(field, ""));
  if (text.size() > kMaximumClaim) return reader.problem(field, "is longer than 1024 bytes");
  return text;
}

}  // namespace

Result<Evidence> parse_evidence(const json::Value& document) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "evidence"));
  Evidence evidence;
  BOOTSEAL_TRY(evidence.quote, reader.base64("quote"));
  BOOTSEAL_TRY(evidence.signature, reader.base64("signature"));
  BOOTSEAL_TRY(evidence.ak_certificate, reader.base64("akCertificate"));
  BOOTSEAL_TRY(evidence.event_log, reader.base64("eventLog"));
  BOOTSEAL_TRY(json::Reader pcrs, reader.object("pcrs"));
  BOOTSEAL_TRY(evidence.pcr_bank, pcrs.string("bank"));
  if (evidence.pcr_bank.size() > 16) return pcrs.problem("bank", "is no name of a bank");
  BOOTSEAL_TRY(evidence.pcr_values, parse_values(pcrs));
  BOOTSEAL_TRY(evidence.agent_version, parse_claim(reader, "agentVersion"));
  BOOTSEAL_TRY(evidence.kernel_release, parse_claim(reader, "kernelRelease"));
  BOOTSEAL_TRY(evidence.os_name, parse_claim(reader, "osName"));
  BOOTSEAL_TRY(evidence.boot_id, parse_claim(reader, "bootId"));
  return evidence;
}

json::Value to_json(const Evidence& evidence) {
  json::Object values;
  for (const auto& [index, digest] : evidence.pcr_values) values[std::to_string(index)] = to_hex(digest);
  return {{"quote", to_base64(evidence.quote)},
          {"signature", to_base64(evidence.signature)},
          {"akCertificate", to_base64(evidence.ak_certificate)},
          {"eventLog", to_base64(evidence.event_log)},
          {"pcrs", {{"bank", evidence.pcr_bank}, {"values", std::move(values)}}},
          {"agentVersion", evidence.agent_version},
          {"kernelRelease", evidence.kernel_release},
          {"osName", evidence.os_name},
          {"bootId", evidence.boot_id}};
}

}  // namespace bootseal::attest
