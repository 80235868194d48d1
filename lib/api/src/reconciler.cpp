#include "reconciler.h"

#include <algorithm>

#include "bootseal/log/log.h"

namespace bootseal::api {
namespace {

constexpr unsigned kWorkers = 4;
constexpr std::chrono::hours kOperationsKept{24};
constexpr std::chrono::hours kCleanUpEvery{1};

}  // namespace

void Reconciler::start() {
  wake_everything();
  for (unsigned i = 0; i < kWorkers; ++i)
    threads_.emplace_back([this](std::stop_token stop) { work(Urgency::usual, std::move(stop)); });
  // Steps that wait for a daemon that is silent may hold all of those up; the end of a VM waits for none.
  threads_.emplace_back([this](std::stop_token stop) { work(Urgency::urgent, std::move(stop)); });
  threads_.emplace_back([this](std::stop_token stop) { listen(std::move(stop)); });
}

void Reconciler::stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

Reconciler::Item& Reconciler::wake_item(const std::string& key) {
  Item& item = items_[key];
  item.due = std::chrono::steady_clock::now();
  item.woken = true;
  return item;
}

void Reconciler::wake(const std::string& key) {
  {
    const std::lock_guard lock(mutex_);
    wake_item(key);
  }
  changed_.notify_all();  // the thread of the urgent ones may be the one that sleeps
}

void Reconciler::preempt(const std::string& key, Urgency urgency) {
  std::stop_source step;
  {
    const std::lock_guard lock(mutex_);
    Item& item = wake_item(key);
    item.urgent = item.urgent || urgency == Urgency::urgent;
    step = item.step;
  }
  changed_.notify_all();
  step.request_stop();
}

void Reconciler::wake_everything() {
  const auto vms = database_.vms();
  const auto groups = database_.groups();
  if (!vms || !groups) {
    log::error("store.unreadable", {{"reason", (vms ? groups.error() : vms.error()).describe()}});
    return;
  }
  for (const VmRecord& record : *vms) wake(record.id.key());
  for (const GroupRecord& group : *groups) {
    if (group.deleting) wake(model::ResourceId::of_group(group.subscription, group.name).key());
  }
}

std::map<std::string, Reconciler::Item>::iterator Reconciler::next_due(Urgency lane, Time now) {
  auto best = items_.end();
  for (auto item = items_.begin(); item != items_.end(); ++item) {
    if (item->second.running || item->second.due > now) continue;
    if (lane == Urgency::urgent && !item->second.urgent) continue;
    if (best == items_.end() || item->second.due < best->second.due) best = item;
  }
  return best;
}

void Reconciler::work(Urgency lane, std::stop_token stop) {
  const auto is_due = [&] { return next_due(lane, std::chrono::steady_clock::now()) != items_.end(); };
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto found = next_due(lane, std::chrono::steady_clock::now());
    if (found == items_.end()) {
      Time earliest = Time::max();
      for (const auto& [key, item] : items_) {
        if (!item.running && (lane == Urgency::usual || item.urgent)) earliest = std::min(earliest, item.due);
      }
      if (earliest == Time::max()) {
        changed_.wait(lock, stop, is_due);
      } else {
        changed_.wait_until(lock, stop, earliest, is_due);
      }
      continue;
    }
    const std::string key = found->first;
    const std::string reason = found->second.reason;
    found->second.running = true;
    found->second.woken = false;
    // A new one for each step: what it reads from here on is what preempted the step before.
    const std::stop_source waiting = found->second.step = std::stop_source();
    lock.unlock();
    const Outcome outcome = [&] {
      const std::stop_callback also_at_the_end(stop,
                                               [&waiting] { std::stop_source(waiting).request_stop(); });
      return step(key, reason, waiting.get_token());
    }();
    lock.lock();
    Item& item = items_[key];
    item.running = false;
    const Time now = std::chrono::steady_clock::now();
    // A request that came meanwhile is as urgent as it is.
    if (!item.woken && (outcome.next == Outcome::Next::follow_up || outcome.next == Outcome::Next::done))
      item.urgent = false;
    if (item.woken || outcome.next == Outcome::Next::again || outcome.next == Outcome::Next::follow_up) {
      item.due = now;
    } else if (outcome.next == Outcome::Next::done) {
      items_.erase(key);
    } else {
      // Waiting looks again too: an event may have been lost with the connection that carried it.
      item.retry_after = outcome.next == Outcome::Next::wait
                             ? settings_.last_retry
                             : std::clamp(item.retry_after * 2, settings_.first_retry, settings_.last_retry);
      item.due = now + item.retry_after;
      item.reason = outcome.reason;
    }
    changed_.notify_all();
  }
}

