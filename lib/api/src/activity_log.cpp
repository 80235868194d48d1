#include "activity_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"
#include "gateway.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kPrefix = "activity/";
constexpr std::chrono::hours kKept{24 * 90};
constexpr std::size_t kForgottenAtOnce = 100;
constexpr std::size_t kPage = 500;

json::Object both(std::string_view value, std::string_view shown) {
  json::Object object;
  object["value"] = value;
  object["localizedValue"] = shown;
  return object;
}

json::Object both(std::string_view value) {
  return both(value, value);
}

std::string_view status_of(int http_status) {
  if (http_status >= 400) return "Failed";
  return http_status == 202 ? "Accepted" : "Succeeded";
}

// Keys are in the order of time: microseconds of the Unix epoch, 20 digits.
std::string key_of(TimePoint time) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  return fmt::format("{}{:020}", kPrefix, micros);
}

// The same with every digit turned round, so that later ones come first.
std::string newest_first(std::string key) {
  for (char& c : key) {
    if (c >= '0' && c <= '9') c = static_cast<char>('0' + ('9' - c));
  }
  return key;
}

}  // namespace

void ActivityLog::add(const Caller& caller, const net::Request& request, std::string_view action,
                      const net::Response& response, const model::ArmError& error) {
  const TimePoint now = clock_.now();
  const std::string scope = model::scope_of_path(request.path);
  const auto id = model::ResourceId::parse(scope);
  const std::string event = Guid::random().to_string();
  json::Object object;
  object["eventDataId"] = event;
  object["caller"] = caller.name;
  object["claims"] = json::Object{{"oid", caller.principal_id}, {"name", caller.name}};
  object["correlationId"] =
      request.header("x-ms-correlation-request-id").value_or(request.id.empty() ? event : request.id);
  object["operationId"] = request.id.empty() ? event : request.id;
  object["eventName"] = both("EndRequest", "End request");
  object["category"] = both("Administrative");
  object["level"] = response.status >= 400 ? "Error" : "Informational";
  object["operationName"] = both(action);
  object["status"] = both(status_of(response.status));
  object["subStatus"] = both(std::to_string(response.status));
  object["resourceId"] = scope;
  if (id) {
    object["subscriptionId"] = id->subscription;
    object["resourceGroupName"] = id->group;
    object["resourceProviderName"] = both(id->provider);
    object["resourceType"] = both(id->full_type());
    object["id"] = fmt::format("{}/events/{}/ticks/{}", scope, event, now.time_since_epoch().count());
  }
  json::Object properties{{"httpMethod", request.method}, {"statusCode", std::to_string(response.status)}};
  if (!error.code.empty()) properties["statusMessage"] = json::serialize(error.to_body());
  object["properties"] = std::move(properties);
  object["eventTimestamp"] = format_time(now);
  object["submissionTimestamp"] = format_time(now);
  const auto written =
      store_.put(fmt::format("{}-{}", key_of(now), event.substr(0, 8)), json::serialize(object));
  if (!written)
    log::error("activity.not-written", {{"reason", written.error().describe()}, {"event", event}});
}

Result<std::vector<ActivityLog::Event>> ActivityLog::events(
    TimePoint from, TimePoint to, std::size_t limit, const std::function<bool(const json::Object&)>& wanted) {
  std::vector<Event> found;
  std::string after = key_of(from);
  const std::string end = key_of(to) + "~";
  for (bool more = true; more;) {
    BOOTSEAL_TRY(const store::Page page, store_.list(kPrefix, kPage, after));
    more = page.more;
    for (const store::Entry& entry : page.entries) {
      after = entry.key;
      if (entry.key > end) {
        more = false;
        break;
      }
      BOOTSEAL_TRY(json::Value event, json::parse(entry.value));
      if (event.is_object() && wanted(event.get_object()))
        found.push_back({newest_first(entry.key), std::move(event.get_object())});
    }
  }
  std::reverse(found.begin(), found.end());
  if (found.size() > limit) found.resize(limit);
  return found;
}

Status ActivityLog::forget_old() {
  const std::string until = key_of(clock_.now() - kKept);
  BOOTSEAL_TRY(const store::Page page, store_.list(kPrefix, kForgottenAtOnce));
  std::vector<store::Operation> deletions;
  for (const store::Entry& entry : page.entries) {
    if (entry.key < until) deletions.emplace_back(store::Delete{entry.key});
  }
  if (deletions.empty()) return {};
  BOOTSEAL_TRY_STATUS(store_.transact({}, deletions));
  return {};
}

}  // namespace bootseal::api
