// What az looks up before it makes a VM.
#include <gmock/gmock.h>

#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class CatalogueTest : public SiteTest {
 protected:
  CatalogueTest() { start(); }

  [[nodiscard]] std::string compute() const {
    return "/subscriptions/" + subscription_ + "/providers/Microsoft.Compute";
  }
  [[nodiscard]] std::string publishers() const { return compute() + "/locations/local/publishers"; }
  Reply ask(const std::string& path, const std::string& more = {}) {
    net::Peer peer;
    peer.kind = net::Peer::Kind::certificate;
    peer.certificate_name = "admin";
    return call_as(peer, "GET", path + "?api-version=2022-08-01" + more);
  }
  static std::vector<std::string> names(const Reply& reply) {
    EXPECT_EQ(reply.status, 200) << reply.text;
    std::vector<std::string> result;
    if (!reply.body.is_array()) return result;
    for (const json::Value& one : reply.body.as_array()) result.emplace_back(one.at("name").as_string());
    return result;
  }
};

TEST_F(CatalogueTest, PublishersHoldTheImagesAndTheAttestationExtensions) {
  EXPECT_THAT(names(ask(publishers())), ElementsAre("Bootseal", "Microsoft.Azure.Security.LinuxAttestation",
                                                    "Microsoft.Azure.Security.WindowsAttestation"));
  EXPECT_THAT(names(ask(publishers() + "/bootseal/artifacttypes/vmimage/offers")),
              IsSupersetOf({std::string("mini")}));
  EXPECT_THAT(names(ask(publishers() + "/Bootseal/artifacttypes/vmimage/offers/mini/skus")),
              ElementsAre("mini"));
  EXPECT_EQ(ask(publishers() + "/Debian/artifacttypes/vmimage/offers").error().substr(0, 9), "NotFound:");
  EXPECT_EQ(ask(publishers() + "/Bootseal/artifacttypes/vmimage/offers/none/skus").status, 404);
  EXPECT_EQ(ask(compute() + "/locations/westeurope/publishers").status, 400);
}

TEST_F(CatalogueTest, TheNewestVersionComesFirstWhenAskedForAndLatestNamesIt) {
  const std::string versions =
      publishers() + "/Bootseal/artifacttypes/vmimage/offers/mini/skus/mini/versions";
  EXPECT_THAT(names(ask(versions, "&$top=1&$orderby=name desc")), ElementsAre("1.0.0"));
  EXPECT_THAT(names(ask(versions, "&$top=0")), ElementsAre());
  EXPECT_THAT(ask(versions, "&$orderby=size").error(), HasSubstr("InvalidParameter"));
  EXPECT_FALSE(ask(versions).body.at(0).as_object().contains("properties"));
  EXPECT_TRUE(ask(versions, "&$expand=properties").body.at(0).as_object().contains("properties"));
  const Reply latest = ask(versions + "/latest");
  EXPECT_EQ(latest.body.at("name").as_string(), "1.0.0");
  EXPECT_EQ(latest.body.at_pointer("/properties/osDiskImage/operatingSystem").as_string(), "Linux");
  EXPECT_EQ(latest.body.at_pointer("/properties/hyperVGeneration").as_string(), "V2");
  EXPECT_EQ(latest.body.at_pointer("/properties/features/0/value").as_string(), "TrustedLaunchSupported");
  EXPECT_TRUE(latest.body.at_pointer("/properties/dataDiskImages").as_array().empty());
  EXPECT_EQ(ask(versions + "/2.0.0").status, 404);
}

TEST_F(CatalogueTest, GuestAttestationHasAVersionThatAzCutsToMajorAndMinor) {
  for (const char* system : {"Linux", "Windows"}) {
    const std::string types =
        publishers() + "/Microsoft.Azure.Security." + system + "Attestation/artifacttypes/vmextension/types";
    EXPECT_THAT(names(ask(types)), ElementsAre("GuestAttestation"));
    EXPECT_THAT(names(ask(types + "/GuestAttestation/versions")), ElementsAre("1.0.0.0"));
    EXPECT_EQ(ask(types + "/guestattestation/versions/1.0.0.0")
                  .body.at_pointer("/properties/operatingSystem")
                  .as_string(),
              system);
    EXPECT_EQ(ask(types + "/CustomScript/versions").status, 404);
  }
}

TEST_F(CatalogueTest, SkusShowWhatAzFilters) {
  const Reply all = ask(compute() + "/skus");
  bool found = false;
  for (const json::Value& sku : all.body.at("value").as_array()) {
    EXPECT_EQ(sku.at("resourceType").as_string(), "virtualMachines");
    EXPECT_TRUE(sku.at("restrictions").as_array().empty());
    if (sku.at("name").as_string() != "Standard_DS1_v2") continue;
    found = true;
    EXPECT_THAT(json::serialize(sku.at("capabilities")), HasSubstr(R"({"name":"MemoryGB","value":"3.5"})"));
  }
  EXPECT_TRUE(found) << "az's default size";
  EXPECT_TRUE(
      ask(compute() + "/skus", "&$filter=location eq 'westeurope'").body.at("value").as_array().empty());
  EXPECT_EQ(ask(compute() + "/skus", "&$filter=name eq 'x'").status, 400);
}

}  // namespace
}  // namespace bootseal::api::testing
