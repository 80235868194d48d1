#include "bootseal/model/virtual_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/base/fds.h"

namespace bootseal::model {
namespace {

using ::testing::HasSubstr;

const ResourceId kId = ResourceId::of_virtual_machine("5b0c0000-0000-4000-8000-000000000001", "rg1", "vm1");

// The bodies of the requests with this method in a recorded file.
std::vector<json::Value> recorded(const std::string& file, const std::string& method) {
  const auto content = read_file(std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/model/tests/data" / file,
                                 std::size_t{1} << 20);
  EXPECT_TRUE(content) << file;
  const json::Value document = *json::parse(as_text(*content));
  std::vector<json::Value> bodies;
  for (const json::Value& request : document.at("requests").as_array()) {
    if (request.at("method").as_string() == method.c_str()) bodies.push_back(request.at("body"));
  }
  return bodies;
}

json::Value body(std::string_view security = "", std::string_view more = "") {
  std::string text =
      R"({"location":"local","properties":{"hardwareProfile":{"vmSize":"standard_b1s"},"storageProfile":{"imageReference":{"offer":"debian-12-mini"},"osDisk":{"createOption":"fromImage"}})";
  if (!security.empty()) text += R"(,"securityProfile":)" + std::string(security);
  text += std::string(more) + "}}";
  return *json::parse(text);
}

json::Object made(const json::Value& put) {
  auto desired = desired_from_put(put, kId, nullptr);
  EXPECT_TRUE(desired) << desired.error().message;
  return desired ? *std::move(desired) : json::Object();
}

SecurityProfile security_of(const json::Object& desired) {
  return spec_of(desired).value().security;
}

std::string refusal(const json::Value& put, const json::Object* existing = nullptr) {
  const auto desired = desired_from_put(put, kId, existing);
  return desired ? "accepted" : desired.error().code + ": " + desired.error().message;
}

TEST(VirtualMachine, WithoutASecurityProfileIsTrustedLaunchWithBothFeatures) {
  EXPECT_EQ(security_of(made(body())), (SecurityProfile{SecurityType::trusted_launch, true, true}));
  EXPECT_EQ(security_of(made(body(R"({"securityType":"TrustedLaunch"})"))),
            (SecurityProfile{SecurityType::trusted_launch, true, true}));
  EXPECT_EQ(security_of(made(body("{}"))), (SecurityProfile{SecurityType::trusted_launch, true, true}));
}

TEST(VirtualMachine, FeaturesOfTrustedLaunchCanBeSwitchedOffOneByOne) {
  EXPECT_EQ(security_of(
                made(body(R"({"securityType":"trustedlaunch","uefiSettings":{"secureBootEnabled":false}})"))),
            (SecurityProfile{SecurityType::trusted_launch, false, true}));
  EXPECT_EQ(
      security_of(made(body(R"({"securityType":"TrustedLaunch","uefiSettings":{"vTpmEnabled":false}})"))),
      (SecurityProfile{SecurityType::trusted_launch, true, false}));
}

TEST(VirtualMachine, StandardHasNeitherFeature) {
  EXPECT_EQ(security_of(made(body(R"({"securityType":"Standard"})"))),
            (SecurityProfile{SecurityType::standard, false, false}));
}

TEST(VirtualMachine, UefiSettingsNeedASecurityTypeThatHasThem) {
  EXPECT_THAT(refusal(body(R"({"uefiSettings":{"secureBootEnabled":true}})")),
              HasSubstr("InvalidParameter: The property 'securityProfile.uefiSettings' is only valid"));
  EXPECT_THAT(refusal(body(R"({"securityType":"Standard","uefiSettings":{"vTpmEnabled":true}})")),
              HasSubstr("not valid with securityType 'Standard'"));
  EXPECT_THAT(refusal(body(R"({"securityType":"ConfidentialVM"})")), HasSubstr("not supported by the hosts"));
  EXPECT_THAT(refusal(body(R"({"securityType":"Secure"})")),
              HasSubstr("Allowed values are 'TrustedLaunch,Standard,ConfidentialVM'"));
  EXPECT_THAT(refusal(body(R"({"securityType":"TrustedLaunch","encryptionAtHost":true})")),
              HasSubstr("OperationNotAllowed"));
}

TEST(VirtualMachine, RefusesWhatItCannotHonour) {
  EXPECT_THAT(refusal(*json::parse("{}")), HasSubstr("LocationRequired"));
  EXPECT_THAT(refusal(*json::parse(R"({"location":"westeurope"})")),
              HasSubstr("LocationNotAvailableForResourceType"));
  EXPECT_THAT(refusal(*json::parse(
                  R"({"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_B1s"}}})")),
              HasSubstr("storageProfile"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"adminUsername":"ops","adminPassword":"secret-word"})")),
              HasSubstr("InvalidParameter: The supplied password must be between 6-72 characters long"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"adminUsername":"ops","adminPassword":"Aa1!x"})")),
              HasSubstr("between 6-72"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"adminUsername":"ops","adminPassword":"Secret\t-word1"})")),
              HasSubstr("Control characters"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"adminUsername":"ops","adminPassword":"P@ssw0rd"})")),
              HasSubstr("not allowed"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"adminPassword":"Correct-horse-1"})")),
              HasSubstr("adminUsername"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"adminUsername":"root"})")), HasSubstr("reserved"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"computerName":"a b"})")), HasSubstr("host name"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"customData":"not base64!"})")), HasSubstr("Base64"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"customData":"H4sIAAAA/v8="})")), HasSubstr("UTF-8"));
  EXPECT_THAT(
      refusal(body(
          "",
          R"(,"osProfile":{"linuxConfiguration":{"ssh":{"publicKeys":[{"keyData":"ssh-rsa AAAA\nssh-rsa BBBB"}]}}})")),
      HasSubstr("keyData"));
  EXPECT_THAT(
      refusal(body(
          "", R"(,"osProfile":{"linuxConfiguration":{"ssh":{"publicKeys":[{"keyData":"-----BEGIN"}]}}})")),
      HasSubstr("keyData"));
  EXPECT_THAT(
      refusal(body("", R"(,"secretProfile":{})")),
      HasSubstr("Could not find member 'secretProfile' on object of type 'VirtualMachineProperties'"));
}

