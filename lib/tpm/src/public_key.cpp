#include "bootseal/tpm/public_key.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "bootseal/crypto/handle.h"
#include "bootseal/tpm/client.h"
#include "bootseal/tpm/hash.h"

namespace bootseal::tpm {
namespace {

constexpr std::size_t kMaximumDigest = 64, kMaximumRsa = 512;
constexpr std::uint32_t kDefaultExponent = 65537;

using EvpKey = crypto::Handle<EVP_PKEY, &EVP_PKEY_free>;
using BigNumber = crypto::Handle<BIGNUM, &BN_free>;

std::size_t coordinate_size(std::uint16_t curve) {
  return curve == kCurveP384 ? 48 : 32;
}

Status read_symmetric(ByteReader& reader, PublicArea& area) {
  BOOTSEAL_TRY(area.symmetric, reader.be16("the symmetric algorithm of a key"));
  if (area.symmetric == kAlgNull) return {};
  BOOTSEAL_TRY(area.symmetric_bits, reader.be16("the symmetric key size of a key"));
  BOOTSEAL_TRY(const std::uint16_t mode, reader.be16("the symmetric mode of a key"));
  const bool known_bits = area.symmetric_bits == 128 || area.symmetric_bits == 256;
  if (area.symmetric != kAlgAes || !known_bits || mode != kAlgCfb) {
    return fail(ErrorCode::unsupported, "a storage key that uses neither AES-128-CFB nor AES-256-CFB");
  }
  return {};
}

Status read_scheme(ByteReader& reader, PublicArea& area) {
  BOOTSEAL_TRY(area.scheme, reader.be16("the scheme of a key"));
  switch (area.scheme) {
    case kAlgNull:
      return {};
    case kAlgRsaSsa:
    case kAlgRsaPss:
    case kAlgOaep:
    case kAlgEcdsa: {
      BOOTSEAL_TRY(area.scheme_hash, reader.be16("the hash of a key's scheme"));
      return {};
    }
    default:
      return fail(ErrorCode::unsupported, fmt::format("a key with scheme 0x{:04x}", area.scheme));
  }
}

Status read_rsa(ByteReader& reader, PublicArea& area) {
  BOOTSEAL_TRY(area.key_bits, reader.be16("the size of an RSA key"));
  BOOTSEAL_TRY(area.exponent, reader.be32("the exponent of an RSA key"));
  BOOTSEAL_TRY(const ByteSpan modulus, read_sized(reader, kMaximumRsa, "the modulus of an RSA key"));
  area.modulus = to_bytes(modulus);
  if (area.key_bits != 2048 && area.key_bits != 3072 && area.key_bits != 4096) {
    return fail(ErrorCode::unsupported, fmt::format("an RSA key of {} bits", area.key_bits));
  }
  if (area.modulus.size() * 8 != area.key_bits || (area.modulus.front() & std::byte{0x80}) == std::byte{0}) {
    return fail(ErrorCode::corrupt,
                fmt::format("the modulus of an RSA key does not have {} bits", area.key_bits));
  }
  return {};
}

Status read_ecc(ByteReader& reader, PublicArea& area) {
  BOOTSEAL_TRY(area.curve, reader.be16("the curve of a key"));
  BOOTSEAL_TRY(const std::uint16_t kdf, reader.be16("the key derivation of a key"));
  if (area.curve != kCurveP256 && area.curve != kCurveP384) {
    return fail(ErrorCode::unsupported, fmt::format("curve 0x{:04x} is neither P-256 nor P-384", area.curve));
  }
  if (kdf != kAlgNull)
    return fail(ErrorCode::unsupported, fmt::format("a key with key derivation 0x{:04x}", kdf));
  const std::size_t size = coordinate_size(area.curve);
  BOOTSEAL_TRY(const ByteSpan x, read_sized(reader, size, "x of a key"));
  BOOTSEAL_TRY(const ByteSpan y, read_sized(reader, size, "y of a key"));
  if (x.empty() || y.empty()) return fail(ErrorCode::corrupt, "a key without a point");
  area.x = to_bytes(x);
  area.y = to_bytes(y);
  return {};
}

Bytes padded_to(ByteSpan number, std::size_t size) {
  Bytes bytes(size - number.size());
  append(bytes, number);
  return bytes;
}

Result<Bytes> number_of(const EVP_PKEY* key, const char* name, std::size_t size) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1) {
    return fail(ErrorCode::internal, fmt::format("OpenSSL gives no '{}' of the key", name));
  }
  const BigNumber owned(number);
  Bytes bytes(size);
  if (BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) < 0) {
    return fail(ErrorCode::unsupported, fmt::format("'{}' of the key is larger than {} bytes", name, size));
  }
  return bytes;
}

}  // namespace

