// Changes of a VM that is there.
#include <gmock/gmock.h>

#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class UpdateTest : public SiteTest {
 protected:
  UpdateTest() { start(); }
};

TEST_F(UpdateTest, TagsChangeAtOnceAndASizeChangeReachesTheHost) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::size_t before = host_.assignments();
  const Reply tagged = call("PATCH", vm("vm1"), json::Object{{"tags", {{"a", "b"}}}});
  EXPECT_EQ(tagged.status, 200) << tagged.text;
  EXPECT_EQ(tagged.header("Azure-AsyncOperation"), "");
  EXPECT_EQ(host_.assignments(), before);
  EXPECT_EQ(outcome(call("PATCH", vm("vm1"),
                         json::Object{{"properties", {{"hardwareProfile", {{"vmSize", "Standard_B2s"}}}}}})),
            "Succeeded");
  EXPECT_EQ(host_.assignment(vm_id("vm1"))->at("hardware").at("cpus").to_number<int>(), 2);
  EXPECT_THAT(host_.carried_out(vm_id("vm1")), ElementsAre("start"));
}

TEST_F(UpdateTest, TheVtpmOfAStoppedVmIsTakenAwayAndGivenBack) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  const auto patch = [&](bool secure_boot, bool vtpm) {
    const json::Object settings{{"secureBootEnabled", secure_boot}, {"vTpmEnabled", vtpm}};
    return call("PATCH", vm("vm1"),
                json::Object{{"properties", {{"securityProfile", {{"uefiSettings", settings}}}}}});
  };
  const std::size_t before = host_.assignments();
  const Reply running = patch(true, false);
  EXPECT_EQ(running.status, 409);
  EXPECT_THAT(running.error(), HasSubstr("OperationNotAllowed: Changing property "
                                         "'securityProfile.uefiSettings' is not allowed while the virtual "
                                         "machine 'vm1' is running. Deallocate"));
  EXPECT_EQ(patch(true, true).status, 200) << "what is there may be said again";
  EXPECT_EQ(host_.assignments(), before);

  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/deallocate")), "Succeeded");
  EXPECT_EQ(outcome(patch(true, false)), "Succeeded");
  EXPECT_FALSE(host_.assignment(id)->at("security").at("vtpm").get_bool());
  EXPECT_FALSE(attest_.expectations().at(id).at("vtpm").get_bool());
  EXPECT_EQ(outcome(patch(true, true)), "Succeeded");
  EXPECT_TRUE(host_.assignment(id)->at("security").at("vtpm").get_bool());
  EXPECT_EQ(outcome(patch(false, true)), "Succeeded");
  EXPECT_FALSE(host_.assignment(id)->at("security").at("secureBoot").get_bool());
  EXPECT_FALSE(attest_.expectations().at(id).at("secureBoot").get_bool());
  EXPECT_EQ(outcome(patch(true, true)), "Succeeded");
  host_.stop();
  ASSERT_TRUE(until([&] { return states("vm1").back() == "PowerState/unknown"; }));
  EXPECT_EQ(patch(true, false).status, 409) << "nobody knows whether it runs";
}

TEST_F(UpdateTest, PreconditionsProtectAgainstLostUpdates) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string etag = call("GET", vm("vm1")).header("ETag");
  ASSERT_FALSE(etag.empty());
  EXPECT_EQ(call("PATCH", vm("vm1"), json::Object{{"tags", {{"a", "1"}}}}, {{"If-Match", etag}}).status, 200);
  const Reply late = call("PATCH", vm("vm1"), json::Object{{"tags", {{"a", "2"}}}}, {{"If-Match", etag}});
  EXPECT_EQ(late.status, 412);
  EXPECT_THAT(late.error(), HasSubstr("PreconditionFailed"));
  EXPECT_EQ(put_vm("vm1", "mini", nullptr, {{"If-None-Match", "*"}}).status, 412);
  EXPECT_EQ(call("DELETE", vm("vm1"), nullptr, {{"If-Match", "\"other\""}}).status, 412);
}

}  // namespace
}  // namespace bootseal::api::testing
