#include "bootseal/template/unique.h"

#include <algorithm>
#include <bit>

#include "bootseal/base/ids.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::templates {
namespace {

constexpr std::uint32_t kFirstFactor = 0x239b961b;
constexpr std::uint32_t kSecondFactor = 0xab0e9789;

std::uint32_t read_le(std::string_view text, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i)
    value |= std::uint32_t{static_cast<unsigned char>(text[at + i])} << (8 * i);
  return value;
}

std::uint32_t mix(std::uint32_t value, std::uint32_t first, int rotation, std::uint32_t second) {
  return std::rotl(value * first, rotation) * second;
}

std::uint32_t finish(std::uint32_t value) {
  value = (value ^ (value >> 16)) * 0x85ebca6b;
  value = (value ^ (value >> 13)) * 0xc2b2ae35;
  return value ^ (value >> 16);
}

}  // namespace

std::uint64_t murmur_hash64(std::string_view text) {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    low ^= mix(read_le(text, at, 4), kFirstFactor, 15, kSecondFactor);
    low = (std::rotl(low, 19) + high) * 5 + 0x561ccd1b;
    high ^= mix(read_le(text, at + 4, 4), kSecondFactor, 17, kFirstFactor);
    high = (std::rotl(high, 13) + low) * 5 + 0x0bcaa747;
  }
  const std::size_t rest = text.size() - at;
  if (rest > 0)
    low ^= mix(read_le(text, at, std::min<std::size_t>(rest, 4)), kFirstFactor, 15, kSecondFactor);
  if (rest > 4) high ^= mix(read_le(text, at + 4, rest - 4), kSecondFactor, 17, kFirstFactor);
  low ^= static_cast<std::uint32_t>(text.size());
  high ^= static_cast<std::uint32_t>(text.size());
  low += high;
  high += low;
  low = finish(low);
  high = finish(high);
  low += high;
  high += low;
  return (std::uint64_t{high} << 32) | low;
}

std::string unique_string(std::string_view text) {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  constexpr std::size_t kLength = 13;
  std::uint64_t hash = murmur_hash64(text);
  std::string result;
  for (std::size_t i = 0; i < kLength; ++i, hash <<= 5) result += kAlphabet[hash >> 59];
  return result;
}

std::string name_guid(std::string_view text) {
  static const Guid kNameSpace = *Guid::parse("11fb06fb-712d-4ddd-98c7-e71bbd588830");
  const Bytes hash = crypto::digest(crypto::HashAlgorithm::sha1, {kNameSpace.bytes, as_bytes(text)});
  Guid result;
  std::copy_n(hash.begin(), result.bytes.size(), result.bytes.begin());
  result.bytes[6] = (result.bytes[6] & std::byte{0x0f}) | std::byte{0x50};
  result.bytes[8] = (result.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return result.to_string();
}

std::string template_hash(const json::Value& document) {
  std::string text = json::serialize(document);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return std::to_string(murmur_hash64(text));
}

}  // namespace bootseal::templates