Result<PublicArea> parse_public(ByteSpan public_area) {
  ByteReader reader(public_area);
  PublicArea area;
  BOOTSEAL_TRY(area.type, reader.be16("the type of a key"));
  BOOTSEAL_TRY(const std::uint16_t name_algorithm, reader.be16("the name algorithm of a key"));
  BOOTSEAL_TRY(area.name_algorithm, algorithm_from_id(name_algorithm));
  BOOTSEAL_TRY(area.attributes, reader.be32("the attributes of a key"));
  BOOTSEAL_TRY(const ByteSpan policy, read_sized(reader, kMaximumDigest, "the policy of a key"));
  area.policy = to_bytes(policy);
  if (area.type != kAlgRsa && area.type != kAlgEcc) {
    return fail(ErrorCode::unsupported,
                fmt::format("an object of type 0x{:04x} is neither an RSA nor an ECC key", area.type));
  }
  BOOTSEAL_TRY_STATUS(read_symmetric(reader, area));
  BOOTSEAL_TRY_STATUS(read_scheme(reader, area));
  BOOTSEAL_TRY_STATUS(area.type == kAlgRsa ? read_rsa(reader, area) : read_ecc(reader, area));
  if (!reader.at_end()) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} bytes behind the end of a public area", reader.remaining()));
  }
  return area;
}

Bytes marshal_public(const PublicArea& area) {
  ByteWriter writer;
  writer.be16(area.type).be16(static_cast<std::uint16_t>(area.name_algorithm)).be32(area.attributes);
  write_sized(writer, area.policy);
  writer.be16(area.symmetric);
  if (area.symmetric != kAlgNull) writer.be16(area.symmetric_bits).be16(kAlgCfb);
  writer.be16(area.scheme);
  if (area.scheme != kAlgNull) writer.be16(area.scheme_hash);
  if (area.type == kAlgRsa) {
    writer.be16(area.key_bits).be32(area.exponent);
    write_sized(writer, area.modulus);
  } else {
    writer.be16(area.curve).be16(kAlgNull);
    write_sized(writer, area.x);
    write_sized(writer, area.y);
  }
  return writer.take();
}

Result<crypto::PublicKey> key_of(const PublicArea& area) {
  if (area.type == kAlgRsa) {
    return crypto::PublicKey::from_rsa(area.modulus, area.exponent == 0 ? kDefaultExponent : area.exponent);
  }
  const std::size_t size = coordinate_size(area.curve);
  const auto curve = area.curve == kCurveP384 ? crypto::KeyKind::ec_p384 : crypto::KeyKind::ec_p256;
  return crypto::PublicKey::from_point(curve, padded_to(area.x, size), padded_to(area.y, size));
}

Result<Bytes> subject_public_key_info(ByteSpan public_area) {
  BOOTSEAL_TRY(const PublicArea area, parse_public(public_area));
  BOOTSEAL_TRY(const crypto::PublicKey key, key_of(area));
  return key.der();
}

