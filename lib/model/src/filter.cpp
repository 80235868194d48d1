#include "bootseal/model/filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "bootseal/base/clock.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::model {

struct Filter::Node {
  enum class Kind : std::uint8_t { comparison, tag, call, all, any, negation };
  Kind kind = Kind::comparison;
  std::string name;  // of the member, the tag or the function, in canonical case
  Operator comparison = Operator::equal;
  std::vector<std::string> arguments;  // the text compared with; of a tag: its value, if any
  std::vector<std::shared_ptr<const Node>> children;
};

namespace {

using Node = Filter::Node;
using NodeRef = std::shared_ptr<const Node>;
using Operator = Filter::Operator;

constexpr std::size_t kMaximumLength = 2048;
constexpr int kMaximumDepth = 16;
constexpr std::array kOperators = {
    std::pair{"eq", Operator::equal},   std::pair{"ne", Operator::not_equal},
    std::pair{"lt", Operator::less},    std::pair{"le", Operator::less_or_equal},
    std::pair{"gt", Operator::greater}, std::pair{"ge", Operator::greater_or_equal}};

std::string quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("''") : std::string(1, c);
  return result + "'";
}

struct Token {
  enum class Kind : std::uint8_t { word, text, open, close, comma, end };
  Kind kind = Kind::end;
  std::string value;
  std::size_t at = 0;
};

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == '/' || c == ':' || c == '$';
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  // nullopt for a character that nothing begins with, and for a text without an end.
  std::optional<Token> next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
    Token token{Token::Kind::end, {}, at_};
    if (at_ == text_.size()) return token;
    const char c = text_[at_];
    if (c == '\'') return quoted_text();
    if (c == '(' || c == ')' || c == ',') {
      token.kind = c == '(' ? Token::Kind::open : c == ')' ? Token::Kind::close : Token::Kind::comma;
      ++at_;
      return token;
    }
    if (!is_word_character(c)) return std::nullopt;
    token.kind = Token::Kind::word;
    while (at_ < text_.size() && is_word_character(text_[at_])) token.value += text_[at_++];
    return token;
  }
  [[nodiscard]] std::size_t at() const { return at_; }

 private:
  std::optional<Token> quoted_text() {
    Token token{Token::Kind::text, {}, at_};
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] != '\'') {
        token.value += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '\'') {
        token.value += text_[++at_];
      } else {
        ++at_;
        return token;
      }
    }
    return std::nullopt;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

class Parser {
 public:
  Parser(std::string_view text, const std::vector<std::string_view>& members,
         const std::vector<std::string_view>& functions)
      : text_(text), lexer_(text), members_(members), functions_(functions) {}

  ArmResult<NodeRef> parse() {
    BOOTSEAL_ARM_TRY_STATUS(advance());
    BOOTSEAL_ARM_TRY(NodeRef root, disjunction(0));
    if (token_.kind != Token::Kind::end) return problem("wanted `and`, `or` or the end");
    return root;
  }

 private:
  tl::unexpected<ArmError> problem(std::string_view why) const {
    return refuse(400, "InvalidFilterInQueryString",
                  fmt::format("Invalid $filter '{}' specified in the query string: {} at character {}.",
                              text_.substr(0, 256), why, token_.at + 1),
                  "$filter");
  }

  ArmStatus advance() {
    auto token = lexer_.next();
    if (!token) {
      token_.at = lexer_.at();
      return problem("wanted a name, a text in single quotes or a parenthesis");
    }
    token_ = *std::move(token);
    return {};
  }

  [[nodiscard]] bool is_word(std::string_view word) const {
    return token_.kind == Token::Kind::word && equal_ignoring_case(token_.value, word);
  }

  ArmResult<NodeRef> disjunction(int depth) {
    return series("or", Node::Kind::any, [&] { return conjunction(depth); });
  }
  ArmResult<NodeRef> conjunction(int depth) {
    BOOTSEAL_ARM_TRY(NodeRef node, series("and", Node::Kind::all, [&] { return term(depth); }));
    return node->kind == Node::Kind::all ? with_tag_value(*node) : node;
  }

  template <typename Part>
  ArmResult<NodeRef> series(std::string_view word, Node::Kind kind, const Part& part) {
    Node node{kind, {}, Operator::equal, {}, {}};
    BOOTSEAL_ARM_TRY(NodeRef first, part());
    node.children.push_back(std::move(first));
    while (is_word(word)) {
      BOOTSEAL_ARM_TRY_STATUS(advance());
      BOOTSEAL_ARM_TRY(NodeRef another, part());
      node.children.push_back(std::move(another));
    }
    if (node.children.size() == 1) return node.children.front();
    return std::make_shared<const Node>(std::move(node));
  }

