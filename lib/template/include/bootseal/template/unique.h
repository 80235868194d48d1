// The deterministic names of the template language: what templates have called a storage account or an
// assignment on Azure, they call it here too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bootseal/json/json.h"

namespace bootseal::templates {

// The 64-bit hash behind uniqueString() and templateHash: MurmurHash3's x86 rounds on two lanes, seed 0.
std::uint64_t murmur_hash64(std::string_view text);
// uniqueString(): 13 of [a-z2-7]. `text` = the arguments, joined by '-'.
std::string unique_string(std::string_view text);
// guid(): a version 5 UUID (RFC 4122) in the name space 11fb06fb-712d-4ddd-98c7-e71bbd588830 that Microsoft
// documents. `text` = the arguments, joined by '-'.
std::string name_guid(std::string_view text);
// templateHash of a deployment: the hash of the compact JSON text in upper case, as a decimal number.
std::string template_hash(const json::Value& document);

}  // namespace bootseal::templates
