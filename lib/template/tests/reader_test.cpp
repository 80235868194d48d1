#include "bootseal/template/tolerant_json.h"
#include "support.h"

namespace bootseal::templates {
namespace {

std::string message_of(std::string_view text) {
  const auto value = read_tolerant_json(text);
  return value ? "parsed" : value.error().message;
}

TEST(TolerantReader, ReadsWhatAzPastesIntoItsBody) {
  const auto body = read_tolerant_json(
      "{\"properties\": {\"mode\": \"Incremental\", template:\xef\xbb\xbf{\r\n// a comment \"with "
      "quotes\"\r\n"
      "\"$schema\":\"https://x#\", /* another,\n } */ "
      "\"a\":\"first\r\nsecond\tthird\",\n\"list\":[1,2.5,-3e2,true,null,],}\n}}\n");
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_EQ(*body, parse_json(R"({"properties":{"mode":"Incremental","template":{"$schema":"https://x#",
    "a":"first\r\nsecond\tthird","list":[1,2.5,-300.0,true,null]}}})"));
}

TEST(TolerantReader, ReadsStrictJsonAsTheStrictReaderDoes) {
  for (const std::string_view text :
       {R"({"a":"\u00e9\n\"\\","b":[[],{}],"c":{"d":-0.5},"e":18446744073709551615,"a":2})", R"("just text")",
        "17", "[true,false,null]", R"({"":{"x y":"//no comment /* either */"}})"}) {
    const auto value = read_tolerant_json(text);
    ASSERT_TRUE(value) << text;
    EXPECT_EQ(*value, parse_json(text)) << text;
  }
}

TEST(TolerantReader, NamesLineAndColumnOfWhatIsWrong) {
  EXPECT_EQ(message_of("{\"a\":1,\n  b 2}"), "wanted ':' after the member name 'b' at line 2, column 5");
  EXPECT_EQ(message_of("{\"a\":\n\"never"), "the string begun here never ends, at line 2, column 1");
  EXPECT_EQ(message_of("{} {}"), "wanted the end of the text at line 1, column 4");
  EXPECT_EQ(message_of("{\"a\":1 /* x"), "the comment begun here never ends, at line 1, column 8");
  EXPECT_EQ(message_of("[1,\n tru]"), "wanted a value at line 2, column 2");
  EXPECT_EQ(message_of(""), "wanted a value, the text ends at line 1, column 1");
  EXPECT_EQ(message_of("[\"\xff\"]"),
            "the string begun here holds an escape or a byte that JSON does not know, at line 1, column 2");
}

TEST(TolerantReader, RefusesWhatEvenAzureRefuses) {
  for (const std::string_view text :
       {"{a}", "{,}", "[,1]", "{\"a\":01}", "{a:b}", "[1 2]", "{\"a\":\"\\x\"}", "nulll", "]", "{1:2}"})
    EXPECT_FALSE(read_tolerant_json(text)) << text;
}

TEST(TolerantReader, HoldsItsLimits) {
  EXPECT_EQ(read_tolerant_json(std::string(65, '[') + std::string(65, ']')).error().code,
            ErrorCode::exhausted);
  EXPECT_TRUE(read_tolerant_json(std::string(64, '[') + std::string(64, ']')));
  EXPECT_EQ(read_tolerant_json("[1,2,3]", {.bytes = 6}).error().code, ErrorCode::exhausted);
  EXPECT_EQ(read_tolerant_json("[1,2,3]", {.values = 3}).error().code, ErrorCode::exhausted);
  EXPECT_TRUE(read_tolerant_json("[1,2,3]", {.values = 4}));
}

TEST(Locate, CountsLinesFromWhereTheTemplateBegins) {
  const std::string_view text =
      "{\"properties\": {\"parameters\": {},\n template:{\n  \"resources\": [\n    {\"type\": \"A/b\"},\n    "
      "{\"TYPE\": 7}\n]}}}";
  const auto place = locate(text, "resources[1].type", "properties.template");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->line, 4U);
  EXPECT_EQ(place->column, 14U);
  EXPECT_EQ(locate(text, "properties.template")->line, 2U);
  EXPECT_EQ(locate(text, "", "properties.template")->column, 1U);
  EXPECT_FALSE(locate(text, "resources[2]", "properties.template"));
  EXPECT_FALSE(locate(text, "nothing.here"));
}

}  // namespace
}  // namespace bootseal::templates