  // "tagName eq 'a' and tagValue eq 'b'" is about one tag.
  static NodeRef with_tag_value(Node node) {
    const auto find = [&](std::string_view name) {
      return std::ranges::find_if(node.children, [&](const NodeRef& child) {
        return child->kind == Node::Kind::comparison && child->name == name &&
               child->comparison == Operator::equal;
      });
    };
    const auto name = find("tagName");
    const auto value = find("tagValue");
    if (name != node.children.end() && value != node.children.end()) {
      Node tag{Node::Kind::tag, (*name)->arguments.front(), Operator::equal, (*value)->arguments, {}};
      *name = std::make_shared<const Node>(std::move(tag));
      node.children.erase(value);
    }
    if (node.children.size() == 1) return node.children.front();
    return std::make_shared<const Node>(std::move(node));
  }

  ArmResult<NodeRef> term(int depth) {
    if (depth > kMaximumDepth) return problem("it is nested too deeply");
    if (token_.kind == Token::Kind::open) {
      BOOTSEAL_ARM_TRY_STATUS(advance());
      BOOTSEAL_ARM_TRY(NodeRef inner, disjunction(depth + 1));
      if (token_.kind != Token::Kind::close) return problem("wanted ')'");
      BOOTSEAL_ARM_TRY_STATUS(advance());
      return inner;
    }
    if (token_.kind != Token::Kind::word) return problem("wanted the name of a member");
    if (is_word("not")) {
      BOOTSEAL_ARM_TRY_STATUS(advance());
      BOOTSEAL_ARM_TRY(NodeRef inner, term(depth + 1));
      Node node{Node::Kind::negation, {}, Operator::equal, {}, {std::move(inner)}};
      return NodeRef(std::make_shared<const Node>(std::move(node)));
    }
    const Token name = token_;
    BOOTSEAL_ARM_TRY_STATUS(advance());
    return token_.kind == Token::Kind::open ? call(name) : comparison(name);
  }

  // "properties/principalId" is spelt so by some clients.
  static std::string canonical(const std::vector<std::string_view>& names, std::string_view wanted) {
    if (wanted.starts_with("properties/")) wanted.remove_prefix(wanted.find('/') + 1);
    for (const std::string_view name : names) {
      if (equal_ignoring_case(name, wanted)) return std::string(name);
    }
    return {};
  }

  ArmResult<NodeRef> comparison(const Token& member) {
    Node node;
    node.name = canonical(members_, member.value);
    const auto found = std::ranges::find_if(kOperators, [&](const auto& one) { return is_word(one.first); });
    if (found == kOperators.end()) return problem("wanted eq, ne, lt, le, gt or ge");
    if (node.name.empty()) {
      token_.at = member.at;
      return problem(fmt::format("'{}' cannot be compared here; these can: {}", member.value.substr(0, 64),
                                 joined(members_)));
    }
    node.comparison = found->second;
    BOOTSEAL_ARM_TRY_STATUS(advance());
    if (token_.kind != Token::Kind::text && token_.kind != Token::Kind::word)
      return problem("wanted a text in single quotes");
    // Times are written in more than one way, and compared as texts.
    const auto time = node.name.ends_with("Timestamp") || node.name.ends_with("Time")
                          ? parse_time(token_.value)
                          : Result<TimePoint>(fail(ErrorCode::invalid_argument, "not a time"));
    node.arguments.push_back(time ? format_time(*time) : token_.value);
    BOOTSEAL_ARM_TRY_STATUS(advance());
    return NodeRef(std::make_shared<const Node>(std::move(node)));
  }

  ArmResult<NodeRef> call(const Token& function) {
    Node node{Node::Kind::call, {}, Operator::equal, {}, {}};
    const bool substring = equal_ignoring_case(function.value, "substringof");
    node.name = substring ? "substringof" : canonical(functions_, function.value);
    if (node.name.empty()) {
      token_.at = function.at;
      return problem(fmt::format("the function '{}' is not known here", function.value.substr(0, 64)));
    }
    BOOTSEAL_ARM_TRY_STATUS(advance());
    while (token_.kind == Token::Kind::text || token_.kind == Token::Kind::word) {
      node.arguments.push_back(token_.value);
      BOOTSEAL_ARM_TRY_STATUS(advance());
      if (token_.kind != Token::Kind::comma) break;
      BOOTSEAL_ARM_TRY_STATUS(advance());
    }
    if (token_.kind != Token::Kind::close) return problem("wanted ')'");
    if (substring) {
      if (node.arguments.size() == 2) node.arguments[1] = canonical(members_, node.arguments[1]);
      if (node.arguments.size() != 2 || node.arguments[1].empty())
        return problem("wanted substringof('text', member)");
    }
    BOOTSEAL_ARM_TRY_STATUS(advance());
    return NodeRef(std::make_shared<const Node>(std::move(node)));
  }

