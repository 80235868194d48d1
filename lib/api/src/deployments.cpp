#include "deployments.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/log/log.h"
#include "bootseal/template/unique.h"
#include "deployment_run.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kWorkers = 2;
constexpr std::size_t kHistory = 800;                 // deployments kept in one scope
constexpr std::chrono::milliseconds kLookAgain{500};  // at the latest, at what goes on
constexpr std::chrono::seconds kWatch{5};

model::ArmStatus refuse_active(const DeploymentRecord& record) {
  return model::refuse(
      409, "DeploymentActive",
      fmt::format(
          "Unable to edit or replace deployment '{}': previous deployment from '{}' is still active. Wait "
          "until it ends, or cancel it. Please see https://aka.ms/arm-deploy for usage details.",
          record.name, format_time(record.started)));
}

}  // namespace

Deployments::Deployments(Service& service) : service_(service), store_(service.database.store()) {}

Deployments::~Deployments() {
  stop();
}

void Deployments::start() {
  const auto records = store_.list({});
  if (!records) log::error("deployments.unreadable", {{"reason", records.error().describe()}});
  for (const DeploymentPointer& record : records.value_or(std::vector<DeploymentPointer>())) {
    if (!record->active()) continue;
    const std::lock_guard lock(mutex_);
    items_[record->key()].run = std::make_shared<DeploymentRun>(service_, store_, *record);
  }
  for (std::size_t i = 0; i < kWorkers; ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  threads_.emplace_back([this](const std::stop_token& stop) { watch(stop); });
}

void Deployments::stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  changed_.notify_all();
  threads_.clear();
}

void Deployments::wake(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (const auto item = items_.find(key); item != items_.end()) {
    item->second.due = {};
    item->second.woken = true;
  }
  changed_.notify_all();
}

void Deployments::wake_all() {
  const std::lock_guard lock(mutex_);
  for (auto& [key, item] : items_) {
    item.due = {};
    item.woken = true;
  }
  changed_.notify_all();
}

// Operations end by what others write: every change of one is a reason to look.
void Deployments::watch(const std::stop_token& stop) {
  store::Revision since = service_.database.store().revision().value_or(0);
  while (!stop.stop_requested()) {
    const auto changes = service_.database.store().watch("operations/", since, kWatch, stop);
    if (changes) {
      since = changes->revision;
      if (!changes->changes.empty()) wake_all();
      continue;
    }
    if (changes.error().code == ErrorCode::cancelled) return;
    since = service_.database.store().revision().value_or(since);
    wake_all();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kLookAgain, [] { return false; });
  }
}

void Deployments::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const Time now = std::chrono::steady_clock::now();
    Time next = now + std::chrono::hours(1);
    auto ready = items_.end();
    for (auto item = items_.begin(); item != items_.end(); ++item) {
      if (item->second.running) continue;
      if (item->second.due <= now && ready == items_.end()) ready = item;
      next = std::min(next, item->second.due);
    }
    if (ready == items_.end()) {
      changed_.wait_until(lock, stop, next, [&] {
        return std::ranges::any_of(items_, [](const auto& one) {
          return !one.second.running && one.second.due <= std::chrono::steady_clock::now();
        });
      });
      continue;
    }
    ready->second.running = true;
    ready->second.woken = false;
    const std::string key = ready->first;
    const std::shared_ptr<DeploymentRun> run = ready->second.run;
    lock.unlock();
    advance(key, run);
    lock.lock();
  }
}

void Deployments::advance(const std::string& key, const std::shared_ptr<DeploymentRun>& run) {
  const Result<bool> ended = run->advance();
  if (!ended)
    log::warning("deployment.interrupted", {{"deployment", key}, {"reason", ended.error().describe()}});
  {
    const std::lock_guard lock(mutex_);
    const auto item = items_.find(key);
    if (item == items_.end() || item->second.run != run) return;
    item->second.running = false;
    if (ended && *ended) {
      items_.erase(item);
    } else {
      item->second.due = item->second.woken ? Time{} : std::chrono::steady_clock::now() + kLookAgain;
    }
  }
  if (ended && *ended) {
    wake_all();  // it may be nested in another one
  } else {
    changed_.notify_all();
  }
}

