// What a host says about one of its VMs (VmStatus in docs/architecture.md), and the instance view that
// clients get from it.
#pragma once

#include <optional>
#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/base/ids.h"
#include "bootseal/json/json.h"

namespace bootseal::model {

// {code, message} with the code's wire name.
struct Problem {
  std::string code;
  std::string message;
};

struct VmStatus {
  enum class Progress : std::uint8_t { running, succeeded, failed };
  struct PowerRequest {
    std::string request_id;
    Progress state = Progress::running;
    Problem error;  // when it failed
  };

  VmId vm_id;
  Epoch epoch;
  Progress provisioning = Progress::running;  // "Creating" is running
  Problem provisioning_error;                 // when it failed
  std::string power;                          // "Running", "Stopped", "Starting", "Stopping"
  std::optional<PowerRequest> power_request;
  std::string boot_outcome;  // "Booting", "Booted", "Refused", "NothingToBoot", "DidNotBoot" or empty
  json::Object raw;          // all of it

  // invalid_argument with the path of the field. Members this version does not know are kept in `raw`.
  static Result<VmStatus> parse(const json::Value& value);
};

// What the control plane itself knows for the instance view.
struct InstanceFacts {
  std::string provisioning_state;  // "Succeeded"
  std::string computer_name;
  std::string os_name;       // from the image
  bool deallocated = false;  // the last power operation was a deallocation
  bool host_answers = true;
  std::optional<TimePoint> host_silent_since;  // when it does not
  // What the VM should be has changed, and attestd and the host have not been told yet.
  bool expectation_due = false;
  std::optional<TimePoint> expectation_changed;  // the last time
  TimePoint now;
};
// `status` is nullptr when no host has said anything yet. A verdict that need not hold any more is not shown
// as it is: Unknown (HostSilent, EvidenceStale) or Pending (ExpectationChanged), with that as its only
// reason.
json::Object instance_view(const VmStatus* status, const InstanceFacts& facts);

}  // namespace bootseal::model
