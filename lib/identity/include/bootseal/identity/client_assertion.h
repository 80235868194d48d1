// Client assertions (RFC 7523): a service principal signs in with its certificate.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "bootseal/base/clock.h"
#include "bootseal/identity/principal.h"

namespace bootseal::identity {

inline constexpr std::string_view kClientAssertionType =
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
inline constexpr std::chrono::hours kMaximumAssertionLifetime{24};

struct Assertion {
  std::string credential_id;
  std::string id;     // `jti`: the caller refuses one that it has seen
  TimePoint expires;  // until then it must be remembered (with the allowed difference of clocks added)
};

// The client that an assertion says it is of (`sub`), before anything is verified: to look its principal up.
// invalid_argument for what is no assertion.
Result<std::string> client_of_assertion(std::string_view assertion);

// Wanted: RS256, PS256 or ES256 by a certificate of the principal that is valid now and that `x5t` (SHA-1) or
// `x5t#S256` names, iss = sub = `client_id`, an audience of `audiences`, times that hold (whole numbers or
// fractions, five minutes of skew), and a jti. unauthenticated with the reason otherwise.
Result<Assertion> verify_client_assertion(std::string_view assertion, const Principal& principal,
                                          std::string_view client_id, std::span<const std::string> audiences,
                                          TimePoint now);

}  // namespace bootseal::identity
