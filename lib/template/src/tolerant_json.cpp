#include "bootseal/template/tolerant_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <vector>

#include "bootseal/model/resource_id.h"

namespace bootseal::templates {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
}
bool is_name_part(char c) {
  return is_name_start(c) || (c >= '0' && c <= '9') || c == '-';
}
bool is_number_part(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

TextPlace place_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line_start = before.rfind('\n');
  return {.line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')),
          .column = offset - (line_start == std::string_view::npos ? 0 : line_start + 1) + 1};
}

// One step of a path: a member's name or an element's index.
struct Step {
  std::string name;
  std::optional<std::size_t> index;
};

std::vector<Step> steps_of(std::string_view path) {
  std::vector<Step> steps;
  std::size_t at = 0;
  while (at < path.size()) {
    if (path[at] == '[') {
      std::size_t value = 0;
      for (++at; at < path.size() && path[at] != ']'; ++at) {
        if (path[at] < '0' || path[at] > '9') return {};
        value = value * 10 + static_cast<std::size_t>(path[at] - '0');
      }
      steps.push_back({{}, value});
      ++at;
    } else {
      if (path[at] == '.') ++at;
      const std::size_t end = std::min(path.find_first_of(".[", at), path.size());
      steps.push_back({std::string(path.substr(at, end - at)), std::nullopt});
      at = end;
    }
  }
  return steps;
}

class Parser {
 public:
  Parser(std::string_view text, const TolerantLimits& limits, std::vector<Step> wanted = {})
      : text_(text), limits_(limits), wanted_(std::move(wanted)) {}

  Result<json::Value> document() {
    BOOTSEAL_TRY(json::Value result, value(0, 0));
    BOOTSEAL_TRY_STATUS(skip_blanks());
    if (at_ < text_.size()) return wrong("the end of the text");
    return result;
  }
  [[nodiscard]] std::optional<std::size_t> found() const { return found_; }

