#include "bootseal/template/expression.h"

#include <random>

#include "support.h"

namespace bootseal::templates {
namespace {

std::string error_of(std::string_view text) {
  const auto tree = parse_expression(text);
  return tree ? "parsed" : tree.error().message;
}

TEST(Expression, IsTextBetweenBracketsUnlessTheFirstIsDoubled) {
  EXPECT_TRUE(is_expression("[parameters('a')]"));
  EXPECT_FALSE(is_expression("[[parameters('a')]"));
  EXPECT_FALSE(is_expression("[a] and [b] more"));
  EXPECT_FALSE(is_expression("plain"));
  EXPECT_EQ(unescape_text("[[x]"), "[x]");
  EXPECT_EQ(unescape_text("[[x] y"), "[[x] y");
  for (const std::string_view text : {"", "[", "]", "[]", "[x]", "[[x]", "[[[", "plain", "[a] b"}) {
    EXPECT_FALSE(is_expression(escape_text(text))) << text;
    EXPECT_EQ(unescape_text(escape_text(text)), text);
  }
}

TEST(Expression, PrintsInCanonicalSpacing) {
  for (const auto& [given, printed] : std::vector<std::pair<std::string, std::string>>{
           {"[ concat( 'it''s' ,parameters( 'a' ) , -7 ) ]", "[concat('it''s', parameters('a'), -7)]"},
           {"[reference(resourceId('A/b','c')).outputs['x y'] [ 0 ].Value]",
            "[reference(resourceId('A/b', 'c')).outputs['x y'][0].Value]"},
           {"[contoso.unique('a')]", "[contoso.unique('a')]"},
           {"['text']", "['text']"},
           {"[12]", "[12]"}}) {
    const auto tree = parse_expression(given);
    ASSERT_TRUE(tree) << given << ": " << tree.error().message;
    EXPECT_EQ(print_expression(**tree), printed);
  }
}

TEST(Expression, SaysWhichTokenWasExpected) {
  EXPECT_EQ(error_of("[concat('a'"),
            "'[concat('a'' is not a language expression: it must begin with '[' and end with ']'.");
  EXPECT_EQ(error_of("[concat('a']"),
            "Unable to parse language expression 'concat('a'': expected token 'RightParenthesis' and actual "
            "'EndOfData' at "
            "position '11'.");
  EXPECT_EQ(error_of("[a]"),
            "Unable to parse language expression 'a': expected token 'LeftParenthesis' and actual "
            "'EndOfData' at position '2'.");
  EXPECT_EQ(parse_expression("[]").error().code, "InvalidTemplate");
}

TEST(Expression, RefusesWhatIsNoExpression) {
  for (const std::string_view text : {"[]", "[1.5]", "['a' 'b']", "[f(,)]", "[f(1,)]", "[f('a)]", "[f().]",
                                      "[f()[]]", "[f()['a']", "[99999999999999999999]", "[f(1)2]",
                                      "[a.b.c()]", "[f(x)]", "[1a]", "[f(\"a\")]", "[{}]", "['a'.length]"})
    EXPECT_FALSE(parse_expression(text)) << text;
}

TEST(Expression, HoldsItsLimits) {
  const auto nested = [](std::size_t depth) {
    std::string text = "[";
    for (std::size_t i = 0; i < depth; ++i) text += "f(";
    return text + std::string(depth, ')') + "]";
  };
  EXPECT_TRUE(parse_expression(nested(kMaxExpressionDepth)));
  EXPECT_FALSE(parse_expression(nested(kMaxExpressionDepth + 1)));
  EXPECT_FALSE(parse_expression("['" + std::string(kMaxExpressionBytes, 'x') + "']"));
  std::string members = "[f()";
  for (std::size_t i = 0; i < kMaxExpressionDepth; ++i) members += ".a";
  EXPECT_FALSE(parse_expression(members + "]"));
}

// A random tree, as text that is already canonical.
std::string random_text(std::mt19937& random, int depth) {
  const auto pick = [&](int count) { return static_cast<int>(random() % static_cast<unsigned>(count)); };
  if (depth == 0 || pick(4) == 0)
    return pick(2) == 0 ? std::to_string(pick(1000) - 500) : "'it''s [" + std::to_string(pick(9)) + "]'";
  std::string text = pick(5) == 0 ? "ns.f(" : "f(";
  const int count = pick(3);
  for (int i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + random_text(random, depth - 1);
  text += ")";
  if (pick(3) == 0) text += ".member";
  if (pick(3) == 0) text += "[" + random_text(random, depth - 1) + "]";
  return text;
}

TEST(Expression, PrintingAndParsingAreInverse) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = "[" + random_text(random, 6) + "]";
    const auto tree = parse_expression(text);
    ASSERT_TRUE(tree) << text << ": " << tree.error().message;
    EXPECT_EQ(print_expression(**tree), text);
  }
}

}  // namespace
}  // namespace bootseal::templates
