#include "guestd_messages.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "display_text.h"

namespace bootseal::host {
namespace {

constexpr std::size_t kReadyLine = 65536;
constexpr std::size_t kText = 500;

}  // namespace

Result<Generation> parse_ready_line(std::string_view line) {
  Result<PeerMessage> message = parse_peer_message(Dialect::bootseal, line);
  if (!message || message->kind != PeerMessage::Kind::event)
    return fail(ErrorCode::corrupt, "guestd's ready line is not understood");
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(message->content, "guestd's ready line"));
  if (message->name == "refused") {
    BOOTSEAL_TRY(json::Reader error, reader.object("error"));
    BOOTSEAL_TRY(const std::string code, error.string("code"));
    BOOTSEAL_TRY(std::string text, error.string("message"));
    return fail(error_code_from_name(code), display_text(text, 2000));
  }
  if (message->name != "ready") return fail(ErrorCode::corrupt, "guestd's ready line is not understood");
  BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
  return Generation{generation};
}

Result<Generation> wait_ready(int fd, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::string text;
  while (text.find('\n') == std::string::npos && text.size() < kReadyLine) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    BOOTSEAL_TRY(const bool readable, wait_readable(fd, std::max(left, std::chrono::milliseconds(0))));
    if (!readable)
      return fail(ErrorCode::timeout, fmt::format("guestd was not ready within {} ms", limit.count()));
    std::array<char, 4096> buffer;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "reading guestd's ready line");
    if (got == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  const std::size_t end = text.find('\n');
  if (end == std::string::npos && text.empty())
    return fail(ErrorCode::unavailable, "guestd ended before it was ready; its messages are in hostd's log");
  return parse_ready_line(std::string_view(text).substr(0, end));
}

Result<GuestdStatus> parse_guestd_status(const json::Value& result) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(result, "guestd's status"));
  GuestdStatus status;
  BOOTSEAL_TRY(const std::string vm, reader.string("vmId"));
  BOOTSEAL_TRY(status.vm, VmId::parse(vm));
  BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
  status.generation = Generation{generation};
  return status;
}

Result<GuestdEvent> parse_guestd_event(const PeerMessage& message) {
  GuestdEvent event;
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(message.content, "guestd's event"));
  if (message.name == "generation") {
    BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
    event.kind = GuestdEvent::Kind::generation;
    event.generation = Generation{generation};
  } else if (message.name == "tpm.failed") {
    BOOTSEAL_TRY(const std::string text, reader.string_or("message", ""));
    event.kind = GuestdEvent::Kind::tpm_failed;
    event.message = display_text(text, kText);
  }
  return event;
}

Result<TpmPublicKeys> parse_certificates_wanted(const json::Value& event) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(event, "certificates.wanted"));
  TpmPublicKeys keys;
  if (reader.has("ekRsa")) {
    BOOTSEAL_TRY(keys.ek_rsa, reader.base64("ekRsa"));
  }
  if (reader.has("ekEcc")) {
    BOOTSEAL_TRY(keys.ek_ecc, reader.base64("ekEcc"));
  }
  BOOTSEAL_TRY(keys.ak, reader.base64("ak"));
  return keys;
}

json::Value certificates_json(const TpmCertificates& certificates) {
  json::Object object{{"akCertificate", to_base64(certificates.ak)}};
  if (!certificates.ek_rsa.empty()) object["ekRsaCertificate"] = to_base64(certificates.ek_rsa);
  if (!certificates.ek_ecc.empty()) object["ekEccCertificate"] = to_base64(certificates.ek_ecc);
  return object;
}

}  // namespace bootseal::host