  static std::string joined(const std::vector<std::string_view>& names) {
    std::string text;
    for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
    return text;
  }

  std::string_view text_;
  Lexer lexer_;
  const std::vector<std::string_view>& members_;
  const std::vector<std::string_view>& functions_;
  Token token_;
};

bool compare(Operator comparison, const std::string& a, const std::string& b) {
  switch (comparison) {
    case Operator::equal:
      return a == b;
    case Operator::not_equal:
      return a != b;
    case Operator::less:
      return a < b;
    case Operator::less_or_equal:
      return a <= b;
    case Operator::greater:
      return a > b;
    case Operator::greater_or_equal:
      return a >= b;
  }
  return false;
}

bool holds(const Node& node, const Filter::Subject& subject) {
  const auto child_holds = [&](const NodeRef& child) { return holds(*child, subject); };
  switch (node.kind) {
    case Node::Kind::all:
      return std::ranges::all_of(node.children, child_holds);
    case Node::Kind::any:
      return std::ranges::any_of(node.children, child_holds);
    case Node::Kind::negation:
      return !holds(*node.children.front(), subject);
    case Node::Kind::tag:
      return subject.has_tag(node.name, &node.arguments.front());
    case Node::Kind::call:
      if (node.name != "substringof") return subject.call(node.name, node.arguments);
      return to_lower(subject.member(node.arguments[1])).find(to_lower(node.arguments[0])) !=
             std::string::npos;
    case Node::Kind::comparison:
      break;
  }
  if (node.name == "tagName") {
    const bool has = subject.has_tag(node.arguments.front(), nullptr);
    return node.comparison == Operator::equal ? has : node.comparison == Operator::not_equal && !has;
  }
  return compare(node.comparison, to_lower(subject.member(node.name)), to_lower(node.arguments.front()));
}

std::string text_of(const Node& node) {
  std::string text;
  switch (node.kind) {
    case Node::Kind::all:
    case Node::Kind::any:
      for (const NodeRef& child : node.children) {
        if (!text.empty()) text += node.kind == Node::Kind::all ? " and " : " or ";
        text += text_of(*child);
      }
      return "(" + text + ")";
    case Node::Kind::negation:
      return "not (" + text_of(*node.children.front()) + ")";
    case Node::Kind::tag:
      return fmt::format("(tagName eq {} and tagValue eq {})", quoted(node.name),
                         quoted(node.arguments.front()));
    case Node::Kind::call:
      for (std::size_t i = 0; i < node.arguments.size(); ++i) {
        const bool member = node.name == "substringof" && i == 1;
        text += (i == 0 ? "" : ", ") + (member ? node.arguments[i] : quoted(node.arguments[i]));
      }
      return node.name + "(" + text + ")";
    case Node::Kind::comparison:
      break;
  }
  const auto found =
      std::ranges::find_if(kOperators, [&](const auto& one) { return one.second == node.comparison; });
  return fmt::format("{} {} {}", node.name, found->first, quoted(node.arguments.front()));
}

}  // namespace

bool Filter::Subject::has_tag(std::string_view /*name*/, const std::string* /*value*/) const {
  return false;
}
bool Filter::Subject::call(std::string_view /*function*/,
                           const std::vector<std::string>& /*arguments*/) const {
  return false;
}

ArmResult<Filter> Filter::parse(std::string_view text, const std::vector<std::string_view>& members,
                                const std::vector<std::string_view>& functions) {
  Filter filter;
  if (text.find_first_not_of(" \t") == std::string_view::npos) return filter;
  if (text.size() > kMaximumLength) {
    return refuse(
        400, "InvalidFilterInQueryString",
        fmt::format("The $filter has {} characters, at most {} are allowed.", text.size(), kMaximumLength),
        "$filter");
  }
  BOOTSEAL_ARM_TRY(filter.root_, Parser(text, members, functions).parse());
  return filter;
}

bool Filter::matches(const Subject& subject) const {
  return root_ == nullptr || holds(*root_, subject);
}

std::string Filter::required(std::string_view member, Operator comparison) const {
  if (root_ == nullptr) return {};
  const auto names_it = [&](const Node& node) {
    return node.kind == Node::Kind::comparison && node.comparison == comparison && node.name == member;
  };
  if (names_it(*root_)) return root_->arguments.front();
  if (root_->kind != Node::Kind::all) return {};
  for (const NodeRef& child : root_->children) {
    if (names_it(*child)) return child->arguments.front();
  }
  return {};
}

std::string Filter::to_string() const {
  return root_ == nullptr ? std::string() : text_of(*root_);
}

}  // namespace bootseal::model
