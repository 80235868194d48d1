// Hashes, HMAC and random bytes.
#pragma once

#include <array>
#include <compare>
#include <initializer_list>
#include <string>

#include "bootseal/base/bytes.h"

namespace bootseal::crypto {

enum class HashAlgorithm : std::uint8_t { sha1, sha256, sha384, sha512, sm3 };

std::string_view hash_name(HashAlgorithm algorithm);  // "sha256"
std::size_t hash_size(HashAlgorithm algorithm);       // bytes

struct Sha256Digest {
  std::array<std::byte, 32> bytes{};
  [[nodiscard]] ByteSpan view() const { return bytes; }
  [[nodiscard]] std::string to_hex() const { return bootseal::to_hex(bytes); }
  // 64 hex digits; invalid_argument otherwise.
  static Result<Sha256Digest> parse(std::string_view hex);
  auto operator<=>(const Sha256Digest&) const = default;
};

Sha256Digest sha256(ByteSpan data);
// The hash of the parts one after the other, hash_size(algorithm) bytes.
Bytes digest(HashAlgorithm algorithm, std::initializer_list<ByteSpan> parts);
inline Bytes digest(HashAlgorithm algorithm, ByteSpan data) {
  return digest(algorithm, {data});
}
// RFC 2104.
Bytes hmac(HashAlgorithm algorithm, ByteSpan key, std::initializer_list<ByteSpan> parts);
// RFC 5869 with SHA-256; at most 8160 bytes.
Bytes hkdf_sha256(ByteSpan key, ByteSpan salt, ByteSpan info, std::size_t size);
// From the kernel's generator.
Bytes random_bytes(std::size_t size);

}  // namespace bootseal::crypto
