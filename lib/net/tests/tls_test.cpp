// TLS at both ends, and with curl and openssl as independent clients.
#include <fmt/format.h>
#include <sys/socket.h>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"
#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TlsTest : public ServedTest {
 protected:
  // Answers who the caller is.
  static Router who_router() {
    Router router;
    router.on("GET", "/who", [](const Request& request) {
      const bool known = request.peer.kind == Peer::Kind::certificate;
      return Response::json(200, json::Object{{"known", known},
                                              {"name", request.peer.certificate_name},
                                              {"sha256", request.peer.certificate_sha256},
                                              {"address", request.peer.address}});
    });
    return router;
  }
  [[nodiscard]] std::filesystem::path file(const std::string& name, const std::string& content) const {
    const auto path = folder_.path() / name;
    BOOTSEAL_CHECK(replace_file(path, as_bytes(content)).has_value());
    return path;
  }
  static Result<CommandOutput> run(std::vector<std::string> arguments, std::string_view input = "") {
    return run_command({.arguments = std::move(arguments)}, as_bytes(input), std::chrono::seconds{20});
  }
  [[nodiscard]] Error error_of(ClientOptions options) const {
    const auto reply = connect(std::move(options))->send({.target = "/who"});
    EXPECT_FALSE(reply);
    return reply ? Error{} : reply.error();
  }
};

TEST_F(TlsTest, AClientWithoutACertificateIsAnonymous) {
  serve(who_router());
  const auto who = connect(tls_options())->call_json("GET", "/who");
  ASSERT_TRUE(who) << who.error().describe();
  EXPECT_FALSE(who->at("known").as_bool());
  EXPECT_EQ(who->at("name").as_string(), "");
  EXPECT_THAT(std::string(who->at("address").as_string()), ::testing::MatchesRegex("127\\.0\\.0\\.1:[0-9]+"));
}

TEST_F(TlsTest, AClientWithACertificateOfTheSiteIsKnownByIt) {
  serve(who_router());
  const Identity identity = issue_client(site_ca(), "host:räck-1");
  ClientOptions options = tls_options();
  options.client_certificate_pem = identity.certificate_pem;
  options.client_key_pem = identity.key_pem;
  const auto who = connect(options)->call_json("GET", "/who");
  ASSERT_TRUE(who) << who.error().describe();
  EXPECT_TRUE(who->at("known").as_bool());
  EXPECT_EQ(who->at("name").as_string(), "host:räck-1");
  EXPECT_EQ(who->at("sha256").as_string(), fingerprint(identity.certificate_pem));
}

TEST_F(TlsTest, CertificatesOfOthersAreRefusedNotIgnored) {
  serve(who_router());
  const Identity foreign_ca = make_ca("Test site CA");  // the same name, another key
  for (const Identity& identity : {issue_client(foreign_ca, "host:rack-1"), issue_server(site_ca())}) {
    ClientOptions options = tls_options();
    options.client_certificate_pem = identity.certificate_pem;
    options.client_key_pem = identity.key_pem;
    EXPECT_EQ(error_of(options).code, ErrorCode::unauthenticated) << error_of(options).describe();
  }
}

TEST_F(TlsTest, TheClientRefusesAServerOfAnUnknownCa) {
  serve(who_router());
  ClientOptions options = tls_options();
  options.ca_pem = make_ca("Test site CA").certificate_pem;
  const Error error = error_of(options);
  EXPECT_EQ(error.code, ErrorCode::unauthenticated);
  EXPECT_THAT(error.message, AllOf(HasSubstr("TLS verification failed"), HasSubstr(url())));
}

TEST_F(TlsTest, TheClientRefusesACertificateOfAnotherHost) {
  const Identity other = issue_server(site_ca(), "DNS:other.example");
  auto server = Server::start({.tcp_address = "127.0.0.1", .tls = {other.certificate_pem, other.key_pem, ""}},
                              who_router());
  ASSERT_TRUE(server) << server.error().describe();
  server_ = *std::move(server);
  EXPECT_EQ(error_of(tls_options()).code, ErrorCode::unauthenticated);
}

