#include "bootseal/identity/role_filter.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::identity {
namespace {

constexpr std::size_t kMaximumBytes = 2048;
constexpr std::size_t kMaximumTerms = 8;

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  Result<std::vector<FilterTerm>> run() {
    std::vector<FilterTerm> terms;
    while (true) {
      BOOTSEAL_TRY(FilterTerm one, term());
      terms.push_back(std::move(one));
      skip_blanks();
      if (rest_.empty()) return terms;
      if (word() != "and") return problem("wanted 'and' between the conditions");
      if (terms.size() == kMaximumTerms) return problem("there are too many conditions");
    }
  }

 private:
  Result<FilterTerm> term() {
    FilterTerm term;
    term.name = word();
    if (term.name.empty()) return problem("wanted a name");
    skip_blanks();
    if (take('(')) {
      term.function = true;
      skip_blanks();
      if (take(')')) return term;
      BOOTSEAL_TRY(term.value, value());
      skip_blanks();
      if (!take(')')) return problem("wanted ')'");
      return term;
    }
    if (word() != "eq") return problem("wanted 'eq'");
    BOOTSEAL_TRY(term.value, value());
    return term;
  }

  Result<std::string> value() {
    skip_blanks();
    if (!take('\'')) {
      std::string bare = word();
      if (bare.empty()) return problem("wanted a value in single quotes");
      return bare;
    }
    std::string text;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c != '\'') {
        text += c;
      } else if (take('\'')) {
        text += '\'';
      } else {
        return text;
      }
    }
    return problem("a value has no end");
  }

  void skip_blanks() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
  }
  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string word() {
    skip_blanks();
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_word_character);
    std::string text(rest_.begin(), end);
    rest_.remove_prefix(text.size());
    return text;
  }
  [[nodiscard]] tl::unexpected<Error> problem(std::string_view what) const {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{} at '{}'; possible are atScope(), assignedTo('ID'), NAME eq 'VALUE', joined by "
                    "'and'",
                    what, rest_.substr(0, 32)));
  }

  std::string_view rest_;
};

}  // namespace

Result<std::vector<FilterTerm>> parse_role_filter(std::string_view text) {
  if (text.size() > kMaximumBytes)
    return fail(ErrorCode::invalid_argument, fmt::format("a filter has at most {} bytes", kMaximumBytes));
  return Parser(text).run();
}

}  // namespace bootseal::identity
