#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>

#include "bootseal/base/fds.h"
#include "bootseal/net/client.h"
#include "listener.h"
#include "server_certificate.h"

namespace bootseal::controld {
namespace {

using std::chrono::days;
using ::testing::HasSubstr;

class ControldTest : public ::testing::Test {
 protected:
  ControldTest() {
    std::string text = "/tmp/bs-ctld-XXXXXX";
    EXPECT_NE(::mkdtemp(text.data()), nullptr);
    folder_ = text;
    start_vault();
    net::ClientOptions options;
    options.unix_socket = folder_ / "vaultd.sock";
    options.base_url = "http://daemon";
    vault_client_ = net::Client::create(std::move(options)).value();
  }
  ~ControldTest() override {
    stop_vault();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // A vault that issues certificates for 90 days, of the profile that the real one uses.
  void start_vault() {
    net::Router router;
    router.on("GET", "/v1/ca", [this](const net::Request&) {
      return net::Response::json(200, json::Object{{"certificatePem", ca_.pem()}});
    });
    router.on("POST", "/v1/certificates/server", [this](const net::Request& request) {
      const json::Value body = request.json_body().value();
      const auto csr =
          crypto::CertificateRequest::from_pem(std::string_view(body.at("csrPem").get_string())).value();
      std::vector<std::string> names;
      for (const json::Value& name : body.at("names").get_array()) names.emplace_back(name.get_string());
      const auto made =
          crypto::issue_certificate(ca_key_, ca_, csr.public_key(),
                                    crypto::tls_server_content("controld", names, clock_.now(), days(90)))
              .value();
      ++issued_;
      return net::Response::json(
          200, json::Object{{"certificatePem", made.pem()}, {"chainPem", made.pem() + ca_.pem()}});
    });
    net::ServerOptions options;
    options.unix_listener = listen_unix(folder_ / "vaultd.sock").value();
    vault_ = net::Server::start(std::move(options), std::move(router)).value();
  }
  void stop_vault() { vault_.reset(); }

  CertificateKeeper keeper(std::vector<std::string> names = {"localhost", "127.0.0.1"}) {
    return {folder_ / "tls", std::move(names), *vault_client_, clock_};
  }

  std::filesystem::path folder_;
  FixedClock clock_{Clock::system().now()};
  crypto::PrivateKey ca_key_ = crypto::PrivateKey::generate(crypto::KeyKind::ec_p384).value();
  crypto::Certificate ca_ =
      crypto::make_self_signed(ca_key_,
                               crypto::site_ca_content("Bootseal site CA 1", clock_.now(), days(3650)))
          .value();
  std::unique_ptr<net::Server> vault_;
  std::unique_ptr<net::Client> vault_client_;
  std::atomic<int> issued_ = 0;
};

TEST_F(ControldTest, TheCertificateIsAskedForOnceAndKept) {
  const ServerCertificate first = keeper().get().value();
  const ServerCertificate second = keeper().get().value();
  EXPECT_EQ(issued_, 1);
  EXPECT_EQ(first.chain_pem, second.chain_pem);
  EXPECT_EQ(std::filesystem::status(folder_ / "tls/key.pem").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(ControldTest, ItIsRenewedWhenAThirdOfItsLifeIsLeftWithANewKey) {
  const ServerCertificate first = keeper().get().value();
  clock_.advance(days(55));
  EXPECT_FALSE(keeper().is_due(first));
  clock_.advance(days(10));
  EXPECT_TRUE(keeper().is_due(first));
  const ServerCertificate second = keeper().get().value();
  EXPECT_NE(first.key_pem, second.key_pem);
  EXPECT_FALSE(keeper().is_due(second));
}

TEST_F(ControldTest, WhileTheVaultIsAwayTheKeptOneServesToItsEnd) {
  const ServerCertificate first = keeper().get().value();
  stop_vault();
  clock_.advance(days(70));
  EXPECT_EQ(keeper().get().value().chain_pem, first.chain_pem);
  clock_.advance(days(30));
  EXPECT_EQ(keeper().get().error().code, ErrorCode::unavailable);
}

TEST_F(ControldTest, ANewNameOrADamagedFileGetsANewCertificate) {
  ASSERT_TRUE(keeper().get());
  ASSERT_TRUE(keeper({"localhost", "127.0.0.1", "server.example"}).get());
  EXPECT_EQ(issued_, 2);
  ASSERT_TRUE(replace_file(folder_ / "tls/key.pem", as_bytes("damaged")));
  ASSERT_TRUE(keeper({"localhost"}).get());
  EXPECT_EQ(issued_, 3);
  const auto other_key = crypto::PrivateKey::generate(crypto::KeyKind::ec_p256).value();
  ASSERT_TRUE(replace_file(folder_ / "tls/key.pem", other_key.pem().view()));
  ASSERT_TRUE(keeper({"localhost"}).get());
  EXPECT_EQ(issued_, 4);
}

// The AK certificate of a guest's TPM chains to the same CA. It must not let the guest in as an
// administrator.
TEST_F(ControldTest, OnlyAClientCertificateOfTheSiteLetsIn) {
  const ServerCertificate certificate = keeper().get().value();
  net::Router router;
  router.on("GET", "/who", [](const net::Request& request) {
    return net::Response::json(200, json::Object{{"name", request.peer.certificate_name}});
  });
  net::ServerOptions options;
  options.tcp_listener = open_tcp_listener("127.0.0.1:0", folder_).value().fd;
  options.tls = certificate.settings();
  const auto server = net::Server::start(std::move(options), std::move(router)).value();
  const crypto::PrivateKey key = crypto::PrivateKey::generate(crypto::KeyKind::ec_p256).value();
  const auto ask = [&](const crypto::CertificateContent& content) {
    const auto client_certificate =
        crypto::issue_certificate(ca_key_, ca_, key.public_key(), content).value();
    net::ClientOptions client;
    client.base_url = "https://127.0.0.1:" + std::to_string(server->tcp_port());
    client.ca_pem = certificate.ca_pem;
    client.client_certificate_pem = client_certificate.pem();
    client.client_key_pem = as_text(key.pem().view());
    const auto answer = net::Client::create(std::move(client)).value()->call_json("GET", "/who");
    return answer ? std::string(answer->at("name").get_string()) : "refused";
  };
  EXPECT_EQ(ask(crypto::tls_client_content("admin", clock_.now(), days(1))), "admin");
  EXPECT_EQ(ask(crypto::tpm_ak_content("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "vm1", clock_.now(), days(1))),
            "refused");
  EXPECT_EQ(ask(crypto::tls_server_content("admin", {"localhost"}, clock_.now(), days(1))), "refused");
}

TEST_F(ControldTest, APortThatWasChosenOnceIsKept) {
  std::uint16_t port = 0;
  {
    const TcpListener first = open_tcp_listener("127.0.0.1:0", folder_).value();
    port = first.port;
    EXPECT_NE(port, 0);
    EXPECT_EQ(first.endpoint(), "https://127.0.0.1:" + std::to_string(port));
  }
  EXPECT_EQ(open_tcp_listener("127.0.0.1:0", folder_).value().port, port);
}

TEST_F(ControldTest, AddressesThatAreNoneAreRefusedWithTheVariableToSet) {
  EXPECT_THAT(open_tcp_listener("8443", folder_).error().message, HasSubstr("BOOTSEAL_LISTEN"));
  EXPECT_THAT(open_tcp_listener("localhost:8443", folder_).error().message,
              HasSubstr("not an IPv4 or IPv6 address"));
  EXPECT_THAT(open_tcp_listener("127.0.0.1:70000", folder_).error().message, HasSubstr("not a port"));
  const TcpListener taken = open_tcp_listener("127.0.0.1:0", folder_ / "a").value();
  const auto busy = open_tcp_listener("127.0.0.1:" + std::to_string(taken.port), folder_ / "b");
  EXPECT_EQ(busy.error().code, ErrorCode::conflict);
  EXPECT_THAT(busy.error().message,
              HasSubstr("port " + std::to_string(taken.port) + " of 127.0.0.1 is in use by another program"));
  EXPECT_THAT(busy.error().message, HasSubstr("BOOTSEAL_LISTEN"));
}

TEST_F(ControldTest, AWildcardAddressIsNamedByTheLoopbackOne) {
  EXPECT_THAT(open_tcp_listener("0.0.0.0:0", folder_).value().endpoint(), HasSubstr("https://127.0.0.1:"));
}

}  // namespace
}  // namespace bootseal::controld
