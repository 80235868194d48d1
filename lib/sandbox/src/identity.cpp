#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "bootseal/sandbox/sandbox.h"

namespace bootseal::sandbox {
namespace {

constexpr uid_t kDefaultBase = 1890000000;
constexpr uid_t kFirstVmOffset = 1000;
// The whole range, 1000 + 64536 uids, lies above system and user accounts and below (uid_t)-1.
constexpr uid_t kHighestBase = 4294900000U;
constexpr uid_t kLowestBase = 100000;

// A daemon asks for the uids of its peers after it has dropped its own: what counts is how it was started.
bool started_as_root() {
  static const bool as_root = ::geteuid() == 0;
  return as_root;
}

}  // namespace

uid_t uid_base() {
  const char* text = std::getenv("BOOTSEAL_UID_BASE");
  if (text == nullptr) return kDefaultBase;
  const std::string_view view(text);
  uid_t base = 0;
  const auto [end, problem] = std::from_chars(view.data(), view.data() + view.size(), base);
  if (problem != std::errc() || end != view.data() + view.size() || base < kLowestBase || base > kHighestBase)
    return kDefaultBase;
  return base;
}

uid_t daemon_uid(Role role) {
  if (!started_as_root()) return ::geteuid();
  switch (role) {
    case Role::vaultd:
      return uid_base() + 1;
    case Role::attestd:
      return uid_base() + 2;
    case Role::controld:
      return uid_base() + 3;
    case Role::hostd:
      break;
  }
  return 0;
}

uid_t vm_uid(unsigned slot) {
  if (!started_as_root()) return ::geteuid();
  return uid_base() + kFirstVmOffset + static_cast<uid_t>(slot);
}

}  // namespace bootseal::sandbox
