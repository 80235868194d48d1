#include "master_key.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"
#include "bootseal/crypto/aead.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/keywrap.h"
#include "bootseal/json/json.h"

namespace bootseal::vault {
namespace {

constexpr std::uint64_t kFormat = 1;
constexpr std::size_t kSaltSize = 32;
constexpr std::size_t kMaximumFileSize = 16384;

std::string label(const std::string& vault_id) {
  return "master-key/" + vault_id;
}

Result<MasterFile> parse_master_file(std::string_view text) {
  BOOTSEAL_TRY(const json::Value document, json::parse(text));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the master key file"));
  BOOTSEAL_TRY(const std::uint64_t format, reader.unsigned_integer("format"));
  if (format != kFormat) return reader.problem("format", "was written by another version of Bootseal");
  MasterFile file;
  BOOTSEAL_TRY(file.vault_id, reader.string("vaultId"));
  BOOTSEAL_TRY(file.ready, reader.boolean("ready"));
  BOOTSEAL_TRY(json::Reader scrypt, reader.object("scrypt"));
  BOOTSEAL_TRY(file.scrypt.cost, scrypt.unsigned_integer("cost"));
  BOOTSEAL_TRY(const std::uint64_t block_size, scrypt.unsigned_integer("blockSize"));
  BOOTSEAL_TRY(const std::uint64_t parallelism, scrypt.unsigned_integer("parallelism"));
  if (block_size > UINT32_MAX || parallelism > UINT32_MAX)
    return scrypt.problem("blockSize", "is out of range");
  file.scrypt.block_size = static_cast<std::uint32_t>(block_size);
  file.scrypt.parallelism = static_cast<std::uint32_t>(parallelism);
  BOOTSEAL_TRY(file.salt, scrypt.base64("salt"));
  BOOTSEAL_TRY(file.wrapped_key, reader.base64("wrappedKey"));
  return file;
}

}  // namespace

Result<std::optional<MasterFile>> read_master_file(const std::filesystem::path& path) {
  const Result<Bytes> content = read_file(path, kMaximumFileSize);
  if (!content && content.error().code == ErrorCode::not_found) return std::nullopt;
  if (!content) return tl::unexpected(content.error());
  Result<MasterFile> file = parse_master_file(as_text(*content));
  if (!file) {
    return fail(ErrorCode::corrupt, fmt::format("{} is damaged; restore it from a backup", path.string()),
                file.error());
  }
  return std::optional<MasterFile>(*std::move(file));
}

Status write_master_file(const std::filesystem::path& path, const MasterFile& file) {
  const json::Value document = {{"format", kFormat},
                                {"vaultId", file.vault_id},
                                {"ready", file.ready},
                                {"scrypt",
                                 {{"cost", file.scrypt.cost},
                                  {"blockSize", file.scrypt.block_size},
                                  {"parallelism", file.scrypt.parallelism},
                                  {"salt", to_base64(file.salt)}}},
                                {"wrappedKey", to_base64(file.wrapped_key)}};
  return replace_file(path, as_bytes(json::serialize_pretty(document)), 0600);
}

Result<NewMasterKey> make_master_key(const crypto::Secret& passphrase,
                                     const crypto::ScryptParameters& scrypt) {
  MasterFile file;
  file.vault_id = Guid::random().to_string();
  file.scrypt = scrypt;
  file.salt = crypto::random_bytes(kSaltSize);
  BOOTSEAL_TRY(const crypto::Secret wrapping_key,
               crypto::scrypt(passphrase.view(), file.salt, scrypt, crypto::kAesKeySize));
  crypto::Secret key = crypto::Secret::random(crypto::kAesKeySize);
  file.wrapped_key = crypto::wrap_key(wrapping_key, key, label(file.vault_id));
  return NewMasterKey{std::move(file), std::move(key)};
}

Result<crypto::Secret> open_master_key(const MasterFile& file, const crypto::Secret& passphrase) {
  BOOTSEAL_TRY(const crypto::Secret wrapping_key,
               crypto::scrypt(passphrase.view(), file.salt, file.scrypt, crypto::kAesKeySize));
  Result<crypto::Secret> key = crypto::unwrap_key(wrapping_key, file.wrapped_key, label(file.vault_id));
  if (!key || key->size() != crypto::kAesKeySize) {
    return fail(ErrorCode::permission_denied,
                "the passphrase does not open the master key: give the passphrase that this vault was made "
                "with, or restore master.json");
  }
  return key;
}

}  // namespace bootseal::vault
