#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "bootseal/model/address.h"
#include "bootseal/model/security_rules.h"

namespace bootseal::model {
namespace {

using ::testing::ElementsAre;

Ipv4Prefix prefix(std::string_view text) {
  return Ipv4Prefix::parse(text).value();
}
Ipv4Address address(std::string_view text) {
  return Ipv4Address::parse(text).value();
}

json::Object rule(std::string name, int priority, std::string access, std::string port,
                  std::string source = "*", std::string direction = "Inbound", std::string protocol = "Tcp") {
  return {{"name", name},
          {"properties",
           {{"priority", priority},
            {"access", access},
            {"direction", direction},
            {"protocol", protocol},
            {"sourceAddressPrefix", source},
            {"sourcePortRange", "*"},
            {"destinationAddressPrefix", "*"},
            {"destinationPortRange", port}}}};
}

std::vector<SecurityRule> rules(std::initializer_list<json::Object> list) {
  json::Array array;
  for (const json::Object& one : list) array.emplace_back(one);
  const auto parsed = parse_security_rules(array);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed.value_or(std::vector<SecurityRule>());
}

const AddressContext kContext{{{{0x0a000000}, 16}}};  // 10.0.0.0/16

Flow from(std::string_view source, std::uint16_t port, std::string_view protocol = "Tcp") {
  return {Direction::inbound, protocol, address(source), address("10.0.0.4"), 40000, port};
}

TEST(Ipv4Prefix, ParsesOnlyWhatIsOne) {
  EXPECT_EQ(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
  EXPECT_EQ(prefix("10.1.2.3").length, 32U);
  EXPECT_EQ(prefix("0.0.0.0/0").last().to_string(), "255.255.255.255");
  for (const char* text : {"", "10", "10.0.0", "10.0.0.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.0/33",
                           "10.0.0.0/", "10.0.0.0/-1", " 10.0.0.0/8", "10.0.0.0/8 ", "10..0.0/8", "::/0"}) {
    EXPECT_FALSE(Ipv4Prefix::parse(text)) << text;
  }
}

TEST(Ipv4Prefix, ContainsAndOverlapsAsRangesOfNumbersDo) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const auto make = [&] {
      const auto length = static_cast<unsigned>(random() % 9 + 24);
      return prefix(Ipv4Address{static_cast<std::uint32_t>(0x0a000000 + random() % 1024)}.to_string() + "/" +
                    std::to_string(length));
    };
    const Ipv4Prefix a = make(), b = make();
    EXPECT_EQ(a.overlaps(b), a.first() <= b.last() && b.first() <= a.last());
    EXPECT_EQ(a.contains(b), a.first() <= b.first() && b.last() <= a.last());
    EXPECT_EQ(a.last().value - a.first().value + 1, std::uint64_t{1} << (32 - a.length));
  }
}

TEST(Subnet, KeepsItsFirstFourAddressesAndItsLast) {
  const Ipv4Prefix subnet = prefix("10.0.1.0/29");
  std::vector<std::string> usable;
  for (std::uint32_t i = 0; i < 8; ++i) {
    const Ipv4Address one{subnet.first().value + i};
    if (!is_reserved_in_subnet(subnet, one)) usable.push_back(one.to_string());
  }
  EXPECT_THAT(usable, ElementsAre("10.0.1.4", "10.0.1.5", "10.0.1.6"));
}

TEST(SecurityRules, WithoutRulesOnlyTheNetworkItselfComesInAndEverythingGoesOut) {
  EXPECT_TRUE(allows({}, from("10.0.3.1", 22), kContext));
  EXPECT_FALSE(allows({}, from("203.0.113.1", 22), kContext));
  Flow out{Direction::outbound, "Udp", address("10.0.0.4"), address("203.0.113.1"), 40000, 53};
  EXPECT_TRUE(allows({}, out, kContext));
}

TEST(SecurityRules, TheFirstMatchByPriorityDecides) {
  const auto group =
      rules({rule("allow", 300, "Allow", "20-30"), rule("deny", 200, "Deny", "22", "203.0.113.0/24"),
             rule("first", 100, "Allow", "22", "203.0.113.7")});
  EXPECT_TRUE(allows(group, from("203.0.113.7", 22), kContext));
  EXPECT_FALSE(allows(group, from("203.0.113.8", 22), kContext));
  EXPECT_TRUE(allows(group, from("203.0.113.8", 23), kContext));
  EXPECT_TRUE(allows(group, from("198.51.100.1", 22), kContext));
  EXPECT_FALSE(allows(group, from("198.51.100.1", 31), kContext));
  EXPECT_FALSE(allows(group, from("198.51.100.1", 22, "Udp"), kContext));
}

TEST(SecurityRules, TagsStandForAddresses) {
  const auto internet =
      rules({rule("web", 100, "Allow", "80", "Internet"), rule("own", 110, "Deny", "81", "VirtualNetwork"),
             rule("azure", 120, "Allow", "82", "AzureCloud")});
  EXPECT_TRUE(allows(internet, from("203.0.113.1", 80), kContext));
  EXPECT_FALSE(allows(internet, from("10.0.3.1", 81), kContext));
  EXPECT_FALSE(allows(internet, from("203.0.113.1", 82), kContext));
}

TEST(SecurityRules, AreRefusedWithAzuresCodes) {
  const auto code = [](json::Array list) {
    const auto parsed = parse_security_rules(list);
    return parsed ? std::string("taken") : parsed.error().code;
  };
  EXPECT_EQ(code({rule("a", 100, "Allow", "22"), rule("b", 100, "Deny", "23")}), "SecurityRuleConflict");
  EXPECT_EQ(code({rule("a", 100, "Allow", "22"), rule("b", 100, "Deny", "23", "*", "Outbound")}), "taken");
  EXPECT_EQ(code({rule("a", 99, "Allow", "22")}), "SecurityRuleInvalidPriority");
  EXPECT_EQ(code({rule("a", 4097, "Allow", "22")}), "SecurityRuleInvalidPriority");
  for (const char* port : {"65536", "30-20", "ssh", "-1", "22,23", "1-"})
    EXPECT_EQ(code({rule("a", 100, "Allow", port)}), "SecurityRuleInvalidPortRange") << port;
  for (const char* source : {"10.0.0.0/33", "10.0.0", "a b"})
    EXPECT_EQ(code({rule("a", 100, "Allow", "22", source)}), "SecurityRuleInvalidAddressPrefix") << source;
  json::Object without = rule("a", 100, "Allow", "22");
  without["properties"].get_object().erase("destinationPortRange");
  EXPECT_EQ(code({without}), "SecurityRuleParameterMissing");
}

// The list for the host decides as the groups themselves do, for every flow.
TEST(HostRules, DecideAsTheGroupsTheyAreMadeOf) {
  std::mt19937 random(11);
  const std::vector<std::string> sources = {"*",           "Internet",    "VirtualNetwork", "203.0.113.0/25",
                                            "10.0.2.0/24", "203.0.113.9", "AzureCloud"};
  const std::vector<std::string> ports = {"*", "22", "20-25", "80", "24-90"};
  const std::vector<std::string> protocols = {"*", "Tcp", "Udp"};
  const std::vector<std::string> peers = {"203.0.113.9", "203.0.113.200", "10.0.2.7", "10.0.9.9",
                                          "198.51.100.3"};
  const auto pick = [&](const auto& list) { return list[random() % list.size()]; };
  const auto make = [&] {
    json::Array list;
    for (int i = 0; i < 5; ++i) {
      list.emplace_back(rule("r" + std::to_string(i), 100 + i, random() % 2 == 0 ? "Allow" : "Deny",
                             pick(ports), pick(sources), "Inbound", pick(protocols)));
    }
    return parse_security_rules(list).value();
  };
  for (int round = 0; round < 200; ++round) {
    const std::vector<std::vector<SecurityRule>> groups = {make(), make()};
    const auto host = host_rules(groups, Direction::inbound, address("10.0.0.4"), kContext);
    for (const std::string& peer : peers) {
      for (const std::uint16_t port : std::vector<std::uint16_t>{19, 22, 24, 80, 90, 443}) {
        for (const char* protocol : {"Tcp", "Udp"}) {
          const Flow flow = from(peer, port, protocol);
          const bool wanted = allows(groups[0], flow, kContext) && allows(groups[1], flow, kContext);
          const auto first = std::find_if(host.begin(), host.end(), [&](const HostRule& one) {
            const auto has_peer = [&](const std::string& text) {
              return text == "*" || prefix(text).contains(flow.source);
            };
            return (one.protocol == "*" || one.protocol == protocol) &&
                   std::any_of(one.addresses.begin(), one.addresses.end(), has_peer) &&
                   std::any_of(one.ports.begin(), one.ports.end(),
                               [&](PortRange range) { return range.contains(port); });
          });
          ASSERT_NE(first, host.end()) << "nothing matches " << peer << ":" << port;
          ASSERT_EQ(first->allow, wanted) << peer << ":" << port << " " << protocol << " by " << first->name;
        }
      }
    }
  }
}

TEST(HostRules, SayWhichPortsAreOpen) {
  const auto group =
      rules({rule("ssh", 100, "Allow", "22"), rule("range", 110, "Allow", "80-90"),
             rule("hole", 105, "Deny", "85"), rule("some", 120, "Allow", "443", "203.0.113.0/24"),
             rule("dns", 130, "Allow", "53", "*", "Inbound", "Udp")});
  const auto host = host_rules({group}, Direction::inbound, address("10.0.0.4"), {});
  std::vector<std::string> open;
  for (const PortRange& range : allowed_inbound_ports(host, "Tcp")) open.push_back(range.to_string());
  EXPECT_THAT(open, ElementsAre("22", "80-84", "86-90", "443"));
  EXPECT_EQ(allowed_inbound_ports(host, "Udp"), std::vector<PortRange>({PortRange{53, 53}}));
  EXPECT_EQ(allowed_inbound_ports(host_rules({}, Direction::inbound, address("10.0.0.4"), {}), "Tcp"),
            std::vector<PortRange>({PortRange{}}));
}

TEST(HostRules, LeaveOutRulesForOtherAddresses) {
  json::Object other = rule("other", 100, "Allow", "22");
  other["properties"].get_object()["destinationAddressPrefix"] = "10.0.0.5";
  const auto host = host_rules({rules({other})}, Direction::inbound, address("10.0.0.4"), {});
  EXPECT_TRUE(allowed_inbound_ports(host, "Tcp").empty());
}

}  // namespace
}  // namespace bootseal::model
