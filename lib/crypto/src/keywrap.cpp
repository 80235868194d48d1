#include "bootseal/crypto/keywrap.h"

#include <fmt/format.h>

#include "bootseal/crypto/aead.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::crypto {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kOverhead = 1 + kGcmNonceSize + kGcmTagSize;

Bytes associated_data(std::string_view label) {
  return ByteWriter().text("bootseal-keywrap").u8(kVersion).text(label).take();
}

}  // namespace

Bytes wrap_key(const Secret& wrapping_key, const Secret& key, std::string_view label) {
  const Bytes nonce = random_bytes(kGcmNonceSize);
  const Sealed sealed = seal_aes_gcm(wrapping_key.view(), nonce, key.view(), associated_data(label));
  return ByteWriter().u8(kVersion).bytes(nonce).bytes(sealed.ciphertext).bytes(sealed.tag).take();
}

Result<Secret> unwrap_key(const Secret& wrapping_key, ByteSpan wrapped, std::string_view label) {
  if (wrapped.size() < kOverhead || wrapped[0] != std::byte{kVersion}) {
    return fail(ErrorCode::corrupt, fmt::format("{}: the bytes are no wrapped key", label));
  }
  const ByteSpan nonce = wrapped.subspan(1, kGcmNonceSize);
  const ByteSpan ciphertext = wrapped.subspan(1 + kGcmNonceSize, wrapped.size() - kOverhead);
  Result<Bytes> key =
      open_aes_gcm(wrapping_key.view(), nonce, ciphertext, wrapped.last(kGcmTagSize), associated_data(label));
  if (!key) return tl::unexpected(key.error().wrap(label));
  Secret secret = Secret::copy_of(*key);
  wipe(*key);
  return secret;
}

}  // namespace bootseal::crypto
