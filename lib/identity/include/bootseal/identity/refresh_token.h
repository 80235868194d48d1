// Refresh tokens: opaque, kept as hashes, changed at each use. Tokens that came from one sign-in are a
// family; when one of them comes a second time, somebody else has it, and the family ends.
//
// A client that runs twice at once uses one token twice within a moment, and an answer can get lost: so a
// token still works for kReuseGrace after its first use.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"

namespace bootseal::identity {

inline constexpr std::chrono::days kRefreshLifetime{90};
inline constexpr std::chrono::seconds kReuseGrace{30};

struct RefreshFamily {
  struct Token {
    crypto::Sha256Digest hash;
    std::optional<TimePoint> used;
  };
  std::string id;  // a GUID, part of the token's text
  std::string principal_id;
  std::string client_id;
  TimePoint expires;  // 90 days after the last use
  std::vector<Token> tokens;

  [[nodiscard]] json::Object to_json() const;
  static Result<RefreshFamily> parse(const json::Value& value);
};

struct NewRefresh {
  RefreshFamily family;
  std::string token;
};
NewRefresh begin_refresh_family(std::string principal_id, std::string client_id, TimePoint now);
// The family that a token says it is of; invalid_argument for what is no refresh token.
Result<std::string> family_of_refresh_token(std::string_view token);

enum class RefreshOutcome : std::uint8_t { rotated, expired, reused };
struct Refreshed {
  RefreshOutcome outcome = RefreshOutcome::reused;
  std::string token;  // when rotated
};
// Changes `family`: the caller stores it when the outcome is rotated, and forgets it otherwise.
Refreshed use_refresh_token(RefreshFamily& family, std::string_view token, TimePoint now);

}  // namespace bootseal::identity