TEST(VirtualMachine, AnUnknownSizeIsRefusedWithTheSizesThereAre) {
  json::Value put = body();
  put.as_object()["properties"].as_object()["hardwareProfile"].as_object()["vmSize"] = "Huge";
  EXPECT_THAT(refusal(put), HasSubstr("The value Huge provided for the VM size is not valid"));
  EXPECT_THAT(refusal(put), HasSubstr("Standard_D2s_v3"));
}

TEST(VirtualMachine, TakesTheSizesNameInItsCanonicalCase) {
  EXPECT_EQ(spec_of(made(body())).value().size, "Standard_B1s");
}

TEST(VirtualMachine, KeysAndCustomDataReachTheSpec) {
  const VmSpec spec =
      spec_of(
          made(body(
              "",
              R"(,"osProfile":{"computerName":"web-1","adminUsername":"ops","customData":"I2Nsb3VkLWNvbmZpZwo=",
      "linuxConfiguration":{"ssh":{"publicKeys":[{"path":"/x","keyData":"ssh-ed25519 AAAA ops\n"}]}}})")))
          .value();
  EXPECT_EQ(spec.computer_name, "web-1");
  EXPECT_EQ(spec.admin_username, "ops");
  EXPECT_EQ(spec.custom_data, "#cloud-config\n");
  EXPECT_THAT(spec.ssh_keys, ::testing::ElementsAre("ssh-ed25519 AAAA ops"));
}

TEST(VirtualMachine, ReadsTheImageInEveryFormInWhichClientsNameIt) {
  const auto name = [](ImageReference reference) { return reference.image_name(); };
  EXPECT_EQ(name({.offer = "debian-12"}), "debian-12");
  EXPECT_EQ(name({.publisher = "Debian", .offer = "debian-12", .sku = "12-gen2", .version = "latest"}),
            "debian-12");
  EXPECT_EQ(name({.offer = "debian-12", .version = "1.0.0"}), "debian-12:1.0.0");
  EXPECT_EQ(name({.id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/img1"}),
            "img1");
  EXPECT_EQ(name({.id = "/subscriptions/s/providers/Bootseal.Gallery/images/debian-12/versions/1.0.0"}),
            "debian-12:1.0.0");
  EXPECT_EQ(name({.id = "debian-12"}), "debian-12");
}

TEST(VirtualMachine, AnUpdateKeepsWhatTheClientLeftOut) {
  const json::Object existing =
      made(body("", R"(,"osProfile":{"adminUsername":"ops","customData":"I2Nsb3VkLWNvbmZpZwo="})"));
  auto updated = desired_from_put(
      *json::parse(
          R"({"location":"local","tags":{"a":"b"},"properties":{"hardwareProfile":{"vmSize":"Standard_B2s"}}})"),
      kId, &existing);
  ASSERT_TRUE(updated) << updated.error().message;
  const VmSpec spec = spec_of(*updated).value();
  EXPECT_EQ(spec.size, "Standard_B2s");
  EXPECT_EQ(spec.image.offer, "debian-12-mini");
  EXPECT_EQ(spec.custom_data, "#cloud-config\n");
  EXPECT_EQ(spec.security, SecurityProfile{});
  EXPECT_EQ(json::serialize(updated->at("tags")), R"({"a":"b"})");
}

TEST(VirtualMachine, WhatIsFixedAtCreationCannotChange) {
  const json::Object existing = made(body());
  json::Value other_image = body();
  other_image.as_object()["properties"]
      .as_object()["storageProfile"]
      .as_object()["imageReference"]
      .as_object()["offer"] = "other";
  EXPECT_THAT(refusal(other_image, &existing),
              HasSubstr("PropertyChangeNotAllowed: Changing property 'imageReference'"));
  EXPECT_THAT(refusal(body(R"({"securityType":"Standard"})"), &existing),
              HasSubstr("PropertyChangeNotAllowed"));
  EXPECT_THAT(refusal(body("", R"(,"osProfile":{"computerName":"renamed"})"), &existing),
              HasSubstr("osProfile.computerName"));
  EXPECT_EQ(refusal(body(R"({"uefiSettings":{"secureBootEnabled":true}})"), &existing), "accepted");
}

TEST(VirtualMachine, TheVtpmCanBeTakenAwayAndGivenBack) {
  const json::Object existing = made(body());
  const json::Value off = *json::parse(
      R"({"properties":{"securityProfile":{"uefiSettings":{"secureBootEnabled":true,"vTpmEnabled":false}}}})");
  const auto without = desired_from_patch(off, kId, existing);
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_FALSE(spec_of(*without)->security.vtpm);
  EXPECT_TRUE(spec_of(*without)->security.secure_boot);
  const auto with = desired_from_put(body(R"({"uefiSettings":{"vTpmEnabled":true}})"), kId, &*without);
  ASSERT_TRUE(with) << with.error().message;
  EXPECT_TRUE(spec_of(*with)->security.vtpm);
}

TEST(VirtualMachine, APatchReplacesTagsAndLeavesTheRest) {
  const json::Object existing = made(body());
  const auto patched = desired_from_patch(
      recorded("js-arm-compute-virtual-machines-update.json", "PATCH").at(0), kId, existing);
  ASSERT_TRUE(patched) << patched.error().message;
  EXPECT_EQ(json::serialize(patched->at("tags")), R"({"a":"b"})");
  EXPECT_EQ(patched->at("properties"), existing.at("properties"));
  EXPECT_FALSE(desired_from_patch(*json::parse(R"({"properties":{"osProfile":{}}})"), kId, existing));
}

TEST(VirtualMachine, TakesTheRequestOfTheNpmClientButForItsDataDisk) {
  json::Value put = recorded("js-arm-compute-virtual-machines-create.json", "PUT").at(0);
  EXPECT_THAT(refusal(put), HasSubstr("Data disks are not supported"));
  put.as_object()["properties"].as_object()["storageProfile"].as_object().erase("dataDisks");
  const VmSpec spec = spec_of(made(put)).value();
  EXPECT_EQ(spec.image.image_name(), "debian-12");
  EXPECT_EQ(spec.ssh_keys.size(), 1U);
}

TEST(VirtualMachine, TakesTheVmOfAnAzDeployment) {
  const json::Value deployment = recorded("az-vm-create-image-id.json", "PUT").at(0);
  const json::Array& resources = deployment.at("properties").at("template").at("resources").as_array();
  json::Object vm;
  for (const json::Value& resource : resources) {
    if (resource.at("type").as_string() == "Microsoft.Compute/virtualMachines") vm = resource.as_object();
  }
  ASSERT_FALSE(vm.empty());
  for (const char* of_the_template : {"apiVersion", "dependsOn"}) vm.erase(of_the_template);
  const VmSpec spec = spec_of(made(vm)).value();
  EXPECT_EQ(spec.size, "Standard_DS1_v2");
  EXPECT_EQ(spec.image.image_name(), "img1");
  EXPECT_EQ(spec.security, SecurityProfile{});
}

TEST(VirtualMachine, TakesBackWhatAzSendsAfterItsGet) {
  // az PUTs the answer of its GET, less the image and read-only members.
  const json::Value put = recorded("az-vm-update-set-tags.json", "PUT").at(0);
  json::Value creation = put;
  creation.as_object()["properties"].as_object()["storageProfile"].as_object()["imageReference"] =
      json::Object{{"offer", "debian-12"}};
  creation.as_object()["properties"].as_object()["storageProfile"].as_object()["osDisk"].as_object().erase(
      "diskSizeGB");
  creation.as_object()["properties"].as_object()["securityProfile"] =
      json::Object{{"securityType", "TrustedLaunch"}};
  const json::Object existing = made(creation);
  json::Value back = put;
  back.as_object()["properties"].as_object()["securityProfile"].as_object()["uefiSettings"] =
      json::Object{{"secureBootEnabled", true}};
  EXPECT_EQ(refusal(back, &existing), "accepted");
  const auto without_secure_boot =
      desired_from_put(recorded("az-vm-update-secure-boot-off.json", "PUT").at(0), kId, &existing);
  ASSERT_TRUE(without_secure_boot) << without_secure_boot.error().message;
  EXPECT_EQ(security_of(*without_secure_boot), (SecurityProfile{SecurityType::trusted_launch, false, true}));
  json::Value resize = recorded("az-vm-resize.json", "PUT").at(0);
  resize.as_object()["properties"].as_object().erase("securityProfile");
  const auto resized = desired_from_put(resize, kId, &existing);
  ASSERT_TRUE(resized) << resized.error().message;
  EXPECT_EQ(spec_of(*resized).value().size, "Standard_D4s_v5");
}

TEST(VirtualMachine, APasswordIsTakenOutBeforeAnythingIsStored) {
  json::Object desired =
      made(body("", R"(,"osProfile":{"adminUsername":"ops","adminPassword":"Correct-horse-1"})"));
  EXPECT_EQ(take_password(desired), "Correct-horse-1");
  EXPECT_EQ(json::serialize(desired).find("Correct-horse-1"), std::string::npos);
  EXPECT_EQ(take_password(desired), "");
  EXPECT_FALSE(spec_of(desired)->password_authentication);
  set_password_hash(desired, "$y$hash");
  EXPECT_EQ(password_hash_of(desired), "$y$hash");
  EXPECT_EQ(spec_of(desired)->admin_password_hash, "$y$hash");
  EXPECT_TRUE(spec_of(desired)->password_authentication);
  // az leaves the password out of what it sends back.
  const auto updated = desired_from_put(body(), kId, &desired);
  ASSERT_TRUE(updated) << updated.error().message;
  EXPECT_EQ(password_hash_of(*updated), "$y$hash");
  const std::string answer = json::serialize(resource_json(
      desired, {kId, VmId::random(), *parse_time("2026-11-21T20:44:45Z"), "Succeeded", "\"1\"", "1.0.0"}));
  EXPECT_EQ(answer.find("hash"), std::string::npos) << answer;
}

TEST(VirtualMachine, HasOnePrimaryInterface) {
  const auto with = [](std::string_view interfaces) {
    return body("", R"(,"networkProfile":{"networkInterfaces":)" + std::string(interfaces) + "}");
  };
  const VmSpec spec = spec_of(made(with(R"([{"id":"/a","properties":{"deleteOption":null}}])"))).value();
  ASSERT_TRUE(spec.interfaces);
  EXPECT_EQ(*spec.interfaces, (std::vector<InterfaceReference>{{"/a", true}}));
  EXPECT_THAT(refusal(with(R"([{"id":"/a"},{"id":"/b"}])")),
              HasSubstr("VirtualMachineMustHaveOneNetworkInterfaceAsPrimary"));
  EXPECT_THAT(refusal(with(R"([{"id":"/a","properties":{"primary":true}},{"id":"/A"}])")),
              HasSubstr("given twice"));
  EXPECT_EQ(refusal(with(R"([{"id":"/a","properties":{"primary":true}},{"id":"/b"}])")), "accepted");
  EXPECT_FALSE(spec_of(made(body()))->interfaces);
  const json::Object existing = made(with(R"([{"id":"/a"}])"));
  EXPECT_TRUE(spec_of(desired_from_put(body(), kId, &existing).value())->interfaces) << "left out, kept";
}

TEST(VirtualMachine, AnswersWithoutWhatIsWriteOnly) {
  const json::Object desired =
      made(body("", R"(,"osProfile":{"adminUsername":"ops","customData":"I2Nsb3VkLWNvbmZpZwo="})"));
  const VmId vm_id = VmId::random();
  const json::Object answer = resource_json(
      desired, {kId, vm_id, *parse_time("2026-11-21T20:44:45Z"), "Succeeded", "\"1\"", "1.0.0"});
  const std::string text = json::serialize(answer);
  EXPECT_THAT(text, ::testing::Not(HasSubstr("customData")));
  EXPECT_EQ(answer.at("id").as_string(), kId.to_string().c_str());
  EXPECT_EQ(answer.at("properties").at("vmId").as_string(), vm_id.to_string().c_str());
  EXPECT_EQ(answer.at("properties").at("storageProfile").at("osDisk").at("osType").as_string(), "Linux");
  EXPECT_EQ(
      json::serialize(answer.at("properties").at("securityProfile")),
      R"({"securityType":"TrustedLaunch","uefiSettings":{"secureBootEnabled":true,"vTpmEnabled":true}})");
}

TEST(VirtualMachine, TakesItsOwnAnswerBack) {
  const json::Object desired = made(body());
  json::Object answer = resource_json(
      desired, {kId, VmId::random(), *parse_time("2026-11-21T20:44:45Z"), "Succeeded", "\"1\"", "1.0.0"});
  answer["properties"].as_object()["instanceView"] = json::Object{{"whatever", 1}};
  EXPECT_EQ(refusal(answer, &desired), "accepted");
}

}  // namespace
}  // namespace bootseal::model
