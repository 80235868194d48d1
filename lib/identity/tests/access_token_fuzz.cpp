// Tokens from anybody: none that this ring did not sign is believed, and nothing but the two errors comes
// out.
#include "bootseal/identity/access_token.h"
#include "bootseal/identity/refresh_token.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  static const identity::KeyRing keys = [] {
    identity::KeyRing ring;
    BOOTSEAL_CHECK(ring.rotate(TimePoint{}).has_value());
    return ring;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto claims = keys.verify(text, "tenant", TimePoint{});
  BOOTSEAL_CHECK(!claims && claims.error().code == ErrorCode::unauthenticated);
  // The same bytes as the payload of a token that is signed: read or refused.
  if (const auto payload = json::parse(text, {4096, 8}); payload && payload->is_object()) {
    const auto token = keys.sign(payload->get_object());
    BOOTSEAL_CHECK(token.has_value());
    static_cast<void>(keys.verify(*token, "tenant", TimePoint{}));
  }
  static_cast<void>(identity::family_of_refresh_token(text));
  return 0;
}
