// The activity log: Microsoft.Insights/eventtypes/management/values.
#include <fmt/format.h>

#include "bootseal/model/filter.h"
#include "members.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

constexpr std::size_t kMostEvents = 5000;
constexpr std::chrono::hours kDefaultSpan{24 * 90};

const std::vector<std::string_view> kMembers = {
    "eventTimestamp", "resourceGroupName", "resourceUri", "resourceId", "resourceProvider",
    "resourceTypes",  "correlationId",     "caller",      "status",     "levels"};

class Subject final : public model::Filter::Subject {
 public:
  explicit Subject(const json::Object& event) : event_(event) {}
  [[nodiscard]] std::string member(std::string_view name) const override {
    if (name == "resourceUri" || name == "resourceId") return text_member(event_, "resourceId");
    if (name == "resourceProvider")
      return text_member(object_member(event_, "resourceProviderName"), "value");
    if (name == "resourceTypes") return text_member(object_member(event_, "resourceType"), "value");
    if (name == "status") return text_member(object_member(event_, "status"), "value");
    if (name == "levels") return text_member(event_, "level");
    return text_member(event_, name);
  }

 private:
  const json::Object& event_;
};

// The times of the filter are compared as times by the log; here they hold as they are.
ArmResult<TimePoint> time_of(const model::Filter& filter, model::Filter::Operator comparison,
                             TimePoint fallback) {
  const std::string text = filter.required("eventTimestamp", comparison);
  if (text.empty()) return fallback;
  const auto time = parse_time(text.find('T') == std::string::npos ? text + "T00:00:00Z" : text);
  if (!time) {
    return model::refuse(
        400, "BadRequest",
        fmt::format("'{}' in $filter is not a time such as 2026-01-31T12:00:00Z.", text.substr(0, 64)),
        "$filter");
  }
  return *time;
}

// The members that $select names; all of them without it.
json::Object selected(json::Object event, const std::string& select) {
  if (select.empty()) return event;
  json::Object result;
  for (const auto& [name, value] : event) {
    const std::string list = "," + model::to_lower(select) + ",";
    if (list.find("," + model::to_lower(std::string_view(name)) + ",") != std::string::npos)
      result[name] = value;
  }
  return result;
}

ArmResult<Response> list_events(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY(const model::Filter filter,
                   model::Filter::parse(request.query_value("$filter").value_or(""), kMembers));
  using Operator = model::Filter::Operator;
  const TimePoint now = service.now();
  BOOTSEAL_ARM_TRY(const TimePoint from, time_of(filter, Operator::greater_or_equal, now - kDefaultSpan));
  BOOTSEAL_ARM_TRY(const TimePoint to, time_of(filter, Operator::less_or_equal, now));
  BOOTSEAL_ARM_TRY(auto events,
                   service.activity.events(from, to, kMostEvents, [&](const json::Object& event) {
                     return filter.matches(Subject(event));
                   }));
  const std::string select = request.query_value("$select").value_or("");
  std::vector<ListItem> items;
  for (ActivityLog::Event& event : events) {
    items.push_back(
        {std::move(event.key), [event = std::move(event.body), &select] { return selected(event, select); }});
  }
  return page_of(request, items);
}

}  // namespace

void add_activity_handlers(HandlerTable& table) {
  table["ActivityLogs_List"] = ApiHandler(list_events);
}

}  // namespace bootseal::api