Result<Bytes> attestation_public(const crypto::PublicKey& key) {
  const Bytes der = key.der();
  const auto* next = reinterpret_cast<const unsigned char*>(der.data());
  const EvpKey evp(d2i_PUBKEY(nullptr, &next, static_cast<long>(der.size())));
  if (!evp) return fail(ErrorCode::internal, "OpenSSL does not read a key that it wrote");
  PublicArea area;
  area.attributes = kFixedTpm | kFixedParent | kSensitiveDataOrigin | kUserWithAuth | kRestricted | kSign;
  area.scheme_hash = static_cast<std::uint16_t>(Algorithm::sha256);
  if (key.kind() == crypto::KeyKind::rsa) {
    area.type = kAlgRsa;
    area.scheme = kAlgRsaSsa;
    area.key_bits = static_cast<std::uint16_t>(key.bits());
    BOOTSEAL_TRY(area.modulus, number_of(evp.get(), OSSL_PKEY_PARAM_RSA_N, key.bits() / 8));
    BOOTSEAL_TRY(const Bytes exponent, number_of(evp.get(), OSSL_PKEY_PARAM_RSA_E, sizeof(std::uint32_t)));
    const std::uint32_t value = load_be32(exponent, 0);
    area.exponent = value == kDefaultExponent ? 0 : value;
  } else {
    area.type = kAlgEcc;
    area.scheme = kAlgEcdsa;
    area.curve = key.kind() == crypto::KeyKind::ec_p384 ? kCurveP384 : kCurveP256;
    const std::size_t size = coordinate_size(area.curve);
    BOOTSEAL_TRY(area.x, number_of(evp.get(), OSSL_PKEY_PARAM_EC_PUB_X, size));
    BOOTSEAL_TRY(area.y, number_of(evp.get(), OSSL_PKEY_PARAM_EC_PUB_Y, size));
  }
  return marshal_public(area);
}

Result<Bytes> object_name(ByteSpan public_area) {
  ByteReader reader(public_area);
  BOOTSEAL_TRY_STATUS(reader.be16("the type of an object"));
  BOOTSEAL_TRY(const std::uint16_t id, reader.be16("the name algorithm of an object"));
  const auto algorithm = algorithm_from_id(id);
  if (!algorithm) return fail(ErrorCode::corrupt, "the name of an object", algorithm.error());
  ByteWriter name;
  name.be16(id).bytes(crypto::digest(hash_of(*algorithm), public_area));
  return name.take();
}

Status check_attestation_key(const PublicArea& area) {
  struct Wanted {
    std::uint32_t bit;
    std::string_view name;
  };
  constexpr Wanted kWanted[] = {{kFixedTpm, "fixedTPM"},
                                {kFixedParent, "fixedParent"},
                                {kSensitiveDataOrigin, "sensitiveDataOrigin"},
                                {kRestricted, "restricted"},
                                {kSign, "sign"}};
  for (const Wanted& wanted : kWanted) {
    if (!area.has(wanted.bit)) {
      return fail(ErrorCode::permission_denied,
                  fmt::format("the key is no attestation key: it is not {}", wanted.name));
    }
  }
  if (area.has(kDecrypt))
    return fail(ErrorCode::permission_denied, "the key is no attestation key: it may decrypt");
  const bool signs = area.type == kAlgRsa ? area.scheme == kAlgRsaSsa || area.scheme == kAlgRsaPss
                                          : area.scheme == kAlgEcdsa;
  if (!signs)
    return fail(ErrorCode::permission_denied, "the key is no attestation key: it has no signing scheme");
  const auto hash = algorithm_from_id(area.scheme_hash);
  if (!hash || *hash == Algorithm::sha1) {
    return fail(ErrorCode::permission_denied,
                fmt::format("the attestation key signs with hash 0x{:04x}: SHA-256 or better is wanted",
                            area.scheme_hash));
  }
  return {};
}

}  // namespace bootseal::tpm
