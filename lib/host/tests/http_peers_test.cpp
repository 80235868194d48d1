// vaultd and attestd played by servers of the test.
#include "bootseal/host/http_peers.h"

#include <gmock/gmock.h>

#include "bootseal/net/server.h"
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

class HttpPeersTest : public testing::Test {
 protected:
  // Serves `answer` at one place; remembers the body that came.
  void serve(const std::string& method, const std::string& path, int status, json::Value answer) {
    net::Router router;
    router.on(method, path, [this, status, answer](const net::Request& request) {
      body_ = request.body;
      return net::Response::json(status, answer);
    });
    net::ServerOptions options;
    options.unix_listener = listen_unix(socket_).value();
    server_ = net::Server::start(std::move(options), std::move(router)).value();
  }
  void TearDown() override {
    if (server_) server_->stop(std::chrono::milliseconds(100));
  }

  TemporaryFolder folder_;
  std::filesystem::path socket_ = folder_.path() / "peer.sock";
  std::unique_ptr<Vault> vault_ = create_vault_client(socket_, "host-1").value();
  std::unique_ptr<Attestor> attestor_ = create_attest_client(socket_).value();
  std::unique_ptr<net::Server> server_;
  std::string body_;
  VmId vm_ = VmId::random();
};

TEST_F(HttpPeersTest, APeerThatIsAwayIsPassing) {
  const auto released = vault_->release(vm_, Epoch{1});
  ASSERT_FALSE(released);
  EXPECT_TRUE(is_passing(released.error())) << released.error().describe();
  EXPECT_TRUE(is_passing(attestor_->challenge(vm_).error()));
}

TEST_F(HttpPeersTest, AReleasedKeyHasItsBytesAndItsGeneration) {
  serve(
      "POST", "/v1/keys/{id}/release", 200,
      json::Object{
          {"key", to_base64(Bytes(32, std::byte{7}))}, {"name", vm_.to_string()}, {"minimumGeneration", 9}});
  const auto released = vault_->release(vm_, Epoch{4});
  ASSERT_TRUE(released) << released.error().describe();
  EXPECT_EQ(to_bytes(released->key.view()), Bytes(32, std::byte{7}));
  EXPECT_EQ(released->minimum.value, 9U);
  EXPECT_EQ(body_, R"({"hostId":"host-1","epoch":4})");
}

TEST_F(HttpPeersTest, AKeyOfAnotherSizeIsNotTaken) {
  serve("POST", "/v1/keys/{id}/release", 200,
        json::Object{{"key", to_base64(Bytes(16))}, {"name", "x"}, {"minimumGeneration", 9}});
  EXPECT_EQ(vault_->release(vm_, Epoch{4}).error().code, ErrorCode::corrupt);
}

TEST_F(HttpPeersTest, RefusalsKeepTheirCode) {
  serve("POST", "/v1/keys/{id}/release", 403,
        json::Object{{"error", json::Object{{"code", "PermissionDenied"}, {"message", "epoch 3 is over"}}}});
  const auto released = vault_->release(vm_, Epoch{3});
  EXPECT_EQ(released.error().code, ErrorCode::permission_denied);
  EXPECT_EQ(released.error().message, "epoch 3 is over");
  EXPECT_FALSE(is_passing(released.error()));
}

TEST_F(HttpPeersTest, AGenerationIsToldWithHostAndEpoch) {
  serve("PUT", "/v1/keys/{id}/generation", 200, json::Object{{"generation", 12}});
  ASSERT_TRUE(vault_->tell_generation(vm_, Epoch{2}, Generation{12}));
  EXPECT_EQ(body_, R"({"hostId":"host-1","epoch":2,"generation":12})");
}

TEST_F(HttpPeersTest, TpmKeysBecomeCertificates) {
  serve("POST", "/v1/certificates/tpm/{id}", 200,
        json::Object{{"ekRsaCertificate", "AQ=="}, {"akCertificate", "Ag=="}});
  const auto certificates =
      vault_->certify_tpm(vm_, Epoch{1}, "web", {Bytes{std::byte{1}}, {}, Bytes{std::byte{2}}});
  ASSERT_TRUE(certificates);
  EXPECT_EQ(certificates->ek_rsa, Bytes{std::byte{1}});
  EXPECT_TRUE(certificates->ek_ecc.empty());
  EXPECT_EQ(body_, R"({"hostId":"host-1","epoch":1,"vmName":"web","ekRsa":"AQ==","ak":"Ag=="})");
}

TEST_F(HttpPeersTest, TheSitesCertificateComesAsDer) {
  const std::string pem = crypto::Certificate::from_der(test_ca()).value().pem();
  serve("GET", "/v1/ca", 200, json::Object{{"certificatePem", pem}});
  EXPECT_EQ(vault_->ca_certificate_der().value(), test_ca());
}

TEST_F(HttpPeersTest, AChallengeGivesTheAgentsParametersAndNothingElse) {
  serve("POST", "/v1/vms/{id}/challenges", 200,
        json::Object{{"challengeId", "c1"},
                     {"nonce", "AA=="},
                     {"pcrs", json::Array{0, 7}},
                     {"bank", "sha256"},
                     {"expiresTime", "2026-11-21T20:44:45Z"}});
  const auto challenge = attestor_->challenge(vm_);
  ASSERT_TRUE(challenge);
  EXPECT_EQ(challenge->id, "c1");
  EXPECT_EQ(json::serialize(challenge->parameters), R"({"nonce":"AA==","pcrs":[0,7],"bank":"sha256"})");
}

TEST_F(HttpPeersTest, AnAnswerThatIsNoVerdictIsRefused) {
  serve("POST", "/v1/vms/{id}/evidence", 200, json::Object{{"state", "Healthy"}});
  EXPECT_FALSE(attestor_->judge(vm_, "c1", json::Object{}));
  EXPECT_EQ(body_, R"({"challengeId":"c1","evidence":{}})");
}

}  // namespace
}  // namespace bootseal::host::test
