#include "bootseal/identity/scope.h"

#include <gtest/gtest.h>

namespace bootseal::identity {
namespace {

TEST(Scope, ReadsTheScopesThatAzAndTheSdksAskFor) {
  const auto user = Scope::parse("https://localhost:8443/.default offline_access openid profile");
  ASSERT_TRUE(user);
  EXPECT_EQ(user->audience, "https://localhost:8443");
  EXPECT_TRUE(user->openid && user->profile && user->offline_access);
  EXPECT_EQ(user->to_string(), "https://localhost:8443/.default offline_access openid profile");
  // A resource that ends in '/' keeps it: the scope then has two.
  EXPECT_EQ(Scope::parse("https://management.core.windows.net//.default")->audience,
            "https://management.core.windows.net/");
  EXPECT_EQ(Scope::parse("https://management.azure.com/user_impersonation")->audience,
            "https://management.azure.com");
  EXPECT_EQ(Scope::parse("https://vault.local")->audience, "https://vault.local");
  EXPECT_TRUE(Scope::parse("")->audience.empty());
}

TEST(Scope, RefusesTwoResourcesAndWhatIsNone) {
  EXPECT_FALSE(Scope::parse("https://a/.default https://b/.default"));
  EXPECT_FALSE(Scope::parse("http://a/.default"));
  EXPECT_FALSE(Scope::parse("User.Read"));
  EXPECT_FALSE(Scope::parse("https://"));
  EXPECT_FALSE(Scope::parse("https://a/\"x/.default"));
  EXPECT_FALSE(Scope::parse("https://" + std::string(1100, 'a')));
}

TEST(Scope, KnowsTheServiceOfAnAudience) {
  const std::string own[] = {"localhost:8443", "site.test"};
  const auto service = [&](std::string_view audience) { return service_of(audience, own); };
  EXPECT_EQ(service("https://LOCALHOST:8443"), Service::resource_manager);
  EXPECT_EQ(service("https://site.test/"), Service::resource_manager);
  EXPECT_EQ(service("https://site.test/graph"), Service::graph);
  EXPECT_EQ(service("https://management.azure.com"), Service::resource_manager);
  EXPECT_EQ(service("https://management.core.windows.net/"), Service::resource_manager);
  EXPECT_EQ(service("https://vault.local"), Service::key_vault);
  EXPECT_EQ(service("https://site.vault.local:8443"), Service::key_vault);
  EXPECT_EQ(service("https://attest.azure.net"), Service::attestation);
  EXPECT_EQ(service("https://localhost:9"), Service::none);
  EXPECT_EQ(service("https://evilvault.local"), Service::none);
  EXPECT_EQ(service("https://management.azure.com.evil.test"), Service::none);
  EXPECT_EQ(service("http://site.test"), Service::none);
}

}  // namespace
}  // namespace bootseal::identity
