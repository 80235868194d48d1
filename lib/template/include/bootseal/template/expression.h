// The ARM template expression language: text to a tree and back.
//
//   "[concat(parameters('name'), '-', copyIndex(1))]"
//
// Grammar (learn.microsoft.com, "Syntax and expressions in ARM templates"): a string of a template whose
// first character is '[' and whose last is ']' is an expression, unless it begins with "[[", which stands for
// a text that begins with '['. In an expression: 'text' (two quotes stand for one), whole numbers, calls
// name(…) and namespace.name(…), and .member and [index] after a call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/model/arm_error.h"

namespace bootseal::templates {

inline constexpr std::size_t kMaxExpressionBytes = 24'576;  // Azure's limit
inline constexpr std::size_t kMaxExpressionDepth = 64;

struct Expression;
using ExpressionTree = std::shared_ptr<const Expression>;

struct Expression {
  enum class Kind : std::uint8_t { text, number, call, member, index };
  Kind kind = Kind::text;
  std::string text;                       // of a text; the name of a call or a member
  std::string name_space;                 // of a call of a user's function; empty otherwise
  std::int64_t number = 0;                // of a number
  ExpressionTree target;                  // what a member or an index is taken of
  std::vector<ExpressionTree> arguments;  // of a call; one for an index
};

// True for a string that stands for an expression.
bool is_expression(std::string_view text);
// The text that a string which is no expression stands for: one '[' less where it begins with "[[" and ends
// with ']'.
std::string_view unescape_text(std::string_view text);
// The reverse: a string that stands for exactly this text.
std::string escape_text(std::string_view text);

// Parses the string of a template, brackets included. 400 InvalidTemplate with Azure's wording ("Unable to
// parse language expression …"), also beyond the limits above.
model::ArmResult<ExpressionTree> parse_expression(std::string_view text);
// The string of a template that parses to this tree, in canonical spacing.
std::string print_expression(const Expression& expression);
// True for a call of this function without a namespace, names compared without regard to case.
bool is_call(const Expression& expression, std::string_view name);

}  // namespace bootseal::templates
