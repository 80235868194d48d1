#include "bootseal/uefi/authenticode.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "bootseal/base/subprocess.h"
#include "bootseal/uefi/guids.h"
#include "bootseal/uefi/templates.h"
#include "files.h"

namespace bootseal::uefi {
namespace {

using ::testing::HasSubstr;

std::filesystem::path certificate_path(std::string_view name) {
  return std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/uefi/data/certs" / fmt::format("{}.der", name);
}

SignatureDatabase database_of(std::initializer_list<std::string_view> certificates) {
  SignatureDatabase database;
  for (const std::string_view name : certificates)
    database.push_back(x509_list(kOwnerMicrosoft, read_or_fail(certificate_path(name))));
  return database;
}

PeImage image_of(const Bytes& file) {
  Result<PeImage> image = PeImage::parse(file);
  if (!image) throw std::runtime_error(image.error().describe());
  return *std::move(image);
}

SecureBootJudgement judge(const Bytes& file, const SignatureDatabase& db, const SignatureDatabase& dbx = {}) {
  const Result<SecureBootJudgement> judgement = judge_image(image_of(file), db, dbx);
  if (!judgement) throw std::runtime_error(judgement.error().describe());
  return *judgement;
}

// The same image without its signatures.
Bytes without_signature(const Bytes& file) {
  Bytes stripped = file;
  stripped.resize(file.size() - image_of(file).certificate_table().size());
  const std::size_t entry = load_le32(file, 0x3c) + 24 + 112 + 4 * 8;
  store_le64(stripped, entry, 0);
  return stripped;
}

// One byte of the code is another one.
Bytes tampered(const Bytes& file) {
  Bytes changed = file;
  changed[0x20000] ^= std::byte{1};
  return changed;
}

TEST(Authenticode, HashAgreesWithPesign) {
  for (const char* file :
       {kSignedShim, kSignedGrub, "/usr/lib/shim/mmx64.efi.signed", "/usr/lib/shim/shimx64.efi"}) {
    const Result<std::string> output = run_checked({.arguments = {"pesign", "-h", "-i", file}});
    ASSERT_TRUE(output) << output.error().describe();
    const Bytes bytes = read_or_fail(file);
    EXPECT_THAT(*output, HasSubstr(image_of(bytes).authenticode_sha256().to_hex())) << file;
  }
}

TEST(Authenticode, SigningDoesNotChangeTheHash) {
  const Bytes grub = read_or_fail(kSignedGrub);
  const Bytes stripped = without_signature(grub);
  EXPECT_EQ(image_of(stripped).authenticode_sha256(), image_of(grub).authenticode_sha256());
  EXPECT_NE(image_of(tampered(grub)).authenticode_sha256(), image_of(grub).authenticode_sha256());
}

TEST(Authenticode, ReadsBothSignaturesOfShim) {
  const Bytes shim = read_or_fail(kSignedShim);
  const auto signatures = image_signatures(image_of(shim));
  ASSERT_TRUE(signatures) << signatures.error().describe();
  ASSERT_EQ(signatures->size(), 2U);
  EXPECT_EQ((*signatures)[0].signer, "Microsoft Windows UEFI Driver Publisher");
  EXPECT_EQ((*signatures)[0].issuer, "Microsoft Corporation UEFI CA 2011");
  EXPECT_EQ((*signatures)[1].signer, "Microsoft UEFI CA 2023 signer");
  EXPECT_EQ((*signatures)[1].issuer, "Microsoft UEFI CA 2023");
  for (const ImageSignature& signature : *signatures) EXPECT_TRUE(signature.digest_matches);
}

TEST(Authenticode, ShimIsAllowedByEitherMicrosoftCertificate) {
  const Bytes shim = read_or_fail(kSignedShim);
  for (const auto& [file, name] : {std::pair("microsoft-uefi-ca-2011", "Microsoft Corporation UEFI CA 2011"),
                                   std::pair("microsoft-uefi-ca-2023", "Microsoft UEFI CA 2023")}) {
    const SecureBootJudgement judgement = judge(shim, database_of({file}));
    EXPECT_EQ(judgement.verdict, SecureBootVerdict::allowed_by_certificate);
    EXPECT_EQ(judgement.certificate, name);
  }
}

TEST(Authenticode, ShimIsRefusedWithoutATrustedCertificate) {
  const Bytes shim = read_or_fail(kSignedShim);
  // sbverify says OK here: the signature brings its own chain.
  EXPECT_EQ(
      judge(shim, database_of({"microsoft-windows-pca-2011", "microsoft-windows-uefi-ca-2023"})).verdict,
      SecureBootVerdict::refused_untrusted);
  EXPECT_EQ(judge(shim, {}).verdict, SecureBootVerdict::refused_untrusted);
  EXPECT_EQ(judge(without_signature(shim), database_of({"microsoft-uefi-ca-2011"})).verdict,
            SecureBootVerdict::refused_unsigned);
}

TEST(Authenticode, TheTemplatesDecideAsTheirNamesSay) {
  const Bytes shim = read_or_fail(kSignedShim);
  const TemplateKeys third_party = template_keys(SignatureTemplate::microsoft_uefi_certificate_authority);
  const TemplateKeys windows = template_keys(SignatureTemplate::microsoft_windows);
  EXPECT_TRUE(is_allowed(judge(shim, third_party.db, third_party.dbx).verdict));
  EXPECT_FALSE(is_allowed(judge(shim, windows.db, windows.dbx).verdict));
}

TEST(Authenticode, DbxCondemnsByHashAndByAnySigner) {
  const Bytes shim = read_or_fail(kSignedShim);
  const SignatureDatabase both = database_of({"microsoft-uefi-ca-2011", "microsoft-uefi-ca-2023"});
  const SignatureDatabase hash = {
      sha256_list(kOwnerBootseal, {crypto::sha256({}), image_of(shim).authenticode_sha256()})};
  EXPECT_EQ(judge(shim, both, hash).verdict, SecureBootVerdict::refused_hash_revoked);
  // The second signature is good and does not help.
  const SecureBootJudgement judgement = judge(shim, both, database_of({"microsoft-uefi-ca-2011"}));
  EXPECT_EQ(judgement.verdict, SecureBootVerdict::refused_signer_revoked);
  EXPECT_EQ(judgement.certificate, "Microsoft Corporation UEFI CA 2011");
}

TEST(Authenticode, DbxCondemnsByTheHashOfACertificateToBeSigned) {
  const Bytes shim = read_or_fail(kSignedShim);
  const SignatureDatabase both = database_of({"microsoft-uefi-ca-2011", "microsoft-uefi-ca-2023"});
  // The to-be-signed part is the first element inside the certificate; openssl asn1parse cuts it out.
  const std::filesystem::path tbs = std::filesystem::path(testing::TempDir()) / "tbs.der";
  ASSERT_TRUE(run_checked(
      {.arguments = {"openssl", "asn1parse", "-inform", "DER", "-in",
                     certificate_path("microsoft-uefi-ca-2023"), "-strparse", "4", "-noout", "-out", tbs}}));
  Bytes entry = to_bytes(crypto::sha256(read_or_fail(tbs)).view());
  entry.resize(48);
  const SignatureDatabase dbx = {{.type = guid_literal("3bd2a492-96c0-4079-b420-fcf98ef103ed"),
                                  .header = {},
                                  .signatures = {{.owner = kOwnerMicrosoft, .data = entry}}}};
  const SecureBootJudgement judgement = judge(shim, both, dbx);
  EXPECT_EQ(judgement.verdict, SecureBootVerdict::refused_signer_revoked);
  EXPECT_EQ(judgement.certificate, "Microsoft UEFI CA 2023");
}

TEST(Authenticode, AHashInDbAllowsAnUnsignedImage) {
  const Bytes unsigned_shim = without_signature(read_or_fail(kSignedShim));
  const SignatureDatabase db = {sha256_list(kOwnerBootseal, {image_of(unsigned_shim).authenticode_sha256()})};
  EXPECT_EQ(judge(unsigned_shim, db).verdict, SecureBootVerdict::allowed_by_hash);
}

TEST(Authenticode, ShimTrustsGrubThroughItsVendorCertificate) {
  const Bytes shim = read_or_fail(kSignedShim), grub = read_or_fail(kSignedGrub);
  const auto vendor = vendor_databases(image_of(shim));
  ASSERT_TRUE(vendor) << vendor.error().describe();
  const SecureBootJudgement judgement = judge(grub, vendor->db, vendor->dbx);
  EXPECT_EQ(judgement.verdict, SecureBootVerdict::allowed_by_certificate);
  EXPECT_EQ(judgement.certificate, "Debian Secure Boot CA");
  EXPECT_EQ(judge(grub, database_of({"microsoft-uefi-ca-2011"})).verdict,
            SecureBootVerdict::refused_untrusted);
  EXPECT_EQ(vendor_databases(image_of(grub)).error().code, ErrorCode::not_found);
}

TEST(Authenticode, OneChangedByteIsCaughtByTheDigestOnly) {
  const Bytes shim = read_or_fail(kSignedShim), grub = tampered(read_or_fail(kSignedGrub));
  EXPECT_FALSE(image_signatures(image_of(grub))->front().digest_matches);
  const SecureBootJudgement judgement = judge(grub, vendor_databases(image_of(shim))->db);
  EXPECT_EQ(judgement.verdict, SecureBootVerdict::refused_changed);
  EXPECT_THAT(judgement.reason, HasSubstr("changed after it was signed under Debian Secure Boot CA"));
}

TEST(Authenticode, KnowsImagesThatSbsignSigned) {
  const std::filesystem::path folder = testing::TempDir();
  const std::string key = folder / "own.key", pem = folder / "own.pem", der = folder / "own.der",
                    in = folder / "unsigned.efi", out = folder / "signed.efi";
  ASSERT_TRUE(
      run_checked({.arguments = {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
                                 "-out", pem, "-subj", "/CN=Own key", "-days", "1"}}));
  ASSERT_TRUE(run_checked({.arguments = {"openssl", "x509", "-in", pem, "-outform", "DER", "-out", der}}));
  ASSERT_TRUE(replace_file(in, without_signature(read_or_fail("/usr/lib/shim/fbx64.efi.signed"))));
  ASSERT_TRUE(run_checked({.arguments = {"sbsign", "--key", key, "--cert", pem, "--output", out, in}}));
  const Bytes image = read_or_fail(out);
  EXPECT_EQ(image_signatures(image_of(image))->front().signer, "Own key");
  EXPECT_EQ(judge(image, {x509_list(kOwnerBootseal, read_or_fail(der))}).verdict,
            SecureBootVerdict::allowed_by_certificate);
  EXPECT_EQ(judge(image, database_of({"microsoft-uefi-ca-2011"})).verdict,
            SecureBootVerdict::refused_untrusted);
}

TEST(Authenticode, RefusesADamagedCertificateTable) {
  const Bytes shim = read_or_fail(kSignedShim);
  const std::size_t table = shim.size() - image_of(shim).certificate_table().size();
  for (const std::uint32_t length : {0U, 7U, 0xffffffffU}) {
    Bytes damaged = shim;
    store_le32(damaged, table, length);
    EXPECT_EQ(image_signatures(image_of(damaged)).error().code, ErrorCode::corrupt) << length;
  }
  Bytes damaged = shim;
  damaged[table + 8] = std::byte{0x04};  // no SEQUENCE
  EXPECT_THAT(image_signatures(image_of(damaged)).error().message, HasSubstr("no PKCS#7"));
}

TEST(CertificateCommonName, CutsLongNamesBetweenCharacters) {
  // 64 characters, 253 bytes; 128 bytes would end inside a character.
  const std::filesystem::path der = std::filesystem::path(testing::TempDir()) / "long.der";
  std::string name = "x";
  for (int i = 0; i < 63; ++i) name += "\xf0\x9f\x94\x92";
  ASSERT_TRUE(run_checked(
      {.arguments = {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null",
                     "-utf8", "-subj", "/CN=" + name, "-days", "1", "-outform", "DER", "-out", der}}));
  EXPECT_EQ(*certificate_common_name(read_or_fail(der)), name.substr(0, 125));
}

TEST(CertificateCommonName, RefusesOtherBytes) {
  EXPECT_EQ(*certificate_common_name(read_or_fail(certificate_path("microsoft-uefi-ca-2023"))),
            "Microsoft UEFI CA 2023");
  Bytes longer = read_or_fail(certificate_path("microsoft-uefi-ca-2023"));
  longer.push_back(std::byte{0});
  EXPECT_EQ(certificate_common_name(longer).error().code, ErrorCode::corrupt);
  EXPECT_EQ(certificate_common_name({}).error().code, ErrorCode::corrupt);
}

}  // namespace
}  // namespace bootseal::uefi
