// Client assertions from anybody: the bytes as the whole token, and as the payload of one that is signed
// right.
#include "bootseal/crypto/jws.h"
#include "bootseal/identity/client_assertion.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  static const TimePoint now = *parse_time("2026-11-22T00:00:00Z");
  static const std::string audiences[] = {"https://s/adfs/oauth2/token"};
  static const auto key = *crypto::PrivateKey::generate(crypto::KeyKind::ec_p256);
  static const identity::Principal principal = [] {
    auto made = *identity::make_principal({"app", identity::Principal::Kind::service_principal}, now);
    const auto certificate =
        *crypto::make_self_signed(key, crypto::tls_client_content("app", now, std::chrono::days(30)));
    BOOTSEAL_CHECK(identity::add_certificate(made, certificate.pem(), now).has_value());
    return made;
  }();
  static const std::string print =
      to_base64url(crypto::digest(crypto::HashAlgorithm::sha1, principal.credentials[0].certificate));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(identity::client_of_assertion(text));
  BOOTSEAL_CHECK(!identity::verify_client_assertion(text, principal, "app", audiences, now));
  const auto payload = json::parse(text, {4096, 8});
  if (!payload || !payload->is_object()) return 0;
  const auto token =
      crypto::sign_jws(key, crypto::JwsAlgorithm::es256, {{"x5t", print}}, payload->get_object());
  const auto facts = identity::verify_client_assertion(*token, principal, "app", audiences, now);
  BOOTSEAL_CHECK(facts ? !facts->id.empty() : facts.error().code == ErrorCode::unauthenticated);
  return 0;
}
