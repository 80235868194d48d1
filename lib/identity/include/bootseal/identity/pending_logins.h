// Sign-ins that wait for something: device codes (RFC 8628) for their approval, authorization codes (RFC 6749
// 4.1, with RFC 7636's PKCE) for their exchange. Kept in memory: a restart ends them, and the client says so
// and begins again. Bounded, because anybody may begin one. Thread safe.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "bootseal/base/clock.h"

namespace bootseal::identity {

inline constexpr std::chrono::minutes kDeviceCodeLifetime{15};
inline constexpr std::chrono::seconds kDevicePollInterval{5};
inline constexpr std::chrono::minutes kAuthorizationCodeLifetime{5};
inline constexpr std::size_t kMaximumPendingLogins = 1024;
inline constexpr std::size_t kMaximumPendingOfPeer = 32;

struct NewDeviceCode {
  std::string device_code;  // for the client
  std::string user_code;    // for the person: "BCDF-GHJK"
};

enum class DevicePoll : std::uint8_t { pending, slow_down, denied, expired, unknown, approved };
struct DeviceAnswer {
  DevicePoll poll = DevicePoll::unknown;
  std::string principal_id;  // when approved
  std::string scope;
};

class DeviceLogins {
 public:
  // exhausted when too many wait, of this peer or at all.
  Result<NewDeviceCode> begin(std::string client_id, std::string scope, std::string peer, TimePoint now);
  // The answer to the client; an approved code is answered once.
  DeviceAnswer poll(std::string_view device_code, std::string_view client_id, TimePoint now);
  // not_found for a code that does not wait (also one that was decided or has ended). Spaces, hyphens and
  // case do not count. Returns the client that waits.
  Result<std::string> approve(std::string_view user_code, std::string principal_id, TimePoint now);
  Status deny(std::string_view user_code, TimePoint now);

 private:
  struct Login {
    std::string user_code, client_id, scope, peer, principal_id;
    TimePoint expires, next_poll;
    std::chrono::seconds interval = kDevicePollInterval;
    bool denied = false;
  };
  void forget_ended(TimePoint now);
  Result<Login*> waiting(std::string_view user_code, TimePoint now);

  std::mutex mutex_;
  std::map<std::string, Login> logins_;  // by the hash of the device code
};

struct AuthorizationGrant {
  std::string principal_id;
  std::string client_id;
  std::string redirect_uri;
  std::string scope;
  std::string code_challenge;  // S256
  std::string nonce;
};

class AuthorizationCodes {
 public:
  // exhausted when too many wait.
  Result<std::string> issue(AuthorizationGrant grant, TimePoint now);
  // Once: a second exchange is refused, as is another client, redirect or verifier (and the code is gone
  // then).
  Result<AuthorizationGrant> redeem(std::string_view code, std::string_view client_id,
                                    std::string_view redirect_uri, std::string_view code_verifier,
                                    TimePoint now);

 private:
  struct Waiting {
    AuthorizationGrant grant;
    TimePoint expires;
  };
  std::mutex mutex_;
  std::map<std::string, Waiting> codes_;  // by the hash of the code
};

// RFC 7636 4.2: base64url(SHA-256(verifier)).
std::string pkce_challenge(std::string_view verifier);

}  // namespace bootseal::identity
