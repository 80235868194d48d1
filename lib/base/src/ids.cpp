#include "bootseal/base/ids.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>

namespace bootseal {
namespace {

constexpr std::array<std::size_t, 16> kWindowsOrder = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

Guid Guid::random() {
  Guid guid;
  BOOTSEAL_CHECK(::getrandom(guid.bytes.data(), guid.bytes.size(), 0) ==
                 static_cast<ssize_t>(guid.bytes.size()));
  guid.bytes[6] = (guid.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  guid.bytes[8] = (guid.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return guid;
}

Result<Guid> Guid::parse(std::string_view text) {
  const auto bad = [&] {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a GUID (8-4-4-4-12 hex digits)", text.substr(0, 64)));
  };
  if (text.size() != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-')
    return bad();
  std::string digits(text);
  std::erase(digits, '-');
  const Result<Bytes> bytes = from_hex(digits);
  if (!bytes || bytes->size() != 16) return bad();
  Guid guid;
  std::ranges::copy(*bytes, guid.bytes.begin());
  return guid;
}

Guid Guid::from_windows_layout(std::span<const std::byte, 16> layout) {
  Guid guid;
  for (std::size_t i = 0; i < 16; ++i) guid.bytes[i] = layout[kWindowsOrder[i]];
  return guid;
}

std::array<std::byte, 16> Guid::windows_layout() const {
  std::array<std::byte, 16> layout{};
  for (std::size_t i = 0; i < 16; ++i) layout[kWindowsOrder[i]] = bytes[i];
  return layout;
}

std::string Guid::to_string() const {
  const std::string digits = to_hex(bytes);
  return fmt::format("{}-{}-{}-{}-{}", digits.substr(0, 8), digits.substr(8, 4), digits.substr(12, 4),
                     digits.substr(16, 4), digits.substr(20));
}

Result<VmId> VmId::parse(std::string_view text) {
  BOOTSEAL_TRY(const Guid guid, Guid::parse(text));
  return VmId{guid};
}

bool is_valid_resource_name(std::string_view name) {
  if (name.empty() || name.size() > 64 || !is_alphanumeric(name.front()) || !is_alphanumeric(name.back()))
    return false;
  if (name.find("..") != std::string_view::npos) return false;
  return std::ranges::all_of(name,
                             [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace bootseal
