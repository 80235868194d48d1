#include "bootseal/crypto/x509.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <unistd.h>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"

namespace bootseal::crypto {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Bytes fixture(const std::string& name) {
  return *read_file(std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/crypto/tests/data" / name, 1 << 20);
}

const TimePoint kNow = *parse_time("2026-11-21T12:00:00Z");
constexpr std::string_view kVm = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

struct Authority {
  PrivateKey key = *PrivateKey::generate(KeyKind::ec_p384);
  Certificate certificate =
      *make_self_signed(key, site_ca_content("Bootseal site CA test", kNow, std::chrono::days(3650)));
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/bootseal-x509-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, std::string_view content) const {
    const auto path = path_ / name;
    EXPECT_TRUE(replace_file(path, as_bytes(content)));
    return path.string();
  }

 private:
  std::filesystem::path path_;
};

std::string openssl(std::vector<std::string> arguments, std::string_view input = "") {
  arguments.insert(arguments.begin(), "openssl");
  Command command;
  command.arguments = std::move(arguments);
  const Result<CommandOutput> output = run_command(command, as_bytes(input));
  return output ? output->standard_output + output->standard_error : output.error().describe();
}

TEST(X509, ReadsTheEkCertificateOfARealTpm) {
  const Certificate certificate = *Certificate::from_der(fixture("infineon-035-ecc-ek.der"));
  EXPECT_EQ(certificate.subject(), "");
  EXPECT_EQ(certificate.issuer_common_name(), "Infineon OPTIGA(TM) ECC Manufacturing CA 035");
  EXPECT_TRUE(certificate.has_extended_key_usage(kOidEkCertificate));
  EXPECT_FALSE(certificate.has_extended_key_usage(kOidAkCertificate));
  EXPECT_TRUE(certificate.alternative_names_critical());
  EXPECT_FALSE(certificate.is_ca());
  EXPECT_EQ(certificate.key_usage(), kUsageKeyAgreement);
  const AlternativeNames names = certificate.alternative_names();
  ASSERT_EQ(names.directory.size(), 3U);
  EXPECT_EQ(names.directory[0], (NameAttribute{std::string(kOidTpmManufacturer), "id:49465800"}));
  EXPECT_EQ(names.directory[1].type, kOidTpmModel);
  EXPECT_EQ(format_time(certificate.not_before()).substr(0, 10), "2018-03-01");
  EXPECT_EQ(certificate.public_key()->kind(), KeyKind::ec_p256);
  EXPECT_EQ(certificate.sha256().to_hex(),
            "dfd310e73a14eb3e81e8dc77b0580b6715e123467a2e8ddce417ca3ef773ae15");
}

TEST(X509, ReadsACertificateWhoseDerIsNotStrict) {
  const Bytes der = fixture("malformed-der-set-order-ek.der");
  const Result<Certificate> certificate = Certificate::from_der(der);
  ASSERT_TRUE(certificate);
  EXPECT_TRUE(certificate->has_extended_key_usage(kOidEkCertificate));
}

TEST(X509, RefusesMalformedBytesAndTrailingBytes) {
  EXPECT_EQ(Certificate::from_der(fixture("malformed-21-bytes.der")).error().code,
            ErrorCode::invalid_argument);
  EXPECT_FALSE(Certificate::from_der({}));
  Bytes der = fixture("stm-06-rsa-ek.der");
  ASSERT_TRUE(Certificate::from_der(der));
  der.push_back(std::byte{0});
  EXPECT_EQ(Certificate::from_der(der).error().message, "there are bytes behind the certificate");
  EXPECT_FALSE(Certificate::from_pem("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(X509, VerifiesARealChainAndNamesWhatIsWrong) {
  const Certificate leaf = *Certificate::from_der(fixture("google-pca-rsa-ak.der"));
  const Certificate intermediate = *Certificate::from_der(fixture("gcp-ek-ak-ca-intermediate-v3.der"));
  const Certificate root = *Certificate::from_der(fixture("gcp-ek-ak-ca-root.der"));
  EXPECT_TRUE(verify_chain(leaf, {intermediate}, {root}, kNow, ""));
  EXPECT_THAT(verify_chain(leaf, {}, {root}, kNow, "").error().message,
              HasSubstr("unable to get local issuer certificate"));
  EXPECT_THAT(
      verify_chain(leaf, {intermediate}, {root}, *parse_time("2060-01-01T00:00:00Z"), "").error().message,
      HasSubstr("certificate has expired"));
  EXPECT_THAT(verify_chain(leaf, {intermediate}, {root}, kNow, kOidAkCertificate).error().message,
              HasSubstr("lacks the extended key usage"));
  EXPECT_FALSE(verify_chain(leaf, {intermediate}, {Authority().certificate}, kNow, ""));
}

TEST(X509, IssuesTpmCertificatesThatOpensslAccepts) {
  const Authority authority;
  const PrivateKey ek = *PrivateKey::generate(KeyKind::rsa), ak = *PrivateKey::generate(KeyKind::ec_p256);
  const Certificate ek_certificate =
      *issue_certificate(authority.key, authority.certificate, ek.public_key(),
                         tpm_ek_content(kVm, "web-1", KeyKind::rsa, kNow, std::chrono::days(100)));
  const Certificate ak_certificate =
      *issue_certificate(authority.key, authority.certificate, ak.public_key(),
                         tpm_ak_content(kVm, "web-1", kNow, std::chrono::days(100)));
  EXPECT_TRUE(verify_chain(ek_certificate, {}, {authority.certificate}, kNow, kOidEkCertificate));
  EXPECT_TRUE(verify_chain(ak_certificate, {}, {authority.certificate}, kNow, kOidAkCertificate));
  EXPECT_FALSE(verify_chain(ek_certificate, {}, {authority.certificate}, kNow, kOidAkCertificate));
  EXPECT_EQ(ek_certificate.key_usage(), kUsageKeyEncipherment);
  EXPECT_EQ(ak_certificate.key_usage(), kUsageDigitalSignature);
  EXPECT_THAT(ak_certificate.alternative_names().uris, ElementsAre("urn:uuid:" + std::string(kVm)));
  EXPECT_EQ(ak_certificate.subject_common_name(), "web-1");
  EXPECT_EQ(*ak_certificate.public_key(), ak.public_key());
  EXPECT_NE(ek_certificate.serial(), ak_certificate.serial());

  const TemporaryFolder folder;
  const std::string ca = folder.write("ca.pem", authority.certificate.pem()),
                    leaf = folder.write("ek.pem", ek_certificate.pem());
  EXPECT_THAT(openssl({"verify", "-x509_strict", "-CAfile", ca, "-attime", "1795262400", leaf}),
              HasSubstr(": OK"));
  const std::string text = openssl({"x509", "-noout", "-text", "-in", leaf});
  EXPECT_THAT(text, HasSubstr("2.23.133.8.1"));
  EXPECT_THAT(text, HasSubstr("Key Encipherment"));
  EXPECT_THAT(text, HasSubstr("DirName:/2.23.133.2.1=id:49424D00/2.23.133.2.2=Bootseal vTPM"));
  EXPECT_THAT(text, HasSubstr("CA:FALSE"));
  EXPECT_THAT(text, HasSubstr("ecdsa-with-SHA384"));
}

TEST(X509, MarksAlternativeNamesCriticalWhenThereIsNoSubject) {
  const Authority authority;
  CertificateContent content = tpm_ek_content(kVm, "web-1", KeyKind::ec_p256, kNow, std::chrono::days(1));
  content.subject.clear();
  const PrivateKey key = *PrivateKey::generate(KeyKind::ec_p256);
  const Certificate certificate =
      *issue_certificate(authority.key, authority.certificate, key.public_key(), content);
  EXPECT_TRUE(certificate.alternative_names_critical());
  EXPECT_TRUE(verify_chain(certificate, {}, {authority.certificate}, kNow, kOidEkCertificate));
}

TEST(X509, DoesNotTrustCertificatesOfAnotherAuthorityOrOfALeaf) {
  const Authority authority, other;
  const PrivateKey key = *PrivateKey::generate(KeyKind::ec_p256);
  const Certificate leaf = *issue_certificate(authority.key, authority.certificate, key.public_key(),
                                              tls_client_content("c", kNow, std::chrono::days(1)));
  EXPECT_FALSE(verify_chain(leaf, {}, {other.certificate}, kNow, ""));
  // Signed by a leaf as if it were a CA.
  const Certificate forged = *issue_certificate(key, leaf, authority.key.public_key(),
                                                tpm_ak_content(kVm, "web-1", kNow, std::chrono::days(1)));
  EXPECT_FALSE(verify_chain(forged, {leaf}, {authority.certificate}, kNow, kOidAkCertificate));
  // Names the authority as its issuer, signed by somebody else.
  const Certificate imitated = *issue_certificate(other.key, authority.certificate, key.public_key(),
                                                  tpm_ak_content(kVm, "web-1", kNow, std::chrono::days(1)));
  EXPECT_FALSE(verify_chain(imitated, {}, {authority.certificate}, kNow, kOidAkCertificate));
}

TEST(X509, IssuesServerCertificatesForRequestsMadeElsewhere) {
  const Authority authority;
  const TemporaryFolder folder;
  const std::string key_file = folder.write(
      "key.pem", openssl({"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-quiet"}));
  const Result<CertificateRequest> request =
      CertificateRequest::from_pem(openssl({"req", "-new", "-subj", "/CN=controld", "-key", key_file}));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->common_name(), "controld");
  const Certificate certificate =
      *issue_certificate(authority.key, authority.certificate, request->public_key(),
                         tls_server_content(request->common_name(), {"rack-1.example", "127.0.0.1", "::1"},
                                            kNow, std::chrono::days(2)));
  EXPECT_THAT(certificate.alternative_names().dns, ElementsAre("rack-1.example"));
  EXPECT_THAT(certificate.alternative_names().addresses, ElementsAre("127.0.0.1", "::1"));
  const std::string ca = folder.write("ca.pem", authority.certificate.pem()),
                    leaf = folder.write("leaf.pem", certificate.pem());
  const auto verify = [&](const std::string& option, const std::string& name) {
    return openssl(
        {"verify", "-CAfile", ca, "-purpose", "sslserver", "-attime", "1795262400", option, name, leaf});
  };
  EXPECT_THAT(verify("-verify_hostname", "rack-1.example"), HasSubstr(": OK"));
  EXPECT_THAT(verify("-verify_ip", "127.0.0.1"), HasSubstr(": OK"));
  EXPECT_THAT(verify("-verify_hostname", "rack-2.example"), HasSubstr("hostname mismatch"));
}

TEST(X509, MakesRequestsThatOpensslAcceptsAndRefusesForgedOnes) {
  const PrivateKey key = *PrivateKey::generate(KeyKind::ec_p256);
  const CertificateRequest request = *CertificateRequest::create(key, {{"CN", "admin"}});
  EXPECT_THAT(openssl({"req", "-verify", "-noout", "-subject"}, request.pem()), HasSubstr("CN = admin"));
  EXPECT_EQ(request.public_key(), key.public_key());
  // A changed character in the middle of the base64 breaks the request's own signature or its form.
  std::string forged = request.pem();
  const std::size_t middle = forged.find('\n') + 40;
  forged[middle] = forged[middle] == 'A' ? 'B' : 'A';
  EXPECT_EQ(CertificateRequest::from_pem(forged).error().code, ErrorCode::invalid_argument);
  EXPECT_FALSE(CertificateRequest::from_pem(""));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(X509, RefusesContentThatCannotBeWritten) {
  const Authority authority;
  const auto issue = [&](const CertificateContent& content) {
    return issue_certificate(authority.key, authority.certificate, authority.key.public_key(), content);
  };
  EXPECT_EQ(issue(tls_server_content("x", {"two words"}, kNow, std::chrono::days(1))).error().code,
            ErrorCode::invalid_argument);
  EXPECT_FALSE(issue(tls_server_content("x", {std::string("a\0b", 3)}, kNow, std::chrono::days(1))));
  EXPECT_FALSE(issue(tls_client_content(std::string(65, 'x'), kNow, std::chrono::days(1))));
  CertificateContent content = tls_client_content("x", kNow, std::chrono::days(1));
  content.not_after = content.not_before;
  EXPECT_FALSE(issue(content));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(X509, SelfSignedAuthoritySaysWhatItIs) {
  const Authority authority;
  EXPECT_TRUE(authority.certificate.is_ca());
  EXPECT_EQ(authority.certificate.subject(), authority.certificate.issuer());
  EXPECT_EQ(authority.certificate.key_usage(), kUsageCertificateSign | kUsageCrlSign);
  EXPECT_TRUE(verify_chain(authority.certificate, {}, {authority.certificate}, kNow, ""));
  EXPECT_EQ(Certificate::list_from_pem(authority.certificate.pem() + authority.certificate.pem())->size(),
            2U);
  EXPECT_EQ(Certificate::from_der(authority.certificate.der())->pem(), authority.certificate.pem());
}

}  // namespace
}  // namespace bootseal::crypto
