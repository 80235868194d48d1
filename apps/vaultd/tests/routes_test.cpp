// Who may call what, and what goes over the wire.
#include "routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "bootseal/base/fds.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::vaultd {
namespace {

using testing::HasSubstr;

constexpr uid_t kHostd = 4000, kControld = 3, kAttestd = 2, kStranger = 77;

class Routes : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/bootseal-vaultd-XXXXXX";
    folder_ = ::mkdtemp(name);
    store_ = store::make_memory_store();
    audit_ = *log::AuditChain::open(folder_ / "audit.jsonl",
                                    [](ByteSpan bytes) { return crypto::sha256(bytes).to_hex(); });
    vault_ =
        *vault::Vault::open({folder_, {1024, 8, 1}},
                            crypto::Secret::copy_of(as_bytes("a passphrase for tests")), *store_, *audit_);
    router_ = make_routes(*vault_, {kHostd, kControld, kAttestd});
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  net::Response call(uid_t uid, std::string method, std::string path, const json::Value& body = nullptr) {
    net::Request request;
    request.method = std::move(method);
    request.target = request.path = std::move(path);
    if (!body.is_null()) request.body = json::serialize(body);
    request.peer.kind = net::Peer::Kind::unix_process;
    request.peer.uid = uid;
    return router_.handle(request);
  }
  static json::Value document(const net::Response& response) { return *json::parse(response.body); }
  static std::string code(const net::Response& response) {
    return std::string(document(response).at("error").at("code").as_string());
  }

  std::filesystem::path folder_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<log::AuditChain> audit_;
  std::unique_ptr<vault::Vault> vault_;
  net::Router router_;
  const std::string vm_ = VmId::random().to_string();
  const json::Value claim_ = {{"hostId", "rack-1"}, {"epoch", 1}};
};

TEST_F(Routes, KeyLivesFromPlacementToDeletion) {
  EXPECT_EQ(call(kControld, "PUT", "/v1/placements/" + vm_, claim_).status, 200);
  const net::Response made = call(kHostd, "POST", "/v1/keys/" + vm_, claim_);
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(document(made).at("name").as_string(), vm_);
  EXPECT_EQ(document(made).at("algorithm").as_string(), "AES-256");
  EXPECT_EQ(document(made).at("generation"), 0);
  EXPECT_EQ(call(kHostd, "POST", "/v1/keys/" + vm_, claim_).status, 409);

  const json::Value generation = {{"hostId", "rack-1"}, {"epoch", 1}, {"generation", 12}};
  EXPECT_EQ(document(call(kHostd, "PUT", "/v1/keys/" + vm_ + "/generation", generation)).at("generation"),
            12);
  const json::Value released = document(call(kHostd, "POST", "/v1/keys/" + vm_ + "/release", claim_));
  EXPECT_EQ(from_base64(released.at("key").as_string())->size(), 32U);
  EXPECT_EQ(released.at("minimumGeneration"), 12);
  EXPECT_EQ(released.at("name").as_string(), vm_);

  const net::Response listed = call(kControld, "GET", "/v1/keys");
  EXPECT_EQ(document(listed).at("value").as_array().size(), 1U);
  EXPECT_THAT(listed.body, Not(HasSubstr(std::string(released.at("key").as_string()))));
  EXPECT_THAT(call(kHostd, "GET", "/v1/keys/" + vm_).body, Not(HasSubstr("\"key\"")));
  EXPECT_EQ(call(kHostd, "DELETE", "/v1/keys/" + vm_).status, 400) << "who deletes says as whom";
  json::Value stale = claim_;
  stale.as_object()["epoch"] = 9;
  EXPECT_EQ(call(kHostd, "DELETE", "/v1/keys/" + vm_, stale).status, 403);
  EXPECT_EQ(call(kHostd, "DELETE", "/v1/keys/" + vm_, claim_).status, 204);
  EXPECT_EQ(call(kControld, "DELETE", "/v1/keys/" + vm_, claim_).status, 204);
  EXPECT_EQ(call(kHostd, "GET", "/v1/keys/" + vm_).status, 404);
}

