// A second reader of sealed stores, written from the description of the format and OpenSSL alone: it shares
// no code with the library, so a mistake that writer and reader of the library have in common shows here.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace bootseal::vmgs::test {

struct DecodedFile {
  std::vector<std::uint8_t> stored;  // as on the disk
  std::vector<std::uint8_t> nonce;
  std::vector<std::uint8_t> tag;
  std::vector<std::uint8_t> key;                     // from the extended file table
  std::optional<std::vector<std::uint8_t>> content;  // nullopt: the tag does not verify
};

struct Decoded {
  std::uint32_t sequence = 0;
  std::vector<std::uint8_t> header_nonce;
  std::vector<std::uint8_t> metadata_key;
  std::vector<std::uint8_t> stored_table;  // the sealed extended file table as on the disk
  std::map<int, DecodedFile> files;        // only those with the encrypted attribute
};

// Opens the store in `image` (512-byte sectors) with the 32-byte key. nullopt: no header, no slot or not the
// table.
std::optional<Decoded> decode(const std::vector<std::uint8_t>& image, const std::vector<std::uint8_t>& key);

// AES-256-GCM. nullopt when the tag does not verify.
std::optional<std::vector<std::uint8_t>> open_gcm(const std::vector<std::uint8_t>& key,
                                                  const std::vector<std::uint8_t>& nonce,
                                                  const std::vector<std::uint8_t>& ciphertext,
                                                  const std::vector<std::uint8_t>& tag);

}  // namespace bootseal::vmgs::test
