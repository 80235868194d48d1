#include "bootseal/uefi/templates.h"

#include <fmt/format.h>

#include <array>

#include "bootseal/uefi/authenticode.h"
#include "bootseal/uefi/guids.h"
#include "embedded.h"

namespace bootseal::uefi {
namespace {

constexpr std::size_t kMaximumCertificateSize = 16384;

// The date of the newest part, the dbx. The firmware takes a replacement only with a later time, so that a
// guest cannot put an older signed dbx (Microsoft's updates are all of 2010-03-06, made to be appended) in
// the place of this one.
constexpr EfiTime kTemplateTime{.year = 2026, .month = 9, .day = 9};

struct TemplateName {
  SignatureTemplate signature_template;
  std::string_view name;
};
constexpr std::array kNames = {
    TemplateName{SignatureTemplate::microsoft_uefi_certificate_authority,
                 "MicrosoftUefiCertificateAuthority"},
    TemplateName{SignatureTemplate::microsoft_windows, "MicrosoftWindows"},
    TemplateName{SignatureTemplate::none, "None"},
};

Status enrol(VariableStore& store, const Guid& vendor, std::u16string name, Bytes value) {
  return store.set({.vendor = vendor,
                    .name = std::move(name),
                    .attributes = kAuthenticatedAttributes,
                    .time = kTemplateTime,
                    .data = std::move(value)});
}

Status set_secure_boot(VariableStore& store, bool enabled) {
  return store.set({.vendor = kSecureBootEnable,
                    .name = u"SecureBootEnable",
                    .attributes = kNonVolatile | kBootService,
                    .data = Bytes{enabled ? std::byte{1} : std::byte{0}}});
}

Status check_platform_key(ByteSpan pk_der) {
  if (pk_der.size() > kMaximumCertificateSize) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the platform key certificate has {} bytes, at most {} are allowed",
                            pk_der.size(), kMaximumCertificateSize));
  }
  if (!certificate_common_name(pk_der)) {
    return fail(ErrorCode::invalid_argument,
                "the platform key is not an X.509 certificate in DER; pass the site CA certificate");
  }
  return {};
}

}  // namespace

std::string_view signature_template_name(SignatureTemplate signature_template) {
  return kNames[static_cast<std::size_t>(signature_template)].name;
}

Result<SignatureTemplate> parse_signature_template(std::string_view name) {
  for (const TemplateName& known : kNames) {
    if (known.name == name) return known.signature_template;
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("'{}' is no signature template; there are {}, {} and {}", name, kNames[0].name,
                          kNames[1].name, kNames[2].name));
}

TemplateKeys template_keys(SignatureTemplate signature_template) {
  if (signature_template == SignatureTemplate::none) return {};
  TemplateKeys keys;
  const auto certificate = [](ByteSpan der) { return x509_list(kOwnerMicrosoft, der); };
  keys.kek = {certificate(embedded::microsoft_kek_2011()), certificate(embedded::microsoft_kek_2023())};
  if (signature_template == SignatureTemplate::microsoft_windows) {
    keys.db = {certificate(embedded::microsoft_windows_pca_2011()),
               certificate(embedded::microsoft_windows_uefi_ca_2023())};
  } else {
    keys.db = {certificate(embedded::microsoft_uefi_ca_2011()),
               certificate(embedded::microsoft_uefi_ca_2023()),
               certificate(embedded::azure_services_linux_kmod_pca_2023())};
  }
  Result<SignatureDatabase> dbx = parse_signature_database(embedded::dbx_2026_09_09());
  BOOTSEAL_CHECK(dbx.has_value());
  keys.dbx = *std::move(dbx);
  return keys;
}

Result<Bytes> build_variable_flash(SignatureTemplate signature_template, bool secure_boot, ByteSpan pk_der,
                                   FlashLayout layout) {
  VariableStore store = VariableStore::blank(layout);
  if (signature_template == SignatureTemplate::none) {
    if (secure_boot) {
      return fail(
          ErrorCode::invalid_argument,
          fmt::format(
              "Secure Boot needs keys: choose the signature template {} or {}, or switch Secure Boot off",
              kNames[0].name, kNames[1].name));
    }
    return store.serialize();
  }
  BOOTSEAL_TRY_STATUS(check_platform_key(pk_der));
  const TemplateKeys keys = template_keys(signature_template);
  BOOTSEAL_TRY_STATUS(enrol(store, kImageSecurityDatabase, u"db", serialize_signature_database(keys.db)));
  BOOTSEAL_TRY_STATUS(enrol(store, kImageSecurityDatabase, u"dbx", serialize_signature_database(keys.dbx)));
  BOOTSEAL_TRY_STATUS(enrol(store, kGlobalVariable, u"KEK", serialize_signature_database(keys.kek)));
  BOOTSEAL_TRY_STATUS(enrol(store, kGlobalVariable, u"PK",
                            serialize_signature_database({x509_list(kOwnerBootseal, pk_der)})));
  if (!secure_boot) BOOTSEAL_TRY_STATUS(set_secure_boot(store, false));
  return store.serialize();
}

Result<Bytes> with_secure_boot(ByteSpan flash, bool secure_boot) {
  BOOTSEAL_TRY(VariableStore store, VariableStore::parse(flash));
  if (secure_boot && store.find(kGlobalVariable, u"PK") == nullptr) {
    return fail(ErrorCode::conflict,
                "Secure Boot cannot be switched on: no platform key is enrolled; make the VM anew with a "
                "signature template");
  }
  BOOTSEAL_TRY_STATUS(set_secure_boot(store, secure_boot));
  return store.serialize();
}

}  // namespace bootseal::uefi
