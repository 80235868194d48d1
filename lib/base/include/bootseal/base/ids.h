// Identities and counters with types of their own, so that two of them cannot be swapped.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "bootseal/base/bytes.h"

namespace bootseal {

// A 16-byte GUID. `bytes` is in RFC 4122 order (big endian), the order in which it is written as text.
struct Guid {
  std::array<std::byte, 16> bytes{};

  // A version 4 GUID from the kernel's generator.
  static Guid random();
  // "6ba7b810-9dad-11d1-80b4-00c04fd430c8", any case; invalid_argument otherwise.
  static Result<Guid> parse(std::string_view text);
  // From and to the layout of UEFI and Windows (first three fields little endian).
  static Guid from_windows_layout(std::span<const std::byte, 16> layout);
  [[nodiscard]] std::array<std::byte, 16> windows_layout() const;
  // Lower case, with hyphens.
  [[nodiscard]] std::string to_string() const;

  auto operator<=>(const Guid&) const = default;
};

// The identity of one virtual machine for its whole life; also the name of its guest-state protection key.
struct VmId {
  Guid guid;

  static VmId random() { return VmId{Guid::random()}; }
  static Result<VmId> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const { return guid.to_string(); }
  auto operator<=>(const VmId&) const = default;
};

// A counter of placements of one VM; whoever holds an older epoch may do nothing. 0 = never placed.
struct Epoch {
  std::uint64_t value = 0;
  auto operator<=>(const Epoch&) const = default;
};

// A counter in the guest state that only grows; the vault remembers the last one it was told. 0 = not made
// yet.
struct Generation {
  std::uint64_t value = 0;
  auto operator<=>(const Generation&) const = default;
};

// True for names that may stand in paths, resource ids and DNS labels: 1 to 64 of [A-Za-z0-9._-], first and
// last a letter or digit, no "..".
bool is_valid_resource_name(std::string_view name);

}  // namespace bootseal
