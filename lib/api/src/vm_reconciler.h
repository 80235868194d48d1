// Brings one VM a step nearer to what should be. A step reads everything it needs, may be repeated at any
// time, and never waits for an event: it says when to look again.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/log/log.h"
#include "database.h"
#include "peers.h"
#include "status_board.h"

namespace bootseal::api {

struct Outcome {
  // again = at once; follow_up = at once, but nobody waits for it any more
  enum class Next : std::uint8_t { done, wait, retry, again, follow_up };
  Next next = Next::done;
  std::string reason;  // of wait and retry, in plain words
};

class VmReconciler {
 public:
  struct Settings {
    std::filesystem::path images;
    std::chrono::milliseconds operation_limit;
    const Clock* clock;
  };
  VmReconciler(Database& database, Peers& peers, StatusBoard& board, Settings settings)
      : database_(database), peers_(peers), board_(board), settings_(std::move(settings)) {}

  // `key` = ResourceId::key(). `last_reason` = why the step before this one did not get further.
  Outcome step(const std::string& key, const std::string& last_reason, std::stop_token stop);
  Outcome step_group(const GroupRecord& group);
  // Deletes what is left in a group without VMs: how many resources still go, or why one cannot. Before the
  // first step.
  using GroupCleaner = std::function<model::ArmResult<std::size_t>(const GroupRecord&)>;
  void set_group_cleaner(GroupCleaner cleaner) { clean_group_ = std::move(cleaner); }
  // What the host needs to know of a VM's network interfaces. Before the first step.
  using NetworkMaker = std::function<model::ArmResult<std::optional<json::Array>>(const VmRecord&)>;
  void set_network_maker(NetworkMaker maker) { make_network_ = std::move(maker); }
  // The host was away: what it has been asked is asked again.
  void forget_applied();

 private:
  Outcome keep_group(GroupRecord group, model::Operation operation, const model::ArmError& why);
  Outcome step_deletion(const VmRecord& record, const std::optional<model::Operation>& operation);
  Outcome step_attestation(const VmRecord& record, const model::Operation& operation,
                           const model::VmStatus& status, std::stop_token stop);
  Outcome evaluate(const VmRecord& record, const model::Operation& operation, const model::VmStatus& status,
                   std::stop_token stop);
  // What a VM's daemons are told: placement, expectation, assignment.
  struct Wanted {
    Placement placement;
    json::Object expectation;
    json::Object assignment;
    std::string told;      // to vaultd and attestd, as one text
    std::string assigned;  // to hostd
  };
  Result<Wanted> wanted_of(const VmRecord& record);
  // Placement, expectation and assignment, in this order, as far as they have not been made since the host
  // was last away. What starts a VM tells the first two in any case.
  Result<model::VmStatus> apply(const VmRecord& record, const std::optional<model::Operation>& operation,
                                const std::stop_token& stop);
  // The assignment alone.
  Result<model::VmStatus> assign(const VmRecord& record, const Wanted& wanted);
  Status check_still_there(const VmRecord& record);
  Status tell(const VmRecord& record, const Wanted& wanted, const std::stop_token& stop);
  Result<Placement> placement_of(const VmRecord& record);
  Outcome end(const VmRecord& record, const model::Operation& operation,
              const std::optional<model::ArmError>& error, const json::Value& output = nullptr);

  Database& database_;
  Peers& peers_;
  StatusBoard& board_;
  Settings settings_;
  GroupCleaner clean_group_;
  NetworkMaker make_network_;
  std::mutex mutex_;
  struct Applied {
    std::string told;
    std::string assigned;
  };
  std::map<VmId, Applied> applied_;     // what was told last (see Wanted); guarded by mutex_
  std::string host_id_;                 // guarded by mutex_
  log::RateLimit complaints_{0.1, 10};  // a guest that changes its state often wakes its VM as often
};

// The two documents that the other daemons get for a VM (docs/architecture.md); `network` = the Assignment's,
// nullopt for a VM that has never had one. Errors of the image folder and of a damaged record.
struct Intent {
  json::Object assignment;
  json::Object expectation;
};
Result<Intent> make_intent(const VmRecord& record, const Placement& placement,
                           const std::filesystem::path& images, std::optional<json::Array> network);

}  // namespace bootseal::api
