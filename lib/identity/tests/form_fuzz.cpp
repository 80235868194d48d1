// Form bodies, scopes and filters from anybody: read or refused, and what was read survives a round trip.
#include "bootseal/identity/form.h"
#include "bootseal/identity/role_filter.h"
#include "bootseal/identity/scope.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto form = identity::Form::parse(text)) {
    const auto again = identity::Form::parse(form->encode());
    BOOTSEAL_CHECK(again && again->fields() == form->fields());
    const auto scope = identity::Scope::parse(form->get_or("scope", ""));
    if (scope) {
      const auto same = identity::Scope::parse(scope->to_string());
      BOOTSEAL_CHECK(same && same->audience == scope->audience && same->openid == scope->openid);
    }
  }
  const std::string own[] = {"localhost:8443"};
  static_cast<void>(identity::service_of(text, own));
  if (const auto terms = identity::parse_role_filter(text))
    BOOTSEAL_CHECK(!terms->empty() && terms->size() <= 8);
  return 0;
}
