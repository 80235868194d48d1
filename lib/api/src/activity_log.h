// The activity log: who changed what, when, with which outcome. Kept for 90 days.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/model/arm_error.h"
#include "bootseal/net/http.h"
#include "bootseal/store/store.h"

namespace bootseal::api {

struct Caller;

class ActivityLog {
 public:
  ActivityLog(store::Store& store, const Clock& clock) : store_(store), clock_(clock) {}

  // One request that was to change something, and how it was answered. A log that cannot be written is
  // reported, and does not undo what was done.
  void add(const Caller& caller, const net::Request& request, std::string_view action,
           const net::Response& response, const model::ArmError& error);
  struct Event {
    std::string key;  // in the order of the list
    json::Object body;
  };
  // The events from `from` to `to`, the newest first, at most `limit` that `wanted` takes.
  Result<std::vector<Event>> events(TimePoint from, TimePoint to, std::size_t limit,
                                    const std::function<bool(const json::Object&)>& wanted);
  // Drops what is older than is kept, a few hundred at a time.
  Status forget_old();

 private:
  store::Store& store_;
  const Clock& clock_;
};

}  // namespace bootseal::api
