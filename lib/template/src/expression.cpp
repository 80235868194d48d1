#include "bootseal/template/expression.h"

#include <fmt/format.h>

#include <charconv>

#include "bootseal/model/resource_id.h"

namespace bootseal::templates {
namespace {

enum class Token : std::uint8_t {
  end,
  text,
  number,
  name,
  dot,
  comma,
  open,
  close,
  open_bracket,
  close_bracket,
  wrong
};

std::string_view token_name(Token token) {
  switch (token) {
    case Token::end:
      return "EndOfData";
    case Token::text:
      return "LiteralString";
    case Token::number:
      return "Integer";
    case Token::name:
      return "Identifier";
    case Token::dot:
      return "Dot";
    case Token::comma:
      return "Comma";
    case Token::open:
      return "LeftParenthesis";
    case Token::close:
      return "RightParenthesis";
    case Token::open_bracket:
      return "LeftSquareBracket";
    case Token::close_bracket:
      return "RightSquareBracket";
    case Token::wrong:
      break;
  }
  return "Invalid";
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) { next(); }

  void next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || (text_[at_] >= '\t' && text_[at_] <= '\r'))) ++at_;
    start_ = at_;
    if (at_ >= text_.size()) {
      token_ = Token::end;
    } else if (text_[at_] == '\'') {
      quoted();
    } else if (is_digit(text_[at_]) ||
               (text_[at_] == '-' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) {
      number();
    } else if (is_letter(text_[at_])) {
      while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
      value_ = text_.substr(start_, at_ - start_);
      token_ = Token::name;
    } else {
      token_ = punctuation(text_[at_++]);
    }
  }

  [[nodiscard]] Token token() const { return token_; }
  [[nodiscard]] const std::string& value() const { return value_; }
  [[nodiscard]] std::int64_t integer() const { return integer_; }
  [[nodiscard]] std::size_t position() const { return start_; }

 private:
  void quoted() {
    value_.clear();
    token_ = Token::wrong;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\'') {
        if (at_ + 1 >= text_.size() || text_[at_ + 1] != '\'') {
          ++at_;
          token_ = Token::text;
          return;
        }
        ++at_;
      }
      value_ += text_[at_];
    }
  }

  void number() {
    const char* end = text_.data() + text_.size();
    const auto [stop, error] = std::from_chars(text_.data() + at_, end, integer_);
    at_ = static_cast<std::size_t>(stop - text_.data());
    const bool whole = error == std::errc() && (stop == end || (!is_letter(*stop) && *stop != '.'));
    token_ = whole ? Token::number : Token::wrong;
  }

  static Token punctuation(char c) {
    switch (c) {
      case '.':
        return Token::dot;
      case ',':
        return Token::comma;
      case '(':
        return Token::open;
      case ')':
        return Token::close;
      case '[':
        return Token::open_bracket;
      case ']':
        return Token::close_bracket;
      default:
        return Token::wrong;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t start_ = 0;
  Token token_ = Token::end;
  std::string value_;
  std::int64_t integer_ = 0;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), lexer_(text) {}

  model::ArmResult<ExpressionTree> whole() {
    BOOTSEAL_ARM_TRY(ExpressionTree tree, expression(1));
    if (lexer_.token() != Token::end) return wanted(Token::end);
    return tree;
  }

 private:
  tl::unexpected<model::ArmError> problem(std::string_view what) const {
    constexpr std::size_t kShown = 256;
    return model::refuse(
        400, "InvalidTemplate",
        fmt::format("Unable to parse language expression '{}{}': {} at position '{}'.",
                    text_.substr(0, kShown), text_.size() > kShown ? "…" : "", what, lexer_.position() + 1));
  }
  tl::unexpected<model::ArmError> wanted(Token token) const {
    return problem(
        fmt::format("expected token '{}' and actual '{}'", token_name(token), token_name(lexer_.token())));
  }

  model::ArmResult<ExpressionTree> expression(std::size_t depth) {
    if (depth > kMaxExpressionDepth)
      return problem(fmt::format("it is nested deeper than {} levels", kMaxExpressionDepth));
    Expression result;
    switch (lexer_.token()) {
      case Token::text:
        result.text = lexer_.value();
        lexer_.next();
        return std::make_shared<const Expression>(std::move(result));
      case Token::number:
        result.kind = Expression::Kind::number;
        result.number = lexer_.integer();
        lexer_.next();
        return std::make_shared<const Expression>(std::move(result));
      case Token::name:
        return call(depth);
      default:
        return problem(fmt::format("expected token '{}' and actual '{}'",
                                   "LiteralString, Integer or Identifier", token_name(lexer_.token())));
    }
  }

  model::ArmResult<ExpressionTree> call(std::size_t depth) {
    Expression result;
    result.kind = Expression::Kind::call;
    result.text = lexer_.value();
    lexer_.next();
    if (lexer_.token() == Token::dot) {
      lexer_.next();
      if (lexer_.token() != Token::name) return wanted(Token::name);
      result.name_space = std::exchange(result.text, lexer_.value());
      lexer_.next();
    }
    if (lexer_.token() != Token::open) return wanted(Token::open);
    lexer_.next();
    if (lexer_.token() != Token::close) {
      while (true) {
        BOOTSEAL_ARM_TRY(ExpressionTree argument, expression(depth + 1));
        result.arguments.push_back(std::move(argument));
        if (lexer_.token() != Token::comma) break;
        lexer_.next();
      }
    }
    if (lexer_.token() != Token::close) return wanted(Token::close);
    lexer_.next();
    return accessors(std::make_shared<const Expression>(std::move(result)), depth);
  }

  // .member and [index], as often as they come; each adds a level to the tree.
  model::ArmResult<ExpressionTree> accessors(ExpressionTree tree, std::size_t depth) {
    while (lexer_.token() == Token::dot || lexer_.token() == Token::open_bracket) {
      if (++depth > kMaxExpressionDepth)
        return problem(fmt::format("it is nested deeper than {} levels", kMaxExpressionDepth));
      Expression result;
      result.target = std::move(tree);
      const bool member = lexer_.token() == Token::dot;
      lexer_.next();
      if (member) {
        if (lexer_.token() != Token::name) return wanted(Token::name);
        result.kind = Expression::Kind::member;
        result.text = lexer_.value();
      } else {
        result.kind = Expression::Kind::index;
        BOOTSEAL_ARM_TRY(ExpressionTree index, expression(depth + 1));
        result.arguments.push_back(std::move(index));
        if (lexer_.token() != Token::close_bracket) return wanted(Token::close_bracket);
      }
      lexer_.next();
      tree = std::make_shared<const Expression>(std::move(result));
    }
    return tree;
  }

  std::string_view text_;
  Lexer lexer_;
};

