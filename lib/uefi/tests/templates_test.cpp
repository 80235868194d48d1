#include "bootseal/uefi/templates.h"

#include <gmock/gmock.h>

#include "bootseal/uefi/authenticode.h"
#include "bootseal/uefi/guids.h"
#include "files.h"

namespace bootseal::uefi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Any certificate does as a platform key.
Bytes platform_key() {
  return read_or_fail(std::filesystem::path(BOOTSEAL_SOURCE_DIR) /
                      "lib/uefi/data/certs/azure-services-linux-kmod-pca-2023.der");
}

VariableStore store_with(SignatureTemplate signature_template, bool secure_boot) {
  const Result<Bytes> flash = build_variable_flash(signature_template, secure_boot, platform_key());
  EXPECT_TRUE(flash) << flash.error().describe();
  EXPECT_EQ(flash->size(), kFlashSize4M);
  return *VariableStore::parse(*flash);
}

std::vector<std::string> names_in(const VariableStore& store, const Guid& vendor, std::u16string_view name) {
  std::vector<std::string> names;
  const SignatureDatabase database = *parse_signature_database(store.find(vendor, name)->data);
  for (const ByteSpan certificate : certificates_of(database))
    names.push_back(*certificate_common_name(certificate));
  return names;
}

TEST(Templates, MicrosoftUefiCertificateAuthorityTrustsThirdPartyLoaders) {
  const VariableStore store = store_with(SignatureTemplate::microsoft_uefi_certificate_authority, true);
  EXPECT_THAT(names_in(store, kImageSecurityDatabase, u"db"),
              ElementsAre("Microsoft Corporation UEFI CA 2011", "Microsoft UEFI CA 2023",
                          "Azure Services Linux Kmod PCA"));
  EXPECT_THAT(names_in(store, kGlobalVariable, u"KEK"),
              ElementsAre("Microsoft Corporation KEK CA 2011", "Microsoft Corporation KEK 2K CA 2023"));
  EXPECT_THAT(names_in(store, kGlobalVariable, u"PK"), ElementsAre("Azure Services Linux Kmod PCA"));
  const Variable* dbx = store.find(kImageSecurityDatabase, u"dbx");
  EXPECT_EQ(crypto::sha256(dbx->data).to_hex(),
            "140da251d008f95069c2412b1e432e392b1a2988845a0aebbcaac9ed2cc03716");
  EXPECT_EQ(parse_signature_database(dbx->data)->front().signatures.size(), 443U);
  for (const Variable& variable : store.variables()) EXPECT_EQ(variable.attributes, 0x27U);
  EXPECT_EQ(store.variables().size(), 4U) << "the firmware adds SecureBootEnable=1 itself";
}

TEST(Templates, MicrosoftWindowsTrustsWindowsOnly) {
  const VariableStore store = store_with(SignatureTemplate::microsoft_windows, true);
  EXPECT_THAT(names_in(store, kImageSecurityDatabase, u"db"),
              ElementsAre("Microsoft Windows Production PCA 2011", "Windows UEFI CA 2023"));
}

TEST(Templates, AReplacementOfDbxByAnOldUpdateIsOlderThanOurs) {
  const VariableStore store = store_with(SignatureTemplate::microsoft_windows, true);
  const EfiTime update_of_2010{.year = 2010, .month = 3, .day = 6, .hour = 19, .minute = 17, .second = 21};
  EXPECT_GT(store.find(kImageSecurityDatabase, u"dbx")->time, update_of_2010);
}

TEST(Templates, SecureBootOffKeepsTheKeysAndSaysSo) {
  const VariableStore store = store_with(SignatureTemplate::microsoft_uefi_certificate_authority, false);
  EXPECT_NE(store.find(kGlobalVariable, u"PK"), nullptr);
  const Variable* enable = store.find(kSecureBootEnable, u"SecureBootEnable");
  ASSERT_NE(enable, nullptr);
  EXPECT_EQ(enable->data, Bytes{std::byte{0}});
  EXPECT_EQ(enable->attributes, kNonVolatile | kBootService);
}

TEST(Templates, NoneIsAnErasedFlash) {
  EXPECT_EQ(*build_variable_flash(SignatureTemplate::none, false, {}),
            read_or_fail("/usr/share/OVMF/OVMF_VARS_4M.fd"));
  const Result<Bytes> contradiction = build_variable_flash(SignatureTemplate::none, true, platform_key());
  EXPECT_EQ(contradiction.error().code, ErrorCode::invalid_argument);
  EXPECT_THAT(contradiction.error().message, HasSubstr("MicrosoftUefiCertificateAuthority"));
}

TEST(Templates, RefusesAPlatformKeyThatIsNoCertificate) {
  for (const Bytes& key : {Bytes{}, to_bytes("-----BEGIN CERTIFICATE-----"), Bytes(20000, std::byte{0x30})}) {
    const Result<Bytes> flash = build_variable_flash(SignatureTemplate::microsoft_windows, true, key);
    EXPECT_EQ(flash.error().code, ErrorCode::invalid_argument);
  }
}

TEST(Templates, NamesRoundTripAndUnknownOnesAreRefused) {
  for (const auto each : {SignatureTemplate::microsoft_uefi_certificate_authority,
                          SignatureTemplate::microsoft_windows, SignatureTemplate::none}) {
    EXPECT_EQ(*parse_signature_template(signature_template_name(each)), each);
  }
  EXPECT_THAT(parse_signature_template("microsoft").error().message, HasSubstr("MicrosoftWindows"));
}

TEST(WithSecureBoot, SwitchesAnExistingFlash) {
  const Bytes flash = *build_variable_flash(SignatureTemplate::microsoft_windows, true, platform_key());
  const Bytes off = *with_secure_boot(flash, false);
  EXPECT_EQ(VariableStore::parse(off)->find(kSecureBootEnable, u"SecureBootEnable")->data,
            Bytes{std::byte{0}});
  const Bytes on = *with_secure_boot(off, true);
  EXPECT_EQ(VariableStore::parse(on)->find(kSecureBootEnable, u"SecureBootEnable")->data,
            Bytes{std::byte{1}});
  const Bytes without_keys = *build_variable_flash(SignatureTemplate::none, false, {});
  EXPECT_EQ(with_secure_boot(without_keys, true).error().code, ErrorCode::conflict);
}

}  // namespace
}  // namespace bootseal::uefi
