// TPM 2.0 commands over any transport: in-process libtpms (guestd), /dev/tpmrm0 (the agent), a socket
// (tests). No OpenSSL in here. TCG TPM 2.0 Library, Part 3 (Commands), revision 1.59.
#pragma once

#include <optional>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/tpm/wire.h"

namespace bootseal::tpm {

class Transport {
 public:
  virtual ~Transport() = default;
  // One whole command in, one whole response out.
  virtual Result<Bytes> transceive(ByteSpan command) = 0;
};

inline constexpr Handle kOwner = 0x40000001, kNullHierarchy = 0x40000007, kLockout = 0x4000000A,
                        kEndorsement = 0x4000000B, kPlatform = 0x4000000C;
inline constexpr Handle kStorageRootKey = 0x81000001;     // TCG TPM v2.0 Provisioning Guidance, 7.8
inline constexpr Handle kAttestationKey = 0x81000003;     // the AK's place, as in Azure
inline constexpr Handle kEndorsementKeyRsa = 0x81010001;  // TCG EK Credential Profile, 2.2.1.5
inline constexpr Handle kEndorsementKeyEcc = 0x81010002;
inline constexpr Handle kNvAttestationKeyCertificate = 0x01C101D0;  // its certificate, as in Azure
inline constexpr Handle kNvEkCertificateRsa2048 = 0x01C00002;       // TCG EK Credential Profile 2.5, 2.2.1.4
inline constexpr Handle kNvEkCertificateEccP256 = 0x01C0000A;

struct PcrValue {
  unsigned index = 0;
  Bytes digest;
};

struct CreatedObject {
  Handle handle = 0;
  Bytes public_area;  // TPMT_PUBLIC as marshalled
  Bytes name;
};

struct SealedObject {
  Bytes private_part;  // TPM2B content
  Bytes public_area;   // TPMT_PUBLIC
};

struct Quote {
  Bytes attest;     // TPMS_ATTEST
  Bytes signature;  // TPMT_SIGNATURE
};

struct NvPublic {
  Handle index = 0;
  std::uint32_t attributes = 0;
  std::uint16_t data_size = 0;
  Bytes policy;
};

// Hierarchies, keys and indices have empty authorization values here: commands are authorised by an empty
// password, or by a policy session where said. Not thread safe; the transport must outlive the client.
//
// Every call fails with the transport's own error, corrupt (malformed response) or, for a TPM response code,
// with conflict and a message that names the command, the code in hex and its meaning; not_found for an
// absent handle or NV index, unavailable for the codes that ask to try again. What a call loads or opens for
// its own use is flushed before it returns.
class Client {
 public:
  explicit Client(Transport& transport) : transport_(transport) {}

  // TPM2_Startup(CLEAR), or STATE; a TPM that is started already is a success.
  Status startup(bool state = false);
  Status shutdown(bool state = false);
  // TPM2_SelfTest(fullTest).
  Status self_test();
  // Exactly `size` bytes, asked for in as many pieces as the TPM wants.
  Result<Bytes> get_random(std::uint16_t size);
  // The selected values of one moment, ascending: read again when a PCR was extended in between. unsupported
  // when the bank or a PCR of it is not allocated.
  Result<std::vector<PcrValue>> pcr_read(PcrSelection selection);
  Status pcr_extend(unsigned index, Algorithm bank, ByteSpan digest);
  // Exactly `banks` (all 24 PCRs) from the next _TPM_Init on; `all_banks` are those the TPM implements.
  Status pcr_allocate(const std::vector<Algorithm>& banks, const std::vector<Algorithm>& all_banks);

  // `public_template` = TPMT_PUBLIC; the templates below. The caller flushes the handle.
  Result<CreatedObject> create_primary(Handle hierarchy, ByteSpan public_template);
  // Makes the loaded `object` persistent at `persistent`, or removes the persistent object when both are
  // equal.
  Status evict_control(Handle hierarchy, Handle object, Handle persistent);
  Status flush_context(Handle handle);
  // The TPMT_PUBLIC and name of a loaded or persistent object.
  Result<CreatedObject> read_public(Handle handle);

  Status nv_define(Handle hierarchy, Handle index, std::uint32_t attributes, std::uint16_t size,
                   ByteSpan policy = {});
  Status nv_undefine(Handle hierarchy, Handle index);
  // `authority` is kOwner, kPlatform or the index itself, as its attributes say. In pieces of at most 1024
  // bytes from offset 0.
  Status nv_write(Handle authority, Handle index, ByteSpan data);
  // No more writing until the next TPM2_Startup(CLEAR), or never again for an index with WRITEDEFINE.
  Status nv_write_lock(Handle authority, Handle index);
  Status nv_increment(Handle authority, Handle index);
  Result<NvPublic> nv_read_public(Handle index);
  Result<Bytes> nv_read(Handle authority, Handle index);  // the whole index, in pieces

  // Signs with the key's own scheme (a restricted signing key has one).
  Result<Quote> quote(Handle key, ByteSpan nonce, PcrSelection selection);
  // Seals `data` (1 to 128 bytes) under `parent` so that it opens only with these PCR values of now.
  Result<SealedObject> seal_to_pcrs(Handle parent, ByteSpan data, PcrSelection selection);
  // conflict with TPM_RC_POLICY_FAIL when the PCR values are others.
  Result<Bytes> unseal_with_pcrs(Handle parent, const SealedObject& object, PcrSelection selection);
  // The secret in a credential made for (`endorsement_key`, name of `attestation_key`). The endorsement key's
  // policy is PolicySecret(endorsement hierarchy), as in the default templates. `credential` is the content
  // of TPM2B_ID_OBJECT, `secret` of TPM2B_ENCRYPTED_SECRET.
  Result<Bytes> activate_credential(Handle attestation_key, Handle endorsement_key, ByteSpan credential,
                                    ByteSpan secret);

  Result<std::uint32_t> property(std::uint32_t tag);  // TPM2_GetCapability(TPM_PROPERTIES)
  // Handles in use of the kind of `first` (0x81000000 persistent, 0x01000000 NV, 0x80000000 transient), from
  // `first` on.
  Result<std::vector<Handle>> handles(Handle first);
  // TPM_RC of the last command that the TPM answered; 0 = success.
  [[nodiscard]] std::uint32_t last_response_code() const { return last_response_code_; }

 private:
  Result<Reply> run(const Command& command);
  Result<Handle> start_policy_session(bool trial);
  Status policy_pcr(Handle session, PcrSelection selection);
  Result<Bytes> pcr_policy_digest(PcrSelection selection);
  Result<std::uint16_t> nv_piece_size();

  Transport& transport_;
  std::optional<std::uint16_t> nv_piece_size_;
  std::uint32_t last_response_code_ = 0;
};

// TPMT_PUBLIC templates.
Bytes ek_template_rsa2048();   // TCG EK Credential Profile, L-1
Bytes ek_template_ecc_p256();  // L-2
Bytes srk_template_ecc_p256();
// RSASSA-SHA256, restricted signing, fixedTPM|fixedParent|sensitiveDataOrigin|userWithAuth
Bytes ak_template_rsa2048();
Bytes ak_template_ecc_p256();  // the same with ECDSA-SHA256

}  // namespace bootseal::tpm
