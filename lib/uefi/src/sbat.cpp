#include "bootseal/uefi/sbat.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace bootseal::uefi {
namespace {

constexpr std::size_t kMaximumSize = 65536, kMaximumRows = 256;

std::string_view cut(std::string_view& rest, char separator) {
  const std::size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view head = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return head;
}

Result<SbatEntry> parse_row(std::string_view row) {
  SbatEntry entry;
  entry.component = cut(row, ',');
  const std::string_view generation = cut(row, ',');
  const auto [end, error] =
      std::from_chars(generation.data(), generation.data() + generation.size(), entry.generation);
  if (entry.component.empty() || error != std::errc() || end != generation.data() + generation.size() ||
      entry.generation == 0) {
    return fail(ErrorCode::corrupt, "a component and its generation were wanted");
  }
  entry.vendor = cut(row, ',');
  entry.package = cut(row, ',');
  entry.version = cut(row, ',');
  entry.url = cut(row, ',');
  return entry;
}

}  // namespace

Result<std::vector<SbatEntry>> parse_sbat(ByteSpan section) {
  std::string_view text = as_text(section);
  text = text.substr(0, text.find('\0'));
  if (text.size() > kMaximumSize)
    return fail(ErrorCode::corrupt, fmt::format("the SBAT data has {} bytes", text.size()));
  const bool printable =
      std::ranges::all_of(text, [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\r'; });
  if (!printable) return fail(ErrorCode::corrupt, "the SBAT data is not plain text");
  std::vector<SbatEntry> entries;
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view row = cut(text, '\n');
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.empty()) continue;
    if (number > kMaximumRows)
      return fail(ErrorCode::corrupt, fmt::format("the SBAT data has more than {} rows", kMaximumRows));
    Result<SbatEntry> entry = parse_row(row);
    if (!entry) return tl::unexpected(entry.error().wrap(fmt::format("row {} of the SBAT data", number)));
    entries.push_back(*std::move(entry));
  }
  return entries;
}

std::string summarize_sbat(const std::vector<SbatEntry>& entries) {
  std::string text;
  for (const SbatEntry& entry : entries) {
    if (entry.component == "sbat") continue;
    text += fmt::format("{}{},{}", text.empty() ? "" : ";", entry.component, entry.generation);
  }
  return text;
}

std::string first_revoked(const std::vector<SbatEntry>& image, const std::vector<SbatEntry>& level) {
  for (const SbatEntry& entry : image) {
    const bool too_old = std::ranges::any_of(level, [&](const SbatEntry& wanted) {
      return wanted.component == entry.component && entry.generation < wanted.generation;
    });
    if (too_old) return entry.component;
  }
  return {};
}

}  // namespace bootseal::uefi