 private:
  tl::unexpected<Error> problem(std::size_t offset, std::string_view message) const {
    const TextPlace place = place_of(text_, offset);
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} at line {}, column {}", message, place.line, place.column));
  }
  tl::unexpected<Error> wrong(std::string_view wanted) const {
    if (at_ >= text_.size()) return problem(at_, fmt::format("wanted {}, the text ends", wanted));
    return problem(at_, fmt::format("wanted {}", wanted));
  }

  Status skip_blanks() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        ++at_;
      } else if (text_.substr(at_).starts_with(kByteOrderMark)) {
        at_ += kByteOrderMark.size();
      } else if (text_.substr(at_).starts_with("//")) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (text_.substr(at_).starts_with("/*")) {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return problem(at_, "the comment begun here never ends,");
        at_ = end + 2;
      } else {
        break;
      }
    }
    return {};
  }

  // `matched` steps of the wanted path lead to this value; npos = none does.
  Result<json::Value> value(std::size_t depth, std::size_t matched) {
    BOOTSEAL_TRY_STATUS(skip_blanks());
    if (matched == wanted_.size() && !found_) found_ = at_;
    if (at_ >= text_.size()) return wrong("a value");
    if (++values_ > limits_.values)
      return fail(ErrorCode::exhausted,
                  fmt::format("the text holds more than {} values, which is the limit", limits_.values));
    switch (text_[at_]) {
      case '{':
        return object(depth + 1, matched);
      case '[':
        return array(depth + 1, matched);
      case '"':
        return string_value();
      default:
        return word();
    }
  }

  Status check_depth(std::size_t depth) const {
    if (depth > limits_.depth)
      return fail(ErrorCode::exhausted,
                  fmt::format("the text is nested deeper than {} levels, which is the limit", limits_.depth));
    return {};
  }

  Result<json::Value> object(std::size_t depth, std::size_t matched) {
    BOOTSEAL_TRY_STATUS(check_depth(depth));
    ++at_;
    json::Object result;
    while (true) {
      BOOTSEAL_TRY_STATUS(skip_blanks());
      if (take('}')) return json::Value(std::move(result));
      BOOTSEAL_TRY(const std::string name, member_name());
      BOOTSEAL_TRY_STATUS(skip_blanks());
      if (!take(':')) return wrong(fmt::format("':' after the member name '{}'", name));
      BOOTSEAL_TRY(json::Value member, value(depth, step_into(matched, name)));
      result[name] = std::move(member);
      BOOTSEAL_TRY_STATUS(skip_blanks());
      if (take(',')) continue;
      if (take('}')) return json::Value(std::move(result));
      return wrong("',' or '}'");
    }
  }

  Result<json::Value> array(std::size_t depth, std::size_t matched) {
    BOOTSEAL_TRY_STATUS(check_depth(depth));
    ++at_;
    json::Array result;
    while (true) {
      BOOTSEAL_TRY_STATUS(skip_blanks());
      if (take(']')) return json::Value(std::move(result));
      BOOTSEAL_TRY(json::Value element, value(depth, step_into(matched, result.size())));
      result.push_back(std::move(element));
      BOOTSEAL_TRY_STATUS(skip_blanks());
      if (take(',')) continue;
      if (take(']')) return json::Value(std::move(result));
      return wrong("',' or ']'");
    }
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  [[nodiscard]] std::size_t step_into(std::size_t matched, std::string_view name) const {
    const bool leads = matched < wanted_.size() && !wanted_[matched].index &&
                       model::equal_ignoring_case(wanted_[matched].name, name);
    return leads ? matched + 1 : std::string_view::npos;
  }
  [[nodiscard]] std::size_t step_into(std::size_t matched, std::size_t index) const {
    return matched < wanted_.size() && wanted_[matched].index == index ? matched + 1 : std::string_view::npos;
  }

  Result<std::string> member_name() {
    if (at_ < text_.size() && text_[at_] == '"') return quoted();
    if (at_ >= text_.size() || !is_name_start(text_[at_])) return wrong("a member name or '}'");
    const std::size_t start = at_;
    while (at_ < text_.size() && is_name_part(text_[at_])) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  Result<json::Value> string_value() {
    BOOTSEAL_TRY(const std::string text, quoted());
    return json::Value(text);
  }

  // The string whose opening quote is next; raw control characters stand for themselves.
  Result<std::string> quoted() {
    const std::size_t start = at_;
    std::string strict = "\"";
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      const char c = text_[at_];
      if (static_cast<unsigned char>(c) < 0x20) {
        strict += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        continue;
      }
      strict += c;
      if (c == '\\' && at_ + 1 < text_.size()) strict += text_[++at_];
    }
    if (!take('"')) return problem(start, "the string begun here never ends,");
    strict += '"';
    const Result<json::Value> decoded = json::parse(strict);
    if (!decoded || !decoded->is_string())
      return problem(start, "the string begun here holds an escape or a byte that JSON does not know,");
    return std::string(decoded->get_string().data(), decoded->get_string().size());
  }

  // true, false, null or a number.
  Result<json::Value> word() {
    const std::size_t start = at_;
    while (at_ < text_.size() && (is_name_part(text_[at_]) || is_number_part(text_[at_]))) ++at_;
    const Result<json::Value> decoded = json::parse(text_.substr(start, at_ - start));
    if (!decoded) return problem(start, "wanted a value");
    return *decoded;
  }

  std::string_view text_;
  TolerantLimits limits_;
  std::vector<Step> wanted_;
  std::optional<std::size_t> found_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

std::optional<std::size_t> offset_of(std::string_view text, std::string_view path) {
  Parser parser(text, {}, steps_of(path));
  if (!parser.document()) return std::nullopt;
  return parser.found();
}

}  // namespace

Result<json::Value> read_tolerant_json(std::string_view text, const TolerantLimits& limits) {
  if (text.size() > limits.bytes)
    return fail(ErrorCode::exhausted,
                fmt::format("the text has {} bytes, at most {} are allowed", text.size(), limits.bytes));
  return Parser(text, limits).document();
}

std::optional<TextPlace> locate(std::string_view text, std::string_view path, std::string_view from) {
  const std::string whole =
      from.empty() ? std::string(path)
                   : fmt::format("{}{}{}", from, path.empty() || path.starts_with('[') ? "" : ".", path);
  const std::optional<std::size_t> start = from.empty() ? 0 : offset_of(text, from);
  const std::optional<std::size_t> offset = offset_of(text, whole);
  if (!start || !offset || *offset < *start) return std::nullopt;
  return place_of(text.substr(*start), *offset - *start);
}

}  // namespace bootseal::templates
