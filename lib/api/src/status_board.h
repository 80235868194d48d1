// What the host said last about each VM, in memory: it is asked again after a restart. Thread safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include "bootseal/base/clock.h"
#include "bootseal/json/json.h"
#include "bootseal/model/vm_status.h"

namespace bootseal::api {

class StatusBoard {
 public:
  // An answer that is older than what is here already (they cross on the way) is dropped.
  void put(model::VmStatus status) {
    const std::lock_guard lock(mutex_);
    const VmId id = status.vm_id;
    const auto found = statuses_.find(id);
    if (found != statuses_.end() && revision_of(status) < revision_of(found->second)) return;
    statuses_.insert_or_assign(id, std::move(status));
  }
  // Before the statuses of a host that was away: it may count anew.
  void clear() {
    const std::lock_guard lock(mutex_);
    statuses_.clear();
  }
  void remove(const VmId& id) {
    const std::lock_guard lock(mutex_);
    statuses_.erase(id);
  }
  [[nodiscard]] std::optional<model::VmStatus> get(const VmId& id) const {
    const std::lock_guard lock(mutex_);
    const auto found = statuses_.find(id);
    return found == statuses_.end() ? std::nullopt : std::optional(found->second);
  }
  void set_host_answers() {
    const std::lock_guard lock(mutex_);
    host_answers_ = true;
    silent_since_.reset();
  }
  // `now`: what this silence began with is kept while it lasts.
  void set_host_silent(TimePoint now) {
    const std::lock_guard lock(mutex_);
    host_answers_ = false;
    if (!silent_since_) silent_since_ = now;
  }
  // nullopt while the host answers, and before it was asked.
  [[nodiscard]] std::optional<TimePoint> host_silent_since() const {
    const std::lock_guard lock(mutex_);
    return silent_since_;
  }
  [[nodiscard]] bool host_answers() const {
    const std::lock_guard lock(mutex_);
    return host_answers_;
  }

 private:
  static std::uint64_t revision_of(const model::VmStatus& status) {
    const json::Value* value = status.raw.if_contains("revision");
    if (value == nullptr) return 0;
    if (value->is_uint64()) return value->get_uint64();
    return value->is_int64() && value->get_int64() > 0 ? static_cast<std::uint64_t>(value->get_int64()) : 0;
  }

  mutable std::mutex mutex_;
  std::map<VmId, model::VmStatus> statuses_;
  bool host_answers_ = false;
  std::optional<TimePoint> silent_since_;
};

}  // namespace bootseal::api
