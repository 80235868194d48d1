// EFI_SIGNATURE_LIST: the value of PK, KEK, db and dbx (UEFI 2.10 section 32.4.1).
#pragma once

#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/base/ids.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::uefi {

struct Signature {
  Guid owner;
  Bytes data;  // an X.509 certificate in DER, a hash, … by the type of the list
  bool operator==(const Signature&) const = default;
};

struct SignatureList {
  Guid type;
  Bytes header;                       // empty for all types in use
  std::vector<Signature> signatures;  // all of one size
  bool operator==(const SignatureList&) const = default;
};

using SignatureDatabase = std::vector<SignatureList>;

// Zero or more lists one after the other; a list without entries says nothing and is left out. The memory
// used is bounded by the input (a list with many tiny entries is refused past 65536 entries in all). Errors:
// corrupt with the offset: sizes that do not fit each other or the data, a SHA-256 list whose entries are not
// 48 bytes.
Result<SignatureDatabase> parse_signature_database(ByteSpan data);
// The inverse. Each list needs at least one entry and entries of one size (a check, not an error).
Bytes serialize_signature_database(const SignatureDatabase& database);

// One list with one certificate (certificates differ in size, so each has a list of its own).
SignatureList x509_list(const Guid& owner, ByteSpan certificate_der);
// One list with these hashes in this order; at least one.
SignatureList sha256_list(const Guid& owner, const std::vector<crypto::Sha256Digest>& digests);

// All certificates and all SHA-256 hashes of a database, in order.
std::vector<ByteSpan> certificates_of(const SignatureDatabase& database);
bool contains_sha256(const SignatureDatabase& database, const crypto::Sha256Digest& digest);

// The size of the EFI_VARIABLE_AUTHENTICATION_2 header before the lists of a signed update such as
// dbxupdate.bin (UEFI 2.10 section 8.2.2); 0 when the data does not begin with one.
std::size_t authentication_header_size(ByteSpan data);

}  // namespace bootseal::uefi
