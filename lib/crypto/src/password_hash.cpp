#include "bootseal/crypto/password_hash.h"

#include <crypt.h>

#include <memory>

#include "bootseal/crypto/secret.h"

namespace bootseal::crypto {
namespace {

bool can_be_password(std::string_view password) {
  return !password.empty() && password.size() < CRYPT_MAX_PASSPHRASE_SIZE &&
         password.find('\0') == std::string_view::npos;
}

// crypt(3) with a salt or a hash; "" when it cannot.
std::string crypt_with(std::string_view password, const char* setting) {
  const auto data = std::make_unique<crypt_data>();
  std::string text(password);
  const char* hash = ::crypt_rn(text.c_str(), setting, data.get(), sizeof(crypt_data));
  std::string result = hash != nullptr && hash[0] != '*' ? hash : "";
  wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
  wipe({reinterpret_cast<std::byte*>(data.get()), sizeof(crypt_data)});
  return result;
}

}  // namespace

Result<std::string> hash_password(std::string_view password) {
  if (!can_be_password(password))
    return fail(ErrorCode::invalid_argument, "a password has 1 to 511 bytes, none of them 0");
  char salt[CRYPT_GENSALT_OUTPUT_SIZE] = {};
  if (::crypt_gensalt_rn("$y$", 0, nullptr, 0, salt, sizeof(salt)) == nullptr)
    return fail(ErrorCode::internal, "crypt(3) made no salt: this system's libcrypt has no yescrypt");
  std::string result = crypt_with(password, salt);
  if (result.empty()) return fail(ErrorCode::internal, "crypt(3) could not hash the password");
  return result;
}

bool is_password_of(std::string_view password, const std::string& hash) {
  if (!can_be_password(password) || hash.empty()) return false;
  return equal_constant_time(as_bytes(crypt_with(password, hash.c_str())), as_bytes(hash));
}

}  // namespace bootseal::crypto
