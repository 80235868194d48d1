// Who there is, what they may, and what they were given to show it: principals, roles, assignments, signing
// keys and refresh tokens over the store, with the rules of lib/identity. Thread safe.
//
// Stored under identity/: principals/ID, names/NAME (makes a name unique), assignments/GUID, roles/GUID,
// signing-keys, refresh/FAMILY, used-assertions/HASH (until the assertion ends).
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <vector>

#include "bootseal/identity/access_token.h"
#include "bootseal/identity/client_assertion.h"
#include "bootseal/identity/guess_limiter.h"
#include "bootseal/identity/pending_logins.h"
#include "bootseal/identity/principal.h"
#include "bootseal/identity/refresh_token.h"
#include "bootseal/identity/roles.h"
#include "gateway.h"
#include "memory_table.h"

namespace bootseal::api {

struct StoredPrincipal {
  identity::Principal principal;
  store::Revision revision = 0;
};
using PrincipalPointer = std::shared_ptr<const StoredPrincipal>;
using AssignmentPointer = std::shared_ptr<const identity::RoleAssignment>;
using RolePointer = std::shared_ptr<const identity::RoleDefinition>;

class Identity final : public Authorizer {
 public:
  Identity(store::Store& store, const Clock& clock);

  // -- principals; nullptr = there is none --
  Result<PrincipalPointer> principal(const std::string& id);
  // By object id, app id or name, without regard to case.
  Result<PrincipalPointer> find_principal(std::string_view reference);
  Result<std::vector<PrincipalPointer>> principals();
  // A new one, with the assignments it gets in the same transaction. already_exists for a name that is taken.
  Status add_principal(const identity::Principal& principal,
                       const std::vector<identity::RoleAssignment>& assignments);
  // conflict when it changed since `revision`.
  Status change_principal(const identity::Principal& principal, store::Revision revision);
  // With its assignments and refresh tokens. conflict when it is the last owner of the site.
  Status remove_principal(const StoredPrincipal& principal);

  // -- roles --
  Result<RolePointer> role(const std::string& id);  // built-in or custom
  Result<std::vector<RolePointer>> roles();         // built-in ones first
  Status put_role(const identity::RoleDefinition& role);
  Status remove_role(const std::string& id);
  Result<AssignmentPointer> assignment(const std::string& name);
  Result<std::vector<AssignmentPointer>> assignments();
  Result<std::vector<AssignmentPointer>> assignments_of(const std::string& principal_id);
  // already_exists when there is one of that name, or one for the same principal, role and scope.
  Status add_assignment(const identity::RoleAssignment& assignment);
  // conflict when nobody but root on the server would be owner of the site without it.
  Status remove_assignment(const identity::RoleAssignment& assignment);
  // Those at `scope` (normalised) and below: what is deleted takes its assignments along.
  Status forget_scope(std::string_view scope);

  [[nodiscard]] bool may(const Caller& caller, std::string_view action, std::string_view scope) override;
  [[nodiscard]] bool may_data(const Caller& caller, std::string_view action, std::string_view scope);
  // Whether the caller has the role Owner of the whole site.
  [[nodiscard]] bool is_owner(const Caller& caller);
  // Whether any role of the caller allows the action somewhere at `scope` or below: then a list shows the
  // scope.
  [[nodiscard]] bool may_somewhere_below(const Caller& caller, std::string_view action,
                                         std::string_view scope);

  // -- tokens --
  Result<std::string> sign(const json::Object& payload);
  // As identity::KeyRing::verify.
  Result<identity::Claims> verify(std::string_view token, std::string_view tenant);
  Result<json::Object> jwks();
  // permission_denied when the assertion was used before.
  Status use_assertion(std::string_view client, const identity::Assertion& assertion);
  Result<std::string> begin_refresh(const std::string& principal_id, const std::string& client_id);
  struct RefreshUse {
    std::string principal_id;
    std::string token;  // takes the place of the one that was used
  };
  // permission_denied for a token that is not known, has ended, was used before, or is of another client.
  Result<RefreshUse> use_refresh(std::string_view token, std::string_view client_id);
  // As identity::check_secret; at most two at once, because each takes memory.
  Result<std::optional<std::string>> check_secret(const identity::Principal* principal,
                                                  std::string_view secret);

  identity::DeviceLogins device_logins;
  identity::AuthorizationCodes authorization_codes;
  identity::GuessLimiter guesses;  // by the name that is tried
  // By the address it is tried from; more free ones, because people share addresses.
  identity::GuessLimiter guesses_of_peers{{.free_attempts = 20}};

 private:
  Result<bool> allows(const std::string& principal_id, std::string_view action, std::string_view scope,
                      identity::ActionKind kind);
  Status check_owner_remains(const std::vector<AssignmentPointer>& removed);
  Status load_keys();    // guarded by keys_mutex_
  Status rotate_keys();  // guarded by keys_mutex_
  Status forget_refresh(const std::function<bool(const identity::RefreshFamily&)>& which);
  [[nodiscard]] TimePoint now() const { return clock_.now(); }

  store::Store& store_;
  const Clock& clock_;
  MemoryTable<StoredPrincipal> principals_;
  MemoryTable<identity::RoleAssignment> assignments_;
  MemoryTable<identity::RoleDefinition> roles_;
  std::mutex changes_mutex_;  // held while a rule about several records is checked and the change is written
  std::mutex keys_mutex_;
  identity::KeyRing keys_;             // guarded by keys_mutex_
  store::Revision keys_revision_ = 0;  // guarded by keys_mutex_
  std::counting_semaphore<2> hashing_{2};
};

}  // namespace bootseal::api
