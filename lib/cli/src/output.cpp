#include "bootseal/cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "bootseal/base/fds.h"

namespace bootseal::cli {
namespace {

constexpr std::size_t kGap = 2;

// Columns on a terminal, counting each UTF-8 sequence as one.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

void append_row(std::string& text, const std::vector<std::string>& cells,
                const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string cell = printable(cells[i]);
    line += cell;
    line.append(widths[i] - width_of(cell) + kGap, ' ');
  }
  line.erase(line.find_last_not_of(' ') + 1);
  text += line + '\n';
}

constexpr char kEscape = 0x1B;
constexpr char kBell = 0x07;

bool is_between(char c, char first, char last) {
  return c >= first && c <= last;
}

// Where the escape sequence that begins at `at` ends (ECMA-48, sections 5.3 to 5.6).
std::size_t escape_end(std::string_view text, std::size_t at) {
  std::size_t next = at + 1;
  if (next == text.size()) return next;
  const char kind = text[next++];
  if (kind == '[') {
    while (next < text.size() && is_between(text[next], 0x20, 0x3F)) ++next;
    return next < text.size() && is_between(text[next], 0x40, 0x7E) ? next + 1 : next;
  }
  if (std::string_view("]PX^_").find(kind) != std::string_view::npos) {
    for (; next < text.size() && text[next] != '\n'; ++next) {
      if (text[next] == kBell) return next + 1;
      if (text[next] == kEscape) return next + 1 < text.size() && text[next + 1] == '\\' ? next + 2 : next;
    }
    return next;
  }
  if (is_between(kind, 0x20, 0x2F)) {
    while (next < text.size() && is_between(text[next], 0x20, 0x2F)) ++next;
    return next < text.size() && is_between(text[next], 0x30, 0x7E) ? next + 1 : next;
  }
  return is_between(kind, 0x30, 0x7E) ? next : at + 1;
}

// Bytes of the UTF-8 character at `at`; 0 when there is none, or it is a C1 control.
std::size_t character_size(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const unsigned char first = byte(at);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xC2 && first < 0xE0   ? 2
                           : first >= 0xE0 && first < 0xF0 ? 3
                           : first >= 0xF0 && first < 0xF5 ? 4
                                                           : 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80U) return 0;
  }
  return first == 0xC2 && byte(at + 1) < 0xA0 ? 0 : size;
}

}  // namespace

std::string Table::to_text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    std::size_t widest = width_of(headers[i]);
    for (const auto& row : rows) widest = std::max(widest, width_of(printable(row.at(i))));
    widths.push_back(widest);
  }
  std::string text;
  append_row(text, headers, widths);
  for (const auto& row : rows) append_row(text, row, widths);
  return text;
}

std::string Table::to_tsv() const {
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::string cell = row[i];
      std::replace_if(
          cell.begin(), cell.end(), [](char c) { return c == '\t' || c == '\n' || c == '\r'; }, ' ');
      text += (i == 0 ? "" : "\t") + printable(cell);
    }
    text += '\n';
  }
  return text;
}

std::string printable(std::string_view text, bool lines) {
  std::string result(text);
  for (char& c : result) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 || byte == 0x7F) && !(lines && c == '\n')) c = '?';
  }
  // C1 controls (U+0080 … U+009F) are escape sequences to some terminals.
  for (std::size_t i = 0; i + 1 < result.size(); ++i) {
    const auto first = static_cast<unsigned char>(result[i]);
    const auto second = static_cast<unsigned char>(result[i + 1]);
    if (first == 0xC2 && second >= 0x80 && second < 0xA0) result[i] = result[i + 1] = '?';
  }
  return result;
}

std::string without_terminal_controls(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == kEscape) {
      at = escape_end(text, at);
      continue;
    }
    const std::size_t size = character_size(text, at);
    const bool is_control = size == 1 && text[at] != '\n' && text[at] != '\t' &&
                            (is_between(text[at], 0, 0x1F) || text[at] == 0x7F);
    if (!is_control) result += size == 0 ? "?" : text.substr(at, size);
    at += std::max<std::size_t>(size, 1);
  }
  return result;
}

Status write_output(std::string_view text) {
  const Status written = write_all(STDOUT_FILENO, as_bytes(text));
  if (written) return {};
  return fail(ErrorCode::io_error, fmt::format("writing the output: {}", written.error().describe()));
}

const json::Value* find(const json::Value& value, std::initializer_list<std::string_view> path) {
  const json::Value* current = &value;
  for (const std::string_view name : path) {
    const json::Object* object = current->if_object();
    if (object == nullptr) return nullptr;
    current = object->if_contains(name);
    if (current == nullptr) return nullptr;
  }
  return current;
}

std::string text_at(const json::Value& value, std::initializer_list<std::string_view> path) {
  const json::Value* found = find(value, path);
  if (found == nullptr) return {};
  if (found->is_string()) return std::string(found->get_string());
  if (found->is_number()) return json::serialize(*found);
  if (found->is_bool()) return found->get_bool() ? "true" : "false";
  return {};
}

}  // namespace bootseal::cli