TEST_F(Routes, EachCallIsForItsCallersOnly) {
  const struct {
    std::string method, path;
    std::vector<uid_t> allowed;
  } calls[] = {
      {"GET", "/v1/ca", {kHostd, kControld, kAttestd, kStranger}},
      {"PUT", "/v1/placements/" + vm_, {kControld}},
      {"POST", "/v1/keys/" + vm_, {kHostd}},
      {"GET", "/v1/keys", {kHostd, kControld}},
      {"GET", "/v1/keys/" + vm_, {kHostd, kControld}},
      {"POST", "/v1/keys/" + vm_ + "/release", {kHostd}},
      {"PUT", "/v1/keys/" + vm_ + "/generation", {kHostd}},
      {"DELETE", "/v1/keys/" + vm_, {kHostd, kControld}},
      {"POST", "/v1/certificates/tpm/" + vm_, {kHostd}},
      {"POST", "/v1/certificates/server", {kControld}},
      {"POST", "/v1/certificates/client", {kControld}},
  };
  for (const auto& [method, path, allowed] : calls) {
    for (const uid_t uid : {kHostd, kControld, kAttestd, kStranger, uid_t{0}}) {
      const bool may = uid == 0 || std::ranges::find(allowed, uid) != allowed.end();
      const net::Response response = call(uid, method, path, claim_);
      // The vault itself says PermissionDenied to a host that does not own the VM; "may not call" is the
      // door.
      EXPECT_EQ(response.body.find("may not call") == std::string::npos, may)
          << method << " " << path << " by uid " << uid << ": " << response.body;
      EXPECT_TRUE(may || response.status == 403);
    }
  }
}

TEST_F(Routes, CallersWithoutAUidAreNotKnown) {
  net::Request request;
  request.method = "GET";
  request.target = request.path = "/v1/ca";
  EXPECT_EQ(router_.handle(request).status, 401);
}

TEST_F(Routes, BadInputIsNamed) {
  EXPECT_THAT(call(kControld, "PUT", "/v1/placements/42", claim_).body,
              HasSubstr("\\\"42\\\" is no id of a VM"));
  EXPECT_THAT(call(kControld, "PUT", "/v1/placements/" + vm_, {{"hostId", "rack-1"}}).body,
              HasSubstr("epoch"));
  EXPECT_THAT(call(kControld, "PUT", "/v1/placements/" + vm_, {{"hostId", "rack-1"}, {"epoch", -1}}).body,
              HasSubstr("epoch"));
  EXPECT_THAT(
      call(kControld, "PUT", "/v1/placements/" + vm_, {{"hostId", "rack-1"}, {"epoch", 1}, {"force", true}})
          .body,
      HasSubstr("force"));
  EXPECT_EQ(call(kHostd, "POST", "/v1/keys/" + vm_ + "/release").status, 400);
  EXPECT_EQ(code(call(kHostd, "POST", "/v1/keys/" + vm_ + "/release", claim_)), "PermissionDenied");
}

TEST_F(Routes, CertificatesComeAsTheContractSays) {
  ASSERT_EQ(call(kControld, "PUT", "/v1/placements/" + vm_, claim_).status, 200);
  const auto key = *crypto::PrivateKey::generate(crypto::KeyKind::ec_p256);
  const std::string csr = crypto::CertificateRequest::create(key, {{"CN", "controld"}})->pem();
  const crypto::Certificate ca = *crypto::Certificate::from_pem(
      document(call(kAttestd, "GET", "/v1/ca")).at("certificatePem").as_string());
  const json::Value server = document(call(kControld, "POST", "/v1/certificates/server",
                                           {{"csrPem", csr}, {"names", {"127.0.0.1", "localhost"}}}));
  const auto chain = *crypto::Certificate::list_from_pem(server.at("chainPem").as_string());
  ASSERT_EQ(chain.size(), 2U);
  EXPECT_EQ(chain[0].pem(), server.at("certificatePem").as_string());
  EXPECT_EQ(chain[1].sha256(), ca.sha256());
  const json::Value client = document(
      call(kControld, "POST", "/v1/certificates/client", {{"csrPem", csr}, {"commonName", "admin"}}));
  EXPECT_TRUE(crypto::Certificate::from_pem(client.at("certificatePem").as_string()));

  const json::Value tpm = document(call(kHostd, "POST", "/v1/certificates/tpm/" + vm_,
                                        {{"hostId", "rack-1"},
                                         {"epoch", 1},
                                         {"vmName", "web-1"},
                                         {"ekEcc", to_base64(key.public_key().der())},
                                         {"ak", to_base64(key.public_key().der())}}));
  EXPECT_TRUE(tpm.as_object().contains("ekEccCertificate"));
  EXPECT_FALSE(tpm.as_object().contains("ekRsaCertificate"));
  EXPECT_TRUE(crypto::Certificate::from_der(*from_base64(tpm.at("akCertificate").as_string())));
}

}  // namespace
}  // namespace bootseal::vaultd
