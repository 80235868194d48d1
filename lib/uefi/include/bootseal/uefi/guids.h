// GUIDs of UEFI variables, signature types and tables.
#pragma once

#include <string_view>

#include "bootseal/base/ids.h"

namespace bootseal::uefi {

// A Guid from its text, at compile time; a wrong text does not compile.
consteval Guid guid_literal(std::string_view text) {
  Guid guid;
  std::size_t digits = 0;
  for (const char c : text) {
    if (c == '-') continue;
    const int value = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : throw "not a lower-case GUID";
    auto& byte = guid.bytes.at(digits / 2);
    byte = static_cast<std::byte>((std::to_integer<int>(byte) << 4) | value);
    ++digits;
  }
  if (digits != 32 || text.size() != 36) throw "a GUID has 32 digits and 4 hyphens";
  return guid;
}

// Vendor GUIDs of variables (UEFI 2.10 section 3.3 and 32.4; EDK2 SecurityPkg and MdeModulePkg; shim).
inline constexpr Guid kGlobalVariable = guid_literal("8be4df61-93ca-11d2-aa0d-00e098032b8c");  // PK, KEK
inline constexpr Guid kImageSecurityDatabase =
    guid_literal("d719b2cb-3d3a-4596-a3bc-dad00e67656f");  // db, dbx
inline constexpr Guid kSecureBootEnable = guid_literal("f0a30bc7-af08-4556-99c4-001009c93a44");
inline constexpr Guid kCustomMode = guid_literal("c076ec0c-7028-4399-a072-71ee5c448b9f");
inline constexpr Guid kShimLock = guid_literal("605dab50-e046-4300-abb6-3dd810dd8b23");

// Types of EFI_SIGNATURE_LIST (UEFI 2.10 section 32.4.1).
inline constexpr Guid kCertX509 = guid_literal("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
inline constexpr Guid kCertSha256 = guid_literal("c1c41626-504c-4092-aca9-41f936934328");

// Owners of signatures.
inline constexpr Guid kOwnerMicrosoft = guid_literal("77fa9abd-0359-4d32-bd60-28f4e78f784b");
inline constexpr Guid kOwnerBootseal =
    guid_literal("3b8cf2a4-1d0c-4d7b-9c5e-6f2a8b4e71d9");  // the site's own entries

// The configuration table of refused images has the GUID of the security database (UEFI 2.10
// section 32.5.3.1).
inline constexpr Guid kImageExecutionTable = kImageSecurityDatabase;

}  // namespace bootseal::uefi
