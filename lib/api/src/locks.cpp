#include "locks.h"

#include <fmt/format.h>

#include "bootseal/model/resource_id.h"
#include "service.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kLockType = "Microsoft.Authorization/locks";

bool is_read_only(const ResourceRecord& lock) {
  const json::Value* level = lock.properties().if_contains("level");
  return level != nullptr && level->is_string() && level->get_string() == "ReadOnly";
}

}  // namespace

model::ArmStatus check_locks(Service& service, std::string_view method, std::string_view action,
                             std::string_view scope) {
  if (method == "GET" || method == "HEAD") return {};
  if (model::equal_ignoring_case(action.substr(0, kLockType.size()), kLockType)) return {};
  BOOTSEAL_ARM_TRY(const auto locks, service.resources.of_type(kLockType));
  const bool deletes = method == "DELETE";
  for (const auto& lock : locks) {
    const std::string locked = lock->id.scope();
    const bool covers = model::is_within(scope, locked) || (deletes && model::is_within(locked, scope));
    if (!covers || (!deletes && !is_read_only(*lock))) continue;
    return model::refuse(
        409, "ScopeLocked",
        fmt::format("The scope '{}' cannot perform {} operation because following scope(s) are "
                    "locked: '{}'. Please remove the lock and try again.",
                    scope, deletes ? "delete" : "write", locked));
  }
  return {};
}

}  // namespace bootseal::api
