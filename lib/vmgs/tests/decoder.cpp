#include "decoder.h"

#include <openssl/evp.h>

#include <cstring>

namespace bootseal::vmgs::test {
namespace {

using Octets = std::vector<std::uint8_t>;

std::uint32_t word(const Octets& image, std::size_t at) {
  return static_cast<std::uint32_t>(image.at(at)) | static_cast<std::uint32_t>(image.at(at + 1)) << 8 |
         static_cast<std::uint32_t>(image.at(at + 2)) << 16 |
         static_cast<std::uint32_t>(image.at(at + 3)) << 24;
}

Octets cut(const Octets& image, std::size_t at, std::size_t count) {
  return {image.begin() + static_cast<std::ptrdiff_t>(at),
          image.begin() + static_cast<std::ptrdiff_t>(at + count)};
}

// Bit by bit, as the polynomial is defined.
std::uint32_t checksum(const Octets& data) {
  std::uint32_t crc = 0xffffffff;
  for (const std::uint8_t octet : data) {
    crc ^= octet;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
  }
  return ~crc;
}

bool valid_header(const Octets& image, std::size_t at) {
  if (std::memcmp(image.data() + at, "GUESTRTS", 8) != 0) return false;
  Octets header = cut(image, at, 168);
  const std::uint32_t stored = word(header, 12);
  std::memset(header.data() + 12, 0, 4);
  return checksum(header) == stored;
}

}  // namespace

std::optional<Octets> open_gcm(const Octets& key, const Octets& nonce, const Octets& ciphertext,
                               const Octets& tag) {
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  Octets plain(ciphertext.size() + 16);
  Octets expected = tag;
  int done = 0;
  int rest = 0;
  bool ok = EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nullptr, key.data(), nonce.data()) == 1;
  ok = ok && EVP_DecryptUpdate(context, plain.data(), &done, ciphertext.data(),
                               static_cast<int>(ciphertext.size())) == 1;
  ok = ok && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, expected.data()) == 1;
  ok = ok && EVP_DecryptFinal_ex(context, plain.data() + done, &rest) == 1;
  EVP_CIPHER_CTX_free(context);
  if (!ok) return std::nullopt;
  plain.resize(ciphertext.size());
  return plain;
}

std::optional<Decoded> decode(const Octets& image, const Octets& key) {
  std::size_t header = 0;
  const bool first = valid_header(image, 0);
  const bool second = valid_header(image, 512);
  if (!first && !second) return std::nullopt;
  if (!first || (second && word(image, 512 + 16) == word(image, 16) + 1)) header = 512;

  Decoded decoded;
  decoded.sequence = word(image, header + 16);
  const std::size_t table = std::size_t{word(image, header + 24)} * 4096;
  const std::size_t last = table + 63 * 64;
  std::optional<Octets> metadata_key;
  for (const std::size_t slot : {header + 36, header + 100}) {
    metadata_key = open_gcm(key, cut(image, slot, 12), cut(image, slot + 32, 32), cut(image, slot + 16, 16));
    decoded.header_nonce = cut(image, slot, 12);
    if (metadata_key) break;
  }
  if (!metadata_key) return std::nullopt;
  decoded.metadata_key = *metadata_key;
  decoded.stored_table = cut(image, std::size_t{word(image, last)} * 4096, 4096);
  const auto extended =
      open_gcm(*metadata_key, cut(image, last + 16, 12), decoded.stored_table, cut(image, last + 28, 16));
  if (!extended) return std::nullopt;
  for (int id = 1; id < 63; ++id) {
    const std::size_t entry = table + static_cast<std::size_t>(id) * 64;
    const std::size_t sealed = static_cast<std::size_t>(id) * 64;
    if (word(image, entry + 4) == 0 || word(*extended, sealed) == 0) continue;
    DecodedFile file;
    file.stored = cut(image, std::size_t{word(image, entry)} * 4096, word(image, entry + 8));
    file.nonce = cut(image, entry + 16, 12);
    file.tag = cut(image, entry + 28, 16);
    file.key = cut(*extended, sealed + 4, 32);
    file.content = open_gcm(file.key, file.nonce, file.stored, file.tag);
    decoded.files[id] = std::move(file);
  }
  return decoded;
}

}  // namespace bootseal::vmgs::test
