// Tables for people, JSON and tab-separated values for programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bootseal/json/json.h"

namespace bootseal::cli {

enum class Format : std::uint8_t { people, json, table, tsv };

struct Table {
  std::vector<std::string> headers;
  std::vector<std::vector<std::string>> rows;  // as many cells as headers

  // Columns padded to their widest cell, two blanks apart, headers first. Ends with a new line.
  [[nodiscard]] std::string to_text() const;
  // No headers; tabs and new lines inside of cells become blanks.
  [[nodiscard]] std::string to_tsv() const;
};

// What came from a guest or a server, safe for a terminal: control characters become '?'. Keeps new lines
// when `lines`.
std::string printable(std::string_view text, bool lines = false);

// What a serial console showed as plain text: whole escape sequences go (CSI, OSC and the other strings,
// two-byte ones), and every control character but tab and new line. A string that never ends takes its line
// with it only.
std::string without_terminal_controls(std::string_view text);

// To standard output at once, past the buffer of stdio. io_error whatever the reason.
Status write_output(std::string_view text);

// The member at a path of names, or nullptr.
const json::Value* find(const json::Value& value, std::initializer_list<std::string_view> path);
// Its text, number or truth as text; empty when it is absent, null or something else.
std::string text_at(const json::Value& value, std::initializer_list<std::string_view> path);

}  // namespace bootseal::cli