TEST_F(TlsTest, ClientsAreRefusedAtTheStartWhenTheirPemTextsAreNoGood) {
  const auto error_of_create = [](ClientOptions options) {
    const auto client = Client::create(std::move(options));
    EXPECT_FALSE(client);
    return client ? Error{} : client.error();
  };
  const std::string address = "https://127.0.0.1:1";
  const std::string ca = site_ca().certificate_pem;
  EXPECT_THAT(error_of_create({.base_url = address}).message, HasSubstr("without the CA certificate"));
  EXPECT_THAT(error_of_create({.base_url = "http://127.0.0.1", .ca_pem = ca}).message, HasSubstr("https://"));
  EXPECT_THAT(error_of_create({.base_url = address, .ca_pem = "nonsense"}).message,
              HasSubstr("CA certificate is no PEM"));
  EXPECT_THAT(error_of_create(
                  {.base_url = address, .ca_pem = ca, .client_certificate_pem = ca, .client_key_pem = "x"})
                  .message,
              HasSubstr("private key is no"));
  EXPECT_EQ(error_of_create({.base_url = address, .ca_pem = ca, .bearer_token = "a\r\nb"}).code,
            ErrorCode::invalid_argument);
}

TEST_F(TlsTest, ServesAnUnmodifiedCurl) {
  serve(hello_router());
  const auto ca = file("ca.pem", site_ca().certificate_pem);
  const auto output = run({"curl", "-sS", "-i", "--cacert", ca.string(), url() + "/hello", url() + "/hello"});
  ASSERT_TRUE(output) << output.error().describe();
  EXPECT_EQ(output->exit_code, 0) << output->standard_error;
  EXPECT_THAT(output->standard_output,
              AllOf(HasSubstr("HTTP/1.1 200 OK"), HasSubstr(R"({"greeting":"hello"})")));
  // More than a megabyte, for which curl sends Expect: 100-continue by itself.
  const auto body = file("body", std::string(2 << 20, 'b'));
  const auto echoed = run(
      {"curl", "-sS", "-v", "--cacert", ca.string(), "--data-binary", "@" + body.string(), url() + "/echo"});
  ASSERT_TRUE(echoed);
  EXPECT_EQ(echoed->standard_output, std::string(2 << 20, 'b'));
  EXPECT_THAT(echoed->standard_error, HasSubstr("100 Continue"));
  const auto foreign = run({"curl", "-sS", url() + "/hello"});
  EXPECT_EQ(foreign->exit_code, 60);  // the system's roots do not know the site
  const auto over_unix = run({"curl", "-sS", "--unix-socket", socket_path().string(), "http://daemon/hello"});
  EXPECT_EQ(over_unix->standard_output, R"({"greeting":"hello"})");
}

TEST_F(TlsTest, SpeaksTls12And13AndNothingOlder) {
  serve(hello_router());
  const auto ca = file("ca.pem", site_ca().certificate_pem);
  const std::string address = fmt::format("127.0.0.1:{}", server_->tcp_port());
  const auto handshake = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "openssl", "s_client", "-connect", address, "-CAfile", ca.string(), "-verify_return_error", "-brief"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto output = run(arguments, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(output);
    return output->standard_output + output->standard_error;
  };
  EXPECT_THAT(handshake({"-tls1_3"}),
              AllOf(HasSubstr("Protocol version: TLSv1.3"), HasSubstr("Verification: OK")));
  EXPECT_THAT(handshake({"-tls1_2"}),
              AllOf(HasSubstr("Protocol version: TLSv1.2"), HasSubstr("Verification: OK")));
  EXPECT_THAT(handshake({"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}),
              AllOf(HasSubstr("error"), Not(HasSubstr("Protocol version"))));
  // No key exchange without forward secrecy, no unauthenticated one.
  EXPECT_THAT(handshake({"-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"}),
              Not(HasSubstr("Protocol version")));
}

TEST_F(TlsTest, PlainHttpToTheTlsPortIsNotAnswered) {
  serve(hello_router());
  const auto output = run({"curl", "-sS", fmt::format("http://127.0.0.1:{}/hello", server_->tcp_port())});
  ASSERT_TRUE(output);
  EXPECT_NE(output->exit_code, 0);
  EXPECT_TRUE(connect(tls_options())->call_json("GET", "/hello"));
}

TEST_F(TlsTest, ServesOnAListenerThatWasMadeByItsCaller) {
  const int raw = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  UniqueFd listener(raw);
  ASSERT_EQ(::listen(raw, 4), 0);
  const Identity identity = issue_server(site_ca());
  auto server = Server::start(
      {.tcp_listener = std::move(listener), .tls = {identity.certificate_pem, identity.key_pem, ""}},
      hello_router());
  ASSERT_TRUE(server) << server.error().describe();
  server_ = *std::move(server);
  EXPECT_NE(server_->tcp_port(), 0);
  EXPECT_TRUE(connect(tls_options())->call_json("GET", "/hello"));
}

}  // namespace
}  // namespace bootseal::net::testing
