#include "bootseal/tpm/client.h"

namespace bootseal::tpm {
namespace {

constexpr std::uint16_t kAesBits = 128, kRsaBits = 2048;
constexpr std::size_t kRsaBytes = 256, kP256Bytes = 32;

// PolicySecret(TPM_RH_ENDORSEMENT) in SHA-256: TCG EK Credential Profile, B.6.2.
constexpr std::string_view kEndorsementPolicy =
    "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";

constexpr std::uint32_t kStorageAttributes =
    kFixedTpm | kFixedParent | kSensitiveDataOrigin | kRestricted | kDecrypt;
constexpr std::uint32_t kAttestationAttributes =
    kFixedTpm | kFixedParent | kSensitiveDataOrigin | kUserWithAuth | kRestricted | kSign;

Bytes endorsement_policy() {
  return *from_hex(kEndorsementPolicy);
}

ByteWriter start(std::uint16_t type, std::uint32_t attributes, ByteSpan policy) {
  ByteWriter writer;
  writer.be16(type).be16(static_cast<std::uint16_t>(Algorithm::sha256)).be32(attributes);
  write_sized(writer, policy);
  return writer;
}

void write_storage_symmetric(ByteWriter& writer) {
  writer.be16(kAlgAes).be16(kAesBits).be16(kAlgCfb);
}

void write_unique(ByteWriter& writer, std::size_t size) {
  writer.be16(static_cast<std::uint16_t>(size)).fill(size);
}

Bytes ecc_storage_template(std::uint32_t attributes, ByteSpan policy) {
  ByteWriter writer = start(kAlgEcc, attributes, policy);
  write_storage_symmetric(writer);
  writer.be16(kAlgNull).be16(kCurveP256).be16(kAlgNull);
  write_unique(writer, kP256Bytes);
  write_unique(writer, kP256Bytes);
  return writer.take();
}

}  // namespace

Bytes ek_template_rsa2048() {
  ByteWriter writer = start(kAlgRsa, kStorageAttributes | kAdminWithPolicy, endorsement_policy());
  write_storage_symmetric(writer);
  writer.be16(kAlgNull).be16(kRsaBits).be32(0);
  write_unique(writer, kRsaBytes);
  return writer.take();
}

Bytes ek_template_ecc_p256() {
  return ecc_storage_template(kStorageAttributes | kAdminWithPolicy, endorsement_policy());
}

Bytes srk_template_ecc_p256() {
  return ecc_storage_template(kStorageAttributes | kUserWithAuth | kNoDa, {});
}

Bytes ak_template_rsa2048() {
  ByteWriter writer = start(kAlgRsa, kAttestationAttributes, {});
  writer.be16(kAlgNull).be16(kAlgRsaSsa).be16(static_cast<std::uint16_t>(Algorithm::sha256));
  writer.be16(kRsaBits).be32(0);
  write_unique(writer, 0);
  return writer.take();
}

Bytes ak_template_ecc_p256() {
  ByteWriter writer = start(kAlgEcc, kAttestationAttributes, {});
  writer.be16(kAlgNull).be16(kAlgEcdsa).be16(static_cast<std::uint16_t>(Algorithm::sha256));
  writer.be16(kCurveP256).be16(kAlgNull);
  write_unique(writer, 0);
  write_unique(writer, 0);
  return writer.take();
}

}  // namespace bootseal::tpm
