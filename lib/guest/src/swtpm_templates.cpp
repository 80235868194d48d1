#include "swtpm_templates.h"

#include "bootseal/tpm/wire.h"

namespace bootseal::guest {
namespace {

using tpm::Algorithm;

// PolicySecret(TPM_RH_ENDORSEMENT), SHA-256: EK Credential Profile 2.5, B.6.2.
constexpr std::string_view kPolicyA = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
// PolicyB of SHA-384: B.6.5.
constexpr std::string_view kPolicyB =
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12";
constexpr std::size_t kP384Bytes = 48;

constexpr std::uint32_t kFixed = tpm::kFixedTpm | tpm::kFixedParent | tpm::kSensitiveDataOrigin;

ByteWriter start(std::uint16_t type, Algorithm name, std::uint32_t attributes, std::string_view policy) {
  ByteWriter writer;
  writer.be16(type).be16(static_cast<std::uint16_t>(name)).be32(attributes);
  tpm::write_sized(writer, from_hex(policy).value());
  return writer;
}

void symmetric(ByteWriter& writer, std::uint16_t bits) {
  if (bits == 0) {
    writer.be16(tpm::kAlgNull);
  } else {
    writer.be16(tpm::kAlgAes).be16(bits).be16(tpm::kAlgCfb);
  }
}

void rsa_tail(ByteWriter& writer, unsigned bits, std::size_t unique) {
  writer.be16(tpm::kAlgNull).be16(static_cast<std::uint16_t>(bits)).be32(0);
  writer.be16(static_cast<std::uint16_t>(unique)).fill(unique);
}

void p384_tail(ByteWriter& writer, std::size_t unique) {
  writer.be16(tpm::kAlgNull).be16(tpm::kCurveP384).be16(tpm::kAlgNull);
  for (int coordinate = 0; coordinate < 2; ++coordinate)
    writer.be16(static_cast<std::uint16_t>(unique)).fill(unique);
}

std::uint32_t ek_attributes(EkUse use, bool user_with_auth) {
  const std::uint32_t common =
      kFixed | tpm::kAdminWithPolicy | (user_with_auth ? tpm::kUserWithAuth : std::uint32_t{0});
  switch (use) {
    case EkUse::sign:
      return common | tpm::kSign;
    case EkUse::sign_and_decrypt:
      return common | tpm::kSign | tpm::kDecrypt;
    case EkUse::decrypt_restricted:
      break;
  }
  return common | tpm::kRestricted | tpm::kDecrypt;
}

constexpr std::uint32_t kStorage =
    kFixed | tpm::kUserWithAuth | tpm::kNoDa | tpm::kRestricted | tpm::kDecrypt;

}  // namespace

Bytes swtpm_ek_template_rsa(unsigned bits, EkUse use) {
  const bool large = bits > 2048;  // a template of the high range
  ByteWriter writer = start(tpm::kAlgRsa, large ? Algorithm::sha384 : Algorithm::sha256,
                            ek_attributes(use, large), large ? kPolicyB : kPolicyA);
  const std::uint16_t aes = large ? 256 : 128;
  symmetric(writer, use == EkUse::decrypt_restricted ? aes : std::uint16_t{0});
  rsa_tail(writer, bits, large ? 0 : bits / 8);
  return writer.take();
}

Bytes swtpm_ek_template_p384(EkUse use) {
  ByteWriter writer = start(tpm::kAlgEcc, Algorithm::sha384, ek_attributes(use, true), kPolicyB);
  symmetric(writer, use == EkUse::decrypt_restricted ? 256 : 0);
  p384_tail(writer, 0);
  return writer.take();
}

Bytes swtpm_storage_template_rsa(unsigned bits) {
  const bool large = bits > 2048;
  ByteWriter writer = start(tpm::kAlgRsa, large ? Algorithm::sha384 : Algorithm::sha256, kStorage, "");
  symmetric(writer, large ? 256 : 128);
  rsa_tail(writer, bits, bits / 8);
  return writer.take();
}

Bytes swtpm_storage_template_p384() {
  ByteWriter writer = start(tpm::kAlgEcc, Algorithm::sha384, kStorage, "");
  symmetric(writer, 256);
  p384_tail(writer, kP384Bytes);
  return writer.take();
}

}  // namespace bootseal::guest
