// The keys of --key, --migration-key, --keyfile and their kin.
#pragma once

#include <optional>

#include "bootseal/crypto/secret.h"

namespace bootseal::swtpm {

enum class KeyFormat : std::uint8_t { hex, binary };
enum class KeyDerivation : std::uint8_t { pbkdf2, sha512 };

// 16 or 32 bytes for "aes-cbc", "aes-128-cbc" and "aes-256-cbc". Errors: invalid_argument.
Result<std::size_t> key_size_of_mode(std::string_view mode);

// `text` as swtpm's --key takes it: file=|fd=|pwdfile=|pwdfd=, mode=, format=, kdf=, remove=. A descriptor is
// closed. Errors: invalid_argument, those of reading the file.
Result<crypto::Secret> key_from_option(std::string_view text);

// The content of a key file: `size` bytes, or as many as hex digits with or without 0x in front and white
// space behind. Errors: invalid_argument.
Result<crypto::Secret> parse_key(ByteSpan content, KeyFormat format, std::size_t size);

// What a descriptor holds, up to its end. Errors: io_error, exhausted.
Result<crypto::Secret> read_secret(int fd);

}  // namespace bootseal::swtpm
