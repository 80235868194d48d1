#include "bootseal/netd/interface.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "interface_fixture.h"

namespace bootseal::netd::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Ipv4Address address(std::string_view text) {
  return Ipv4Address::parse(text).value();
}

// The fixture with one text replaced.
Result<Interface> changed(std::string_view from, std::string_view to) {
  std::string text(kInterface);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return read_interface(text.replace(at, from.size(), to));
}

TEST(Interface, SurvivesARoundTrip) {
  const Interface interface = test_interface();
  EXPECT_EQ(interface.mac.to_string(), "00:0d:3a:01:02:03");
  const std::string text = json::serialize(to_json(interface));
  EXPECT_EQ(json::serialize(to_json(read_interface(text).value())), text);
  EXPECT_THAT(text, HasSubstr(R"("publicAddress":"127.64.0.5")"));
}

TEST(Interface, RefusesWhatCannotBeMeant) {
  const std::vector<std::pair<std::string_view, std::string_view>> wrong = {
      {"\"10.0.0.4\"", "\"10.0.1.4\""},
      {"\"10.0.0.4\"", "\"10.0.0.1\""},
      {"\"10.0.0.4\"", "\"10.0.0.255\""},
      {"10.0.0.0/24", "10.0.0.0/31"},
      {"\"Tcp\"", "\"Esp\""},
      {"\"Allow\"", "\"allow\""},
      {"[\"22\"]", "[\"22-21\"]"},
      {"[\"22\"]", "[\"65536\"]"},
      {"[\"22\"]", "[\"ssh\"]"},
      {"\"primary\"", "\"primry\""},
      {"203.0.113.0/24", "Internet"},
      {"00-0D", "01-0D"},
      {"\"priority\": 300", "\"rank\": 1"}};
  for (const auto& [from, to] : wrong) {
    const Result<Interface> interface = changed(from, to);
    ASSERT_FALSE(interface) << to;
    EXPECT_EQ(interface.error().code, ErrorCode::invalid_argument) << to;
  }
}

TEST(Rules, TheSmallestPriorityThatFitsDecides) {
  const Interface interface = test_interface();
  EXPECT_TRUE(inbound_allowed(interface, Protocol::tcp, address("198.51.100.1"), 22));
  EXPECT_FALSE(inbound_allowed(interface, Protocol::tcp, address("203.0.113.9"), 22));
  EXPECT_FALSE(inbound_allowed(interface, Protocol::udp, address("198.51.100.1"), 22));
  EXPECT_TRUE(inbound_allowed(interface, Protocol::udp, address("198.51.100.1"), 81));
  EXPECT_FALSE(inbound_allowed(interface, Protocol::tcp, address("198.51.101.1"), 80));
  EXPECT_TRUE(inbound_allowed(interface, Protocol::icmp, address("10.0.7.7"), 0));
  // The order in the list says nothing.
  const Interface reversed = changed("\"priority\": 200", "\"priority\": 400").value();
  EXPECT_TRUE(inbound_allowed(reversed, Protocol::tcp, address("203.0.113.9"), 22));
}

TEST(Rules, WithoutAFittingRuleNothingComesInAndEverythingGoesOut) {
  Interface interface = test_interface();
  EXPECT_FALSE(outbound_allowed(interface, Protocol::tcp, address("198.51.100.1"), 25));
  EXPECT_TRUE(outbound_allowed(interface, Protocol::udp, address("198.51.100.1"), 25));
  EXPECT_FALSE(outbound_allowed(interface, Protocol::icmp, address("192.0.2.1"), 0));
  interface.inbound.clear();
  interface.outbound.clear();
  EXPECT_FALSE(inbound_allowed(interface, Protocol::tcp, address("198.51.100.1"), 22));
  EXPECT_TRUE(outbound_allowed(interface, Protocol::tcp, address("198.51.100.1"), 25));
}

TEST(Openings, AreThePortsThatSomebodyMayReach) {
  const OpeningPlan plan = plan_openings(test_interface());
  EXPECT_THAT(plan.openings,
              ElementsAre(Opening{Protocol::tcp, 22}, Opening{Protocol::tcp, 80}, Opening{Protocol::tcp, 81},
                          Opening{Protocol::udp, 80}, Opening{Protocol::udp, 81}));
  // Azure's own rule about the virtual network is nobody's mistake.
  EXPECT_TRUE(plan.problems.empty()) << plan.problems[0];
}

TEST(Openings, NeedAPublicAddressAndNoDenialToAllBeforeThem) {
  Interface interface = test_interface();
  interface.public_address.reset();
  EXPECT_TRUE(plan_openings(interface).openings.empty());
  const Interface closed = changed("\"priority\": 65500", "\"priority\": 150").value();
  EXPECT_TRUE(plan_openings(closed).openings.empty());
}

TEST(Openings, SayWhatIsNotOpened) {
  for (const auto& [ports, shown] :
       {std::pair{"[\"*\"]", "ports *"}, std::pair{"[\"1000-1064\"]", "ports 1000-1064"}}) {
    const OpeningPlan plan = plan_openings(changed("[\"22\"]", ports).value());
    EXPECT_EQ(plan.openings.size(), 4U);
    ASSERT_EQ(plan.problems.size(), 1U);
    EXPECT_THAT(plan.problems[0], HasSubstr("rule 'ssh'"));
    EXPECT_THAT(plan.problems[0], HasSubstr(shown));
  }
  EXPECT_EQ(plan_openings(changed("[\"22\"]", "[\"1000-1063\"]").value()).openings.size(), 64U + 4U);
  const OpeningPlan ping = plan_openings(changed("\"Tcp\", \"sources\"", "\"Icmp\", \"sources\"").value());
  ASSERT_EQ(ping.problems.size(), 1U);
  EXPECT_THAT(ping.problems[0], HasSubstr("ICMP"));
}

}  // namespace
}  // namespace bootseal::netd::test
