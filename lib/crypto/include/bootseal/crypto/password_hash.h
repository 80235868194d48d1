// Passwords of guests' users, as crypt(3) keeps them in /etc/shadow.
#pragma once

#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal::crypto {

// A yescrypt hash ("$y$…", crypt(5)) with a salt of its own: the same password has another one each time.
// Takes about 50 ms. Errors: invalid_argument (empty, more than 512 bytes, a 0 in it), internal.
Result<std::string> hash_password(std::string_view password);
// Whether this is the password of a hash that hash_password() made. As slow as that; false for what cannot be
// a password.
bool is_password_of(std::string_view password, const std::string& hash);

}  // namespace bootseal::crypto