model::ArmResult<std::pair<DeploymentRecord, std::unique_ptr<templates::Plan>>> Deployments::check(
    const Caller& caller, const DeploymentTarget& target, const DeploymentRequest& request,
    std::string_view text, const std::string& correlation_id) {
  DeploymentRecord record;
  record.id = target.id();
  record.scope = target.scope;
  record.name = target.name;
  record.location = request.location;
  record.tags = request.tags;
  record.run_id = Guid::random().to_string();
  record.state = "Accepted";
  record.complete = request.complete;
  record.caller = caller;
  record.started = service_.now();
  record.correlation_id = correlation_id;
  record.template_hash = templates::template_hash(request.document);
  BOOTSEAL_ARM_TRY(auto plan,
                   templates::Plan::create(plan_input(service_, target, request.document, request.parameters,
                                                      request.complete, record.started, text)));
  record.parameters = plan->shown_parameters();
  record.providers = plan->providers();
  record.dependencies = plan->dependencies();
  return std::pair{std::move(record), std::move(plan)};
}

model::ArmResult<DeploymentRecord> Deployments::begin(const Caller& caller, const DeploymentTarget& target,
                                                      const DeploymentRequest& request, std::string_view text,
                                                      const std::string& correlation_id) {
  BOOTSEAL_ARM_TRY(auto checked, check(caller, target, request, text, correlation_id));
  auto& [record, plan] = checked;
  BOOTSEAL_ARM_TRY(const DeploymentPointer existing, store_.get(record.id));
  if (existing) {
    if (existing->active()) BOOTSEAL_ARM_TRY_STATUS(refuse_active(*existing));
    record.id = existing->id;
    record.revision = existing->revision;
  } else {
    BOOTSEAL_ARM_TRY_STATUS(make_room(target.scope));
  }
  BOOTSEAL_ARM_TRY_STATUS(
      store_.put_text(DeploymentStore::Text::document, record.run_id, json::serialize(request.document)));
  BOOTSEAL_ARM_TRY_STATUS(store_.put_text(DeploymentStore::Text::parameters, record.run_id,
                                          json::serialize(plan->known_parameters())));
  Result<store::Revision> written = store_.put(record);
  if (!written) {
    const Status forgotten = store_.forget_run(record.run_id);
    if (!forgotten)
      log::warning("deployment.leftover", {{"run", record.run_id}, {"reason", forgotten.error().describe()}});
    if (written.error().code == ErrorCode::conflict) BOOTSEAL_ARM_TRY_STATUS(refuse_active(record));
    return tl::unexpected(model::to_arm_error(written.error()));
  }
  record.revision = *written;
  if (existing) {
    const Status forgotten = store_.forget_run(existing->run_id);
    if (!forgotten)
      log::warning("deployment.leftover",
                   {{"run", existing->run_id}, {"reason", forgotten.error().describe()}});
  }
  {
    const std::lock_guard lock(mutex_);
    items_[record.key()] = Item{std::make_shared<DeploymentRun>(service_, store_, record), {}, false, false};
  }
  changed_.notify_all();
  return record;
}

// The oldest give way, as on Azure.
model::ArmStatus Deployments::make_room(const std::string& scope) {
  BOOTSEAL_ARM_TRY(std::vector<DeploymentPointer> records, store_.list(scope));
  if (records.size() < kHistory) return {};
  std::ranges::sort(records, {}, [](const DeploymentPointer& record) { return record->started; });
  std::size_t excess = records.size() - kHistory + 1;
  for (const DeploymentPointer& record : records) {
    if (excess == 0) break;
    if (record->active()) continue;
    BOOTSEAL_ARM_TRY_STATUS(store_.remove(*record));
    --excess;
  }
  return {};
}

model::ArmStatus Deployments::cancel(const DeploymentRecord& record) {
  if (!record.active()) {
    return model::refuse(
        409, "DeploymentCannotBeCancelled",
        fmt::format("The deployment '{}' cannot be cancelled because it is in the state '{}'.", record.name,
                    record.state));
  }
  BOOTSEAL_ARM_TRY_STATUS(store_.ask_to_cancel(record.run_id));
  wake(record.key());
  return {};
}

model::ArmStatus Deployments::remove(const DeploymentRecord& record) {
  if (record.active()) return refuse_active(record);
  BOOTSEAL_ARM_TRY_STATUS(store_.remove(record));
  return {};
}

model::ArmResult<std::size_t> Deployments::forget_scope(const std::string& scope) {
  BOOTSEAL_ARM_TRY(const auto records, store_.list(scope));
  std::size_t active = 0;
  for (const DeploymentPointer& record : records) {
    if (!record->active()) {
      BOOTSEAL_ARM_TRY_STATUS(store_.remove(*record));
      continue;
    }
    BOOTSEAL_ARM_TRY_STATUS(cancel(*record));
    ++active;
  }
  return active;
}

}  // namespace bootseal::api