void print(const Expression& expression, std::string& out) {
  switch (expression.kind) {
    case Expression::Kind::text:
      out += '\'';
      for (const char c : expression.text) out.append(c == '\'' ? 2 : 1, c);
      out += '\'';
      return;
    case Expression::Kind::number:
      out += std::to_string(expression.number);
      return;
    case Expression::Kind::call:
      if (!expression.name_space.empty()) out += expression.name_space + ".";
      out += expression.text + "(";
      for (std::size_t i = 0; i < expression.arguments.size(); ++i) {
        if (i != 0) out += ", ";
        print(*expression.arguments[i], out);
      }
      out += ')';
      return;
    case Expression::Kind::member:
      print(*expression.target, out);
      out += "." + expression.text;
      return;
    case Expression::Kind::index:
      print(*expression.target, out);
      out += '[';
      print(*expression.arguments.front(), out);
      out += ']';
      return;
  }
}

}  // namespace

bool is_expression(std::string_view text) {
  return text.size() >= 2 && text.front() == '[' && text.back() == ']' && text[1] != '[';
}

std::string_view unescape_text(std::string_view text) {
  const bool escaped = text.size() >= 3 && text.starts_with("[[") && text.back() == ']';
  return escaped ? text.substr(1) : text;
}

std::string escape_text(std::string_view text) {
  const bool special = text.size() >= 2 && text.front() == '[' && text.back() == ']';
  return special ? "[" + std::string(text) : std::string(text);
}

model::ArmResult<ExpressionTree> parse_expression(std::string_view text) {
  if (text.size() > kMaxExpressionBytes) {
    return model::refuse(
        400, "InvalidTemplate",
        fmt::format("Language expression length limit exceeded. Limit: '{}' and actual: '{}'.",
                    kMaxExpressionBytes, text.size()));
  }
  if (!is_expression(text)) {
    return model::refuse(
        400, "InvalidTemplate",
        fmt::format("'{}' is not a language expression: it must begin with '[' and end with ']'.", text));
  }
  return Parser(text.substr(1, text.size() - 2)).whole();
}

std::string print_expression(const Expression& expression) {
  std::string text = "[";
  print(expression, text);
  return text + "]";
}

bool is_call(const Expression& expression, std::string_view name) {
  return expression.kind == Expression::Kind::call && expression.name_space.empty() &&
         model::equal_ignoring_case(expression.text, name);
}

}  // namespace bootseal::templates
