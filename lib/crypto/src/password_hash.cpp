#include "bootseal/crypto/password_hash.h"

#include <crypt.h>

#include <memory>

#include "bootseal/crypto/secret.h"

namespace bootseal::crypto {

Result<std::string> hash_password(std::string_view password) {
  if (password.empty() || password.size() >= CRYPT_MAX_PASSPHRASE_SIZE ||
      password.find('\0') != std::string_view::npos)
    return fail(ErrorCode::invalid_argument, "a password has 1 to 511 bytes, none of them 0");
  const auto data = std::make_unique<crypt_data>();
  char salt[CRYPT_GENSALT_OUTPUT_SIZE] = {};
  if (::crypt_gensalt_rn("$y$", 0, nullptr, 0, salt, sizeof(salt)) == nullptr)
    return fail(ErrorCode::internal, "crypt(3) made no salt: this system's libcrypt has no yescrypt");
  std::string text(password);
  const char* hash = ::crypt_rn(text.c_str(), salt, data.get(), sizeof(crypt_data));
  std::string result = hash != nullptr && hash[0] != '*' ? hash : "";
  wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
  wipe({reinterpret_cast<std::byte*>(data.get()), sizeof(crypt_data)});
  if (result.empty()) return fail(ErrorCode::internal, "crypt(3) could not hash the password");
  return result;
}

}  // namespace bootseal::crypto
