#include "service.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "bootseal/model/virtual_machine.h"
#include "changes.h"
#include "resource_changes.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kOperationApiVersion = "2022-08-01";
constexpr std::size_t kPageSize = 1000;

std::string percent_encode(std::string_view text, std::string_view kept) {
  std::string result;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       kept.find(c) != std::string_view::npos;
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == ':' || c == '[' || c == ']';
}

// What follows the item with the key that the token holds.
std::string key_of_token(const net::Request& request) {
  const auto token = request.query_value("$skiptoken");
  if (!token) return {};
  const auto bytes = from_base64url(*token);
  return bytes ? std::string(as_text(*bytes)) : std::string();
}

std::string next_link(const net::Request& request, const std::string& last_key) {
  std::string link = base_url(request) + percent_encode(request.path, "/");
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    if (model::equal_ignoring_case(name, "$skiptoken")) continue;
    link += separator + percent_encode(name, "$") + "=" + percent_encode(value, "");
    separator = '&';
  }
  return link + separator + "$skiptoken=" + to_base64url(as_bytes(last_key));
}

}  // namespace

bool names_tag(const std::string& header, const std::string& etag) {
  if (header == "*") return true;
  std::string_view rest = header;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    std::string_view one = rest.substr(0, comma);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (one == etag) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

net::Response arm_response(const model::ArmError& error) {
  return net::Response::json(error.status, error.to_body());
}

std::string base_url(const net::Request& request) {
  const std::string host = request.header("Host").value_or("");
  const bool usable =
      !host.empty() && host.size() <= 255 && std::all_of(host.begin(), host.end(), is_host_character);
  return fmt::format("{}://{}", request.peer.kind == net::Peer::Kind::unix_process ? "http" : "https",
                     usable ? host : "localhost");
}

model::ArmStatus check_subscription(const Service& service, const net::Request& request) {
  const std::string& asked = request.parameter("subscriptionId");
  if (model::equal_ignoring_case(asked, service.site.subscription)) return {};
  return model::refuse(
      404, "SubscriptionNotFound",
      fmt::format("The subscription '{}' could not be found. The subscription of this site is '{}'.",
                  asked.substr(0, 64), service.site.subscription));
}

model::ArmStatus check_location(std::string_view location, std::string_view full_type) {
  if (model::equal_ignoring_case(location, kSiteLocation)) return {};
  return model::refuse(
      400, "LocationNotAvailableForResourceType",
      fmt::format("The provided location '{}' is not available for resource type '{}'. List of "
                  "available regions for the resource type is '{}'.",
                  location.substr(0, 64), full_type, kSiteLocation),
      "location");
}

net::Response page_of(const net::Request& request, const std::vector<ListItem>& items) {
  std::size_t size = kPageSize;
  if (const auto top = request.query_value("$top")) {
    std::size_t wanted = 0;
    const auto [end, error] = std::from_chars(top->data(), top->data() + top->size(), wanted);
    if (error != std::errc() || end != top->data() + top->size() || wanted == 0) {
      return arm_response(
          {400,
           "InvalidParameter",
           fmt::format("The value '{}' of $top is not a whole number from 1 on.", top->substr(0, 32)),
           "$top",
           {}});
    }
    size = std::min(size, wanted);
  }
  const std::string after = key_of_token(request);
  auto item = std::upper_bound(items.begin(), items.end(), after,
                               [](const std::string& key, const ListItem& one) { return key < one.key; });
  json::Array values;
  for (; item != items.end() && values.size() < size; ++item) values.emplace_back(item->make());
  json::Object answer;
  answer["value"] = std::move(values);
  if (item != items.end()) answer["nextLink"] = next_link(request, std::prev(item)->key);
  return net::Response::json(200, answer);
}

model::ArmStatus check_extended(Service& service, const model::ResourceId& id) {
  const auto extended = model::ResourceId::parse(id.extended);
  BOOTSEAL_CHECK(extended.has_value());
  if (model::equal_ignoring_case(extended->full_type(), model::kVirtualMachineType)) {
    BOOTSEAL_ARM_TRY(const auto vm, service.database.vm(extended->key()));
    if (vm) return {};
  } else {
    model::ResourceId outermost = *extended;
    while (true) {
      BOOTSEAL_ARM_TRY(const auto found, service.resources.get(outermost.key()));
      if (found) return {};
      if (outermost.parents.empty()) break;
      outermost = model::ResourceId::parse(outermost.parent()).value();
    }
  }
  return tl::unexpected(resource_not_found(*extended));
}

model::ArmStatus check_name(std::string_view what, const std::string& name) {
  if (is_valid_resource_name(name)) return {};
  return model::refuse(400, "InvalidResourceName",
                       fmt::format("The {} name '{}' is invalid: wanted 1 to 64 letters, digits, '.', '_' "
                                   "and '-', beginning and ending with a letter or "
                                   "a digit.",
                                   what, name.substr(0, 80)),
                       "name");
}

model::ArmResult<GroupRecord> find_group(Service& service, const net::Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& name = request.parameter("resourceGroupName");
  BOOTSEAL_ARM_TRY_STATUS(check_name("resource group", name));
  BOOTSEAL_ARM_TRY(auto group, service.database.group(service.site.subscription, name));
  if (!group)
    return model::refuse(404, "ResourceGroupNotFound",
                         fmt::format("Resource group '{}' could not be found.", name));
  return *std::move(group);
}

model::ArmResult<model::ResourceId> vm_id_of(const Service& service, const net::Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& group = request.parameter("resourceGroupName");
  const std::string& name = request.parameter("vmName");
  BOOTSEAL_ARM_TRY_STATUS(check_name("resource group", group));
  BOOTSEAL_ARM_TRY_STATUS(check_name("virtual machine", name));
  return model::ResourceId::of_virtual_machine(service.site.subscription, group, name);
}

model::ArmResult<VmRecord> find_vm(Service& service, const net::Request& request) {
  BOOTSEAL_ARM_TRY(const model::ResourceId id, vm_id_of(service, request));
  BOOTSEAL_ARM_TRY_STATUS(find_group(service, request));
  BOOTSEAL_ARM_TRY(auto record, service.database.vm(id.key()));
  if (!record) {
    return model::refuse(404, "ResourceNotFound",
                         fmt::format("The Resource '{}/{}' under resource group '{}' was not found.",
                                     model::kVirtualMachineType, id.name, id.group));
  }
  return *std::move(record);
}

model::ArmStatus check_preconditions(const net::Request& request, const VmRecord* record) {
  const auto failed = [](std::string message) {
    return model::refuse(412, "PreconditionFailed", std::move(message));
  };
  if (const auto match = request.header("If-Match")) {
    if (record == nullptr)
      return failed("The condition If-Match does not hold: the virtual machine does not exist.");
    if (!names_tag(*match, record->etag())) {
      return failed(
          fmt::format("The condition If-Match does not hold: the virtual machine was changed by somebody "
                      "else (its ETag is now {}). Get it again.",
                      record->etag()));
    }
  }
  if (const auto none_match = request.header("If-None-Match");
      none_match && record != nullptr && names_tag(*none_match, record->etag())) {
    return failed(fmt::format("The virtual machine '{}' exists already.", record->id.name));
  }
  return {};
}

json::Object vm_instance_view(Service& service, const VmRecord& record) {
  const auto status = service.board.get(record.vm_id);
  const auto spec = model::spec_of(record.desired);
  model::InstanceFacts facts;
  facts.provisioning_state = record.provisioning_state;
  facts.computer_name = spec ? spec->computer_name : record.id.name;
  facts.os_name = record.os_name;
  facts.deallocated = record.deallocated;
  facts.host_answers = service.board.host_answers();
  facts.host_silent_since = service.board.host_silent_since();
  facts.expectation_due = record.expectation_due;
  facts.expectation_changed = record.expectation_changed;
  facts.now = service.now();
  return model::instance_view(status ? &*status : nullptr, facts);
}

json::Object vm_answer(Service& service, const VmRecord& record, bool with_instance_view) {
  model::VmFacts facts;
  facts.id = record.id;
  facts.vm_id = record.vm_id;
  facts.time_created = record.time_created;
  facts.provisioning_state = record.provisioning_state;
  facts.etag = record.etag();
  facts.image_version = record.image_version;
  json::Object answer = model::resource_json(record.desired, facts);
  if (json::Value* identity = answer.if_contains("identity"); identity != nullptr && identity->is_object()) {
    identity->get_object()["principalId"] = record.vm_id.to_string();
    identity->get_object()["tenantId"] = service.site.tenant;
  }
  if (with_instance_view)
    answer["properties"].get_object()["instanceView"] = vm_instance_view(service, record);
  return answer;
}

void add_operation_headers(const Service& service, const net::Request& request,
                           const std::string& operation_id, net::Response& response,
                           std::string_view provider) {
  const std::string place = fmt::format("{}/subscriptions/{}/providers/{}/locations/{}", base_url(request),
                                        service.site.subscription, provider, model::kLocation);
  const std::string version = request.query_value("api-version").value_or(std::string(kOperationApiVersion));
  response.headers.emplace_back("Azure-AsyncOperation",
                                fmt::format("{}/operations/{}?api-version={}", place, operation_id, version));
  response.headers.emplace_back(
      "Location", fmt::format("{}/operationResults/{}?api-version={}", place, operation_id, version));
  response.headers.emplace_back("Retry-After", "1");
}

model::ArmResult<std::optional<model::Operation>> current_operation(Service& service,
                                                                    const VmRecord& record) {
  if (record.operation_id.empty()) return std::optional<model::Operation>();
  BOOTSEAL_ARM_TRY(auto operation, service.database.operation(record.operation_id));
  if (operation && operation->status != model::OperationStatus::in_progress) operation.reset();
  return operation;
}

model::ArmResult<std::string> begin(Service& service, VmRecord record, model::OperationKind kind) {
  BOOTSEAL_ARM_TRY(const auto current, current_operation(service, record));
  if (current && current->kind == kind) return current->id;  // clients repeat what they get no answer to
  if (record.deleting && kind != model::OperationKind::remove) {
    return model::refuse(409, "OperationNotAllowed",
                         fmt::format("The virtual machine '{}' is being deleted.", record.id.name));
  }
  if (current && !may_preempt(kind, current->kind)) {
    return model::refuse(
        409, "OperationNotAllowed",
        fmt::format(
            "Another operation ({}) is going on for the virtual machine '{}'. Try again when it has ended.",
            model::to_string(current->kind), record.id.name));
  }
  const Change change = begin_operation(std::move(record), current, kind, service.now());
  const Status stored = service.database.put_vm(change.record, change.operations);
  if (!stored && stored.error().code == ErrorCode::conflict) {
    return model::refuse(409, "Conflict",
                         fmt::format("The virtual machine '{}' was changed at the same moment. Try again.",
                                     change.record.id.name));
  }
  BOOTSEAL_ARM_TRY_STATUS(stored);
  service.reconciler.preempt(change.record.id.key(),
                             ends_vm(kind) ? Reconciler::Urgency::urgent : Reconciler::Urgency::usual);
  return change.record.operation_id;
}

}  // namespace bootseal::api
