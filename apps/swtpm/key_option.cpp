#include "key_option.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cctype>

#include "bootseal/base/fds.h"
#include "bootseal/guest/swtpm_key.h"
#include "option_string.h"

namespace bootseal::swtpm {
namespace {

constexpr std::array kRules = {
    OptionRule{"file", OptionKind::text},    OptionRule{"mode", OptionKind::text},
    OptionRule{"format", OptionKind::text},  OptionRule{"remove", OptionKind::truth},
    OptionRule{"pwdfile", OptionKind::text}, OptionRule{"kdf", OptionKind::text},
    OptionRule{"fd", OptionKind::number},    OptionRule{"pwdfd", OptionKind::number}};
constexpr std::size_t kMaximumSecret = std::size_t{64} << 10;

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}

}  // namespace

Result<std::size_t> key_size_of_mode(std::string_view mode) {
  if (mode == "aes-cbc" || mode == "aes-128-cbc") return 16;
  if (mode == "aes-256-cbc") return 32;
  return bad(fmt::format("Unknown encryption mode '{}'.", mode));
}

Result<crypto::Secret> read_secret(int fd) {
  BOOTSEAL_TRY(Bytes content, read_to_end(fd, kMaximumSecret + 1));
  if (content.size() > kMaximumSecret)
    return fail(ErrorCode::exhausted,
                fmt::format("a key or passphrase has more than {} bytes", kMaximumSecret));
  crypto::Secret secret = crypto::Secret::copy_of(content);
  crypto::wipe(content);
  return secret;
}

Result<crypto::Secret> parse_key(ByteSpan content, KeyFormat format, std::size_t size) {
  if (format == KeyFormat::binary) {
    if (content.size() != size)
      return bad(fmt::format("The key has {} bytes, the encryption mode needs {}.", content.size(), size));
    return crypto::Secret::copy_of(content);
  }
  std::string_view text = as_text(content);
  if (text.starts_with("0x")) text.remove_prefix(2);
  std::size_t digits = 0;
  while (digits < text.size() && std::isspace(static_cast<unsigned char>(text[digits])) == 0) ++digits;
  if (digits != size * 2) {
    return bad(
        fmt::format("The key has {} hex digits, the encryption mode needs {}; a 256 bit key needs "
                    "mode=aes-256-cbc.",
                    digits, size * 2));
  }
  Result<Bytes> bytes = from_hex(text.substr(0, digits));
  if (!bytes) return bad("Could not parse the key as hex digits.");
  crypto::Secret key = crypto::Secret::copy_of(*bytes);
  crypto::wipe(*bytes);
  return key;
}

Result<crypto::Secret> key_from_option(std::string_view text) {
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(text, kRules));
  const auto key_file = options.text("file");
  const auto password_file = options.text("pwdfile");
  const auto key_fd = options.number("fd");
  const auto password_fd = options.number("pwdfd");
  if (!key_file && !key_fd && !password_file && !password_fd)
    return bad("Either file=, fd=, pwdfile=, or pwdfd= is required for key option");
  const std::string format_name = options.text("format").value_or("hex");
  if (format_name != "hex" && format_name != "binary")
    return bad(fmt::format("Unknown key format '{}'.", format_name));
  const KeyFormat format = format_name == "hex" ? KeyFormat::hex : KeyFormat::binary;
  BOOTSEAL_TRY(const std::size_t size, key_size_of_mode(options.text("mode").value_or("aes-128-cbc")));
  const std::string derivation_name = options.text("kdf").value_or("pbkdf2");
  if (derivation_name != "pbkdf2" && derivation_name != "sha512")
    return bad(fmt::format("Unknown kdf '{}'.", derivation_name));

  const bool is_key = key_file || key_fd;
  const auto& path = is_key ? key_file : password_file;
  UniqueFd fd;
  if (path) {
    BOOTSEAL_TRY(fd, open_file(*path, O_RDONLY));
  } else {
    fd = UniqueFd(is_key ? *key_fd : *password_fd);
  }
  BOOTSEAL_TRY(const crypto::Secret content, read_secret(fd.get()));
  const auto make = [&]() -> Result<crypto::Secret> {
    if (is_key) return parse_key(content.view(), format, size);
    if (derivation_name == "sha512") return guest::swtpm_key_from_passphrase_sha512(content.view(), size);
    return guest::swtpm_key_from_passphrase_pbkdf2(content.view(), size);
  };
  BOOTSEAL_TRY(crypto::Secret key, make());
  if (options.truth("remove") && path) ::unlink(path->c_str());
  return key;
}

}  // namespace bootseal::swtpm
