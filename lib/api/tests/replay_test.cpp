// Requests that real clients sent (azure-requests/README.md), against a control plane in this process.
#include <gmock/gmock.h>

#include "bootseal/base/fds.h"
#include "bootseal/base/mapped_file.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

constexpr std::string_view kRecordedSubscription = "00000000-0000-0000-0000-000000000001";

class ReplayTest : public SiteTest {
 protected:
  ReplayTest() { start(); }

  std::string here(std::string text) const {
    for (std::size_t at = text.find(kRecordedSubscription); at != std::string::npos;
         at = text.find(kRecordedSubscription, at)) {
      text.replace(at, kRecordedSubscription.size(), subscription_);
    }
    return text;
  }

  // Sends what was recorded. Every answer must be good, and its status the recorded one where `same_status`;
  // 201 and 200 are told apart by what was there before, so some recordings differ. The answers.
  std::vector<Reply> replay(const std::string& name, bool same_status = true) {
    const auto path =
        std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/api/tests/azure-requests" / (name + ".json");
    const auto content = read_file(path, std::size_t{1} << 20);
    EXPECT_TRUE(content) << path;
    std::vector<Reply> replies;
    if (!content) return replies;
    const json::Value recorded = json::parse(here(std::string(as_text(*content)))).value();
    for (const json::Value& request : recorded.at("requests").as_array()) {
      const json::Object& one = request.as_object();
      std::string target(one.at("path").as_string());
      char separator = '?';
      for (const auto& [key, value] : one.at("query").as_object()) {
        target.append(1, separator).append(key).append("=").append(std::string_view(value.as_string()));
        separator = '&';
      }
      net::Peer peer;
      peer.kind = net::Peer::Kind::certificate;
      peer.certificate_name = "admin";
      const json::Value* body = one.if_contains("body");
      const std::string method(one.at("method").as_string());
      Reply reply = call_as(peer, method, target, {{"x-ms-client-request-id", "abc"}},
                            body == nullptr ? std::string() : json::serialize(*body));
      EXPECT_LT(reply.status, 300) << name << ": " << method << " " << target << ": " << reply.text;
      if (same_status) {
        EXPECT_EQ(reply.status, one.at("status_answered").to_number<int>())
            << name << ": " << method << " " << target;
      }
      EXPECT_EQ(reply.header("x-ms-client-request-id"), "abc");
      EXPECT_FALSE(reply.header("x-ms-correlation-request-id").empty());
      replies.push_back(std::move(reply));
    }
    return replies;
  }

  // Facts: "every resource: id, name, type, location, tags, properties.provisioningState".
  static void expect_resource(const Reply& reply) {
    for (const char* member : {"id", "name", "type", "location", "tags"})
      EXPECT_TRUE(reply.body.as_object().contains(member)) << member << " in " << reply.text;
    EXPECT_EQ(reply.body.at_pointer("/properties/provisioningState").as_string(), "Succeeded");
  }
};

TEST_F(ReplayTest, GroupsOfAz) {
  call("DELETE", group());
  ASSERT_TRUE(until([&] { return call("GET", group()).status == 404; }));
  expect_resource(replay("az-group-create").back());
  const Reply updated = replay("az-group-update-set").back();
  EXPECT_EQ(updated.body.at("tags").at("x").as_string(), "y");
}

TEST_F(ReplayTest, NetworksOfAz) {
  const Reply network = replay("az-network-vnet-create").back();
  expect_resource(network);
  EXPECT_EQ(network.body.at_pointer("/properties/subnets/0/name").as_string(), "s1");
  replay("az-network-vnet-subnet-create");
  const Reply group_reply = replay("az-network-nsg-create").back();
  expect_resource(group_reply);
  EXPECT_TRUE(group_reply.body.at_pointer("/properties/securityRules").is_array());
  EXPECT_FALSE(group_reply.body.at_pointer("/properties/defaultSecurityRules").as_array().empty());
  const Reply rule = replay("az-network-nsg-rule-create").back();
  EXPECT_EQ(rule.body.at_pointer("/properties/priority").to_number<int>(), 100);
  const Reply address = replay("az-network-public-ip-create").back();
  expect_resource(address);
  EXPECT_FALSE(address.body.at_pointer("/properties/ipAddress").as_string().empty());
  const Reply nic = replay("az-network-nic-create").back();
  expect_resource(nic);
  EXPECT_EQ(nic.body.at_pointer("/properties/macAddress").as_string().size(), 17U);
  EXPECT_EQ(nic.body.at_pointer("/properties/ipConfigurations/0/properties/privateIPAddress").as_string(),
            "10.1.0.4");
  EXPECT_TRUE(nic.body.at_pointer("/properties/networkSecurityGroup/id").is_string());
}

TEST_F(ReplayTest, NetworksOfTheJavaScriptPackages) {
  replay("js-arm-resources-group-create", false);
  expect_resource(replay("js-arm-network-virtual-network-create").back());
  expect_resource(replay("js-arm-network-security-group-create").back());
  const Reply nic = replay("js-arm-network-interface-create").back();
  expect_resource(nic);
  EXPECT_TRUE(nic.body.at_pointer("/properties/ipConfigurations/0/properties/primary").as_bool());
}

TEST_F(ReplayTest, InventoryAndTagsOfAzAndTheJavaScriptPackages) {
  replay("az-network-public-ip-create");
  const Reply list = replay("az-resource-list").back();
  EXPECT_EQ(list.body.at_pointer("/value/0/name").as_string(), "ip1");
  EXPECT_EQ(list.body.at_pointer("/value/0/provisioningState").as_string(), "Succeeded");
  EXPECT_EQ(json::serialize(replay("az-tag-create-on-resource").back().body.at_pointer("/properties/tags")),
            R"({"a":"b"})");
  EXPECT_EQ(json::serialize(replay("az-tag-update-merge").back().body.at_pointer("/properties/tags")),
            R"({"a":"b","c":"d"})");
  EXPECT_EQ(
      json::serialize(replay("js-arm-resources-tags-at-scope").back().body.at_pointer("/properties/tags")),
      R"({"x":"y"})");
}

}  // namespace
}  // namespace bootseal::api::testing