Outcome Reconciler::step(const std::string& key, const std::string& reason, const std::stop_token& stop) {
  const auto id = model::ResourceId::parse(key);
  if (!id) return {};
  if (id->is_resource()) {
    const bool vm = model::equal_ignoring_case(id->full_type(), model::kVirtualMachineType);
    const Outcome outcome = vm ? steps_.step(key, reason, stop) : step_resource_(key, reason, stop);
    // A group that is being deleted waits for its VMs.
    if (outcome.next == Outcome::Next::done) {
      const auto group = database_.group(id->subscription, id->group);
      if (group && *group && (*group)->deleting)
        wake(model::ResourceId::of_group(id->subscription, id->group).key());
    }
    return outcome;
  }
  const auto group = database_.group(id->subscription, id->group);
  if (!group) return {Outcome::Next::retry, group.error().describe()};
  if (!*group || !(*group)->deleting) return {};
  const Outcome outcome = steps_.step_group(**group);
  const auto vms = database_.vms(key);
  if (vms) {
    for (const VmRecord& record : *vms) preempt(record.id.key(), Urgency::usual);
  }
  return outcome;
}

void Reconciler::take_events(const HostEvents& events) {
  for (const model::VmStatus& status : events.vms) {
    board_.put(status);
    const auto key = database_.vm_key(status.vm_id);
    if (key && *key) {
      wake(**key);
    } else if (key) {
      log::warning("vm.unknown-on-host", {{"vm", status.vm_id.to_string()}});
    }
  }
  for (const VmId& id : events.gone) {
    board_.remove(id);
    const auto key = database_.vm_key(id);
    if (key && *key) wake(**key);
  }
}

void Reconciler::listen(std::stop_token stop) {
  std::uint64_t since = 0;
  bool connected = false;
  std::chrono::milliseconds retry_after{0};
  Time clean_up{};
  while (!stop.stop_requested()) {
    // The first poll after an absence answers at once, so that the host counts as present without waiting for
    // an event.
    const auto events =
        peers_.events(since, connected ? settings_.events_wait : std::chrono::seconds(0), stop);
    if (stop.stop_requested()) return;
    if (!events) {
      if (connected || retry_after.count() == 0)
        log::warning("host.away", {{"reason", events.error().describe()}});
      connected = false;
      since = 0;
      board_.set_host_silent(settings_.clock->now());
      retry_after = std::clamp(retry_after * 2, settings_.first_retry, settings_.last_retry);
      std::unique_lock lock(mutex_);
      std::condition_variable_any pause;
      pause.wait_for(lock, stop, retry_after, [] { return false; });
      continue;
    }
    if (!connected) {
      log::info("host.answers", {{"vms", std::uint64_t{events->vms.size()}}});
      connected = true;
      retry_after = std::chrono::milliseconds(0);
      board_.clear();
      board_.set_host_answers();
      steps_.forget_applied();
      take_events(*events);
      wake_everything();
    } else {
      take_events(*events);
    }
    since = events->revision;
    if (const Time now = std::chrono::steady_clock::now(); now >= clean_up) {
      clean_up = now + kCleanUpEvery;
      if (const Status forgotten = database_.forget_operations(settings_.clock->now() - kOperationsKept);
          !forgotten) {
        log::warning("operations.not-forgotten", {{"reason", forgotten.error().describe()}});
      }
      if (const Status cleaned = clean_up_(); !cleaned)
        log::warning("activity.not-forgotten", {{"reason", cleaned.error().describe()}});
    }
  }
}

}  // namespace bootseal::api
