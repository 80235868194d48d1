// TPM 2.0 commands over any transport: in-process libtpms (guestd), /dev/tpm0 (the agent), a socket (tests). No OpenSSL in here.
// TCG TPM 2.0 Library, Part 3 (Commands), revision 1.59.
#pragma once

#include <optional>
#include <vector>

#include "bootseal/base/bytes.h"

namespace bootseal::tpm {

class Transport {
 public:
  virtual ~Transport() = default;
  // One whole command in, one whole response out.
  virtual Result<Bytes> transceive(ByteSpan command) = 0;
};

using Handle = std::uint32_t;

inline constexpr Handle kOwner = 0x40000001, kNullHierarchy = 0x40000007, kLockout = 0x4000000A, kEndorsement = 0x4000000B, kPlatform = 0x4000000C;
inline constexpr Handle kAttestationKey = 0x81000003;        // the AK's place, as in Azure
inline constexpr Handle kNvAttestationKeyCertificate = 0x01C101D0;  // its certificate, as in Azure
inline constexpr Handle kNvEkCertificateRsa2048 = 0x01C00002;       // TCG EK Credential Profile 2.5, 2.2.1.4
inline constexpr Handle kNvEkCertificateEccP256 = 0x01C0000A;

enum class Algorithm : std::uint16_t { sha1 = 0x0004, sha256 = 0x000B, sha384 = 0x000C, sha512 = 0x000D, sm3_256 = 0x0012 };

struct PcrSelection {
  Algorithm bank = Algorithm::sha256;
  std::uint32_t mask = 0;  // bit n = PCR n, n < 24
};

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

// Every call fails with unavailable (transport), corrupt (malformed response) or, for a TPM response code, with conflict and a message that names
// the command, the code in hex and its meaning (not_found for an absent handle or NV index).
class Client {
 public:
  explicit Client(Transport& transport) : transport_(transport) {}

  Status startup(bool state = false);
  Status shutdown(bool state = false);
  Status self_test();
  Result<Bytes> get_random(std::uint16_t size);
  Result<std::vector<PcrValue>> pcr_read(PcrSelection selection);
  Status pcr_extend(unsigned index, Algorithm bank, ByteSpan digest);
  // Exactly these banks from the next _TPM_Init on.
  Status pcr_allocate(const std::vector<Algorithm>& banks, const std::vector<Algorithm>& all_banks);
  // `public_template` = TPMT_PUBLIC; the templates below.
  Result<CreatedObject> create_primary(Handle hierarchy, ByteSpan public_template);
  Status evict_control(Handle hierarchy, Handle object, Handle persistent);
  Status flush_context(Handle handle);
  // The TPMT_PUBLIC and name of a loaded or persistent object.
  Result<CreatedObject> read_public(Handle handle);
  Status nv_define(Handle hierarchy, Handle index, std::uint32_t attributes, std::uint16_t size, ByteSpan policy = {});
  Status nv_undefine(Handle hierarchy, Handle index);
  Status nv_write(Handle authority, Handle index, ByteSpan data);  // in pieces of at most 1024 bytes
  Status nv_increment(Handle authority, Handle index);
  Result<NvPublic> nv_read_public(Handle index);
  Result<Bytes> nv_read(Handle authority, Handle index);  // the whole index, in pieces
  Result<Quote> quote(Handle key, ByteSpan nonce, PcrSelection selection);
  // Seals `data` under `parent` so that it opens only with these PCR values of now.
  Result<SealedObject> seal_to_pcrs(Handle parent, ByteSpan data, PcrSelection selection);
  Result<Bytes> unseal_with_pcrs(Handle parent, const SealedObject& object, PcrSelection selection);
  Result<std::uint32_t> property(std::uint32_t tag);  // TPM2_GetCapability(TPM_PROPERTIES)

 private:
  Transport& transport_;
};

// TPMT_PUBLIC templates.
Bytes ek_template_rsa2048();  // TCG EK Credential Profile, L-1
Bytes ek_template_ecc_p256();  // L-2
Bytes srk_template_ecc_p256();
Bytes ak_template_rsa2048();  // RSASSA-SHA256, restricted signing, fixedTPM|fixedParent|sensitiveDataOrigin|userWithAuth

}  // namespace bootseal::tpm
