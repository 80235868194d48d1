#include "bootseal/model/security_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "bootseal/model/resource_id.h"

namespace bootseal::model {
namespace {

constexpr unsigned kFirstPriority = 100;
constexpr unsigned kLastPriority = 4096;

std::string member_text(const json::Object& object, std::string_view name) {
  const json::Value* found = object.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

// The texts of a member and of its plural: "sourcePortRange" and "sourcePortRanges".
std::vector<std::string> texts_of(const json::Object& properties, const std::string& one,
                                  const std::string& many) {
  std::vector<std::string> texts;
  if (const std::string text = member_text(properties, one); !text.empty()) texts.push_back(text);
  if (const json::Value* list = properties.if_contains(many); list != nullptr && list->is_array()) {
    for (const json::Value& element : list->get_array()) {
      if (element.is_string()) texts.emplace_back(element.get_string());
    }
  }
  return texts;
}

// Service tags are words: letters, digits and dots, beginning with a letter.
bool is_tag(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && letter(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '.'; });
}

ArmStatus take_addresses(const json::Object& properties, const std::string& side, const std::string& rule,
                         std::vector<std::string>& addresses) {
  const std::string member = side + "AddressPrefix";
  addresses = texts_of(properties, member, member + "es");
  if (const json::Value* groups = properties.if_contains(side + "ApplicationSecurityGroups");
      groups != nullptr && groups->is_array() && !groups->get_array().empty()) {
    return refuse(
        400, "SecurityRuleUnsupported",
        fmt::format("Security rule '{}' names application security groups, which this site does not have. "
                    "Use address prefixes.",
                    rule),
        side + "ApplicationSecurityGroups");
  }
  if (addresses.empty()) {
    return refuse(400, "SecurityRuleParameterMissing",
                  fmt::format("Security rule '{}' has no value for '{}'.", rule, member), member);
  }
  for (const std::string& text : addresses) {
    if (text == "*" || is_tag(text) || Ipv4Prefix::parse(text)) continue;
    return refuse(400, "SecurityRuleInvalidAddressPrefix",
                  fmt::format("Security rule '{}' has invalid Address prefix. Value provided: {}", rule,
                              text.substr(0, 64)),
                  member);
  }
  return {};
}

ArmStatus take_ports(const json::Object& properties, const std::string& side, const std::string& rule,
                     std::vector<PortRange>& ports) {
  const std::string member = side + "PortRange";
  const std::vector<std::string> texts = texts_of(properties, member, member + "s");
  if (texts.empty()) {
    return refuse(400, "SecurityRuleParameterMissing",
                  fmt::format("Security rule '{}' has no value for '{}'.", rule, member), member);
  }
  for (const std::string& text : texts) {
    const auto range = PortRange::parse(text);
    if (!range) {
      return refuse(
          400, "SecurityRuleInvalidPortRange",
          fmt::format("Security rule '{}' has invalid Port range. Value provided: {}. Value should be an "
                      "integer OR integer range with '-' delimiter. Valid range 0-65535.",
                      rule, text.substr(0, 64)),
          member);
    }
    ports.push_back(*range);
  }
  return {};
}

SecurityRule default_rule(std::string name, unsigned priority, bool allow, Direction direction,
                          std::string source, std::string destination) {
  return {std::move(name),          priority,      allow,        direction, "*", {std::move(source)},
          {std::move(destination)}, {PortRange{}}, {PortRange{}}};
}

bool matches_address(const std::vector<std::string>& wanted, Ipv4Address address,
                     const AddressContext& context) {
  const bool inside = std::ranges::any_of(context.virtual_network,
                                          [&](const Ipv4Prefix& prefix) { return prefix.contains(address); });
  return std::ranges::any_of(wanted, [&](const std::string& text) {
    if (text == "*" || equal_ignoring_case(text, "Any")) return true;
    if (equal_ignoring_case(text, "VirtualNetwork")) return inside;
    if (equal_ignoring_case(text, "Internet")) return !inside;
    const auto prefix = Ipv4Prefix::parse(text);
    return prefix && prefix->contains(address);
  });
}

bool matches_port(const std::vector<PortRange>& wanted, std::uint16_t port) {
  return std::ranges::any_of(wanted, [&](const PortRange& range) { return range.contains(port); });
}

bool matches(const SecurityRule& rule, const Flow& flow, const AddressContext& context) {
  return rule.direction == flow.direction &&
         (rule.protocol == "*" || equal_ignoring_case(rule.protocol, flow.protocol)) &&
         matches_address(rule.sources, flow.source, context) &&
         matches_address(rule.destinations, flow.destination, context) &&
         matches_port(rule.source_ports, flow.source_port) &&
         matches_port(rule.destination_ports, flow.destination_port);
}

json::Array texts_json(const std::vector<std::string>& texts) {
  json::Array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

}  // namespace

Result<PortRange> PortRange::parse(std::string_view text) {
  if (text == "*") return PortRange{};
  const auto number = [](std::string_view digits) -> int {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool whole = error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
    return whole && digits.size() <= 5 && value <= 65535 ? static_cast<int>(value) : -1;
  };
  const std::size_t dash = text.find('-');
  const int first = number(text.substr(0, dash));
  const int last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
  if (first < 0 || last < first) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("'{}' is neither a port, nor a range such as 80-90, nor '*'", text.substr(0, 32)));
  }
  return PortRange{static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
}

std::string PortRange::to_string() const {
  if (is_all()) return "*";
  return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
}

ArmResult<SecurityRule> parse_security_rule(const json::Object& rule) {
  SecurityRule parsed;
  parsed.name = member_text(rule, "name");
  const json::Value* found = rule.if_contains("properties");
  if (found == nullptr || !found->is_object()) {
    return refuse(400, "SecurityRuleParameterMissing",
                  fmt::format("Security rule '{}' has no properties.", parsed.name), "properties");
  }
  const json::Object& properties = found->get_object();
  const json::Value* priority = properties.if_contains("priority");
  const std::int64_t wanted = priority != nullptr && priority->is_int64() ? priority->get_int64() : -1;
  if (wanted < kFirstPriority || wanted > kLastPriority) {
    return refuse(
        400, "SecurityRuleInvalidPriority",
        fmt::format("Security rule '{}' has invalid Priority. Value provided: {}. Allowed range {}-{}.",
                    parsed.name, wanted, kFirstPriority, kLastPriority),
        "priority");
  }
  parsed.priority = static_cast<unsigned>(wanted);
  parsed.protocol = member_text(properties, "protocol");
  parsed.allow = member_text(properties, "access") == "Allow";
  parsed.direction =
      member_text(properties, "direction") == "Inbound" ? Direction::inbound : Direction::outbound;
  BOOTSEAL_ARM_TRY_STATUS(take_addresses(properties, "source", parsed.name, parsed.sources));
  BOOTSEAL_ARM_TRY_STATUS(take_addresses(properties, "destination", parsed.name, parsed.destinations));
  BOOTSEAL_ARM_TRY_STATUS(take_ports(properties, "source", parsed.name, parsed.source_ports));
  BOOTSEAL_ARM_TRY_STATUS(take_ports(properties, "destination", parsed.name, parsed.destination_ports));
  return parsed;
}

ArmResult<std::vector<SecurityRule>> parse_security_rules(const json::Array& rules) {
  std::vector<SecurityRule> parsed;
  for (const json::Value& rule : rules) {
    BOOTSEAL_ARM_TRY(SecurityRule one, parse_security_rule(rule.get_object()));
    const auto other = std::ranges::find_if(parsed, [&](const SecurityRule& earlier) {
      return earlier.direction == one.direction && earlier.priority == one.priority;
    });
    if (other != parsed.end()) {
      return refuse(
          400, "SecurityRuleConflict",
          fmt::format("Security rule {} conflicts with rule {}. Rules cannot have the same Priority and "
                      "Direction.",
                      one.name, other->name),
          "priority");
    }
    parsed.push_back(std::move(one));
  }
  std::ranges::sort(parsed, [](const SecurityRule& a, const SecurityRule& b) {
    return std::pair(a.direction, a.priority) < std::pair(b.direction, b.priority);
  });
  return parsed;
}

const std::vector<SecurityRule>& default_security_rules() {
  static const std::vector<SecurityRule> rules = {
      default_rule("AllowVnetInBound", 65000, true, Direction::inbound, "VirtualNetwork", "VirtualNetwork"),
      default_rule("AllowAzureLoadBalancerInBound", 65001, true, Direction::inbound, "AzureLoadBalancer",
                   "*"),
      default_rule("DenyAllInBound", 65500, false, Direction::inbound, "*", "*"),
      default_rule("AllowVnetOutBound", 65000, true, Direction::outbound, "VirtualNetwork", "VirtualNetwork"),
      default_rule("AllowInternetOutBound", 65001, true, Direction::outbound, "*", "Internet"),
      default_rule("DenyAllOutBound", 65500, false, Direction::outbound, "*", "*")};
  return rules;
}

json::Object to_json(const SecurityRule& rule) {
  json::Object properties;
  properties["provisioningState"] = "Succeeded";
  properties["protocol"] = rule.protocol;
  properties["sourcePortRange"] = "*";
  properties["destinationPortRange"] = "*";
  properties["sourceAddressPrefix"] = rule.sources.front();
  properties["destinationAddressPrefix"] = rule.destinations.front();
  properties["access"] = rule.allow ? "Allow" : "Deny";
  properties["priority"] = rule.priority;
  properties["direction"] = rule.direction == Direction::inbound ? "Inbound" : "Outbound";
  for (const char* many :
       {"sourcePortRanges", "destinationPortRanges", "sourceAddressPrefixes", "destinationAddressPrefixes"}) {
    properties[many] = json::Array();
  }
  return {{"name", rule.name}, {"properties", std::move(properties)}};
}

bool allows(const std::vector<SecurityRule>& rules, const Flow& flow, const AddressContext& context) {
  const SecurityRule* first = nullptr;
  for (const std::vector<SecurityRule>* list : {&rules, &default_security_rules()}) {
    for (const SecurityRule& rule : *list) {
      if (matches(rule, flow, context) && (first == nullptr || rule.priority < first->priority))
        first = &rule;
    }
  }
  return first != nullptr && first->allow;
}

json::Object HostRule::to_json(Direction direction) const {
  json::Object object;
  object["name"] = name;
  object["priority"] = priority;
  object["access"] = allow ? "Allow" : "Deny";
  object["protocol"] = protocol;
  object[direction == Direction::inbound ? "sources" : "destinations"] = texts_json(addresses);
  json::Array list;
  for (const PortRange& range : ports) list.emplace_back(range.to_string());
  object["ports"] = std::move(list);
  return object;
}

}  // namespace bootseal::model
