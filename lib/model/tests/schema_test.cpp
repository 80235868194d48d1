#include "bootseal/model/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bootseal::model {
namespace {

using ::testing::HasSubstr;

SchemaRef shape() {
  const SchemaRef inner =
      object_schema("Inner", {{"count", integer_schema(), true}, {"on", boolean_schema()}});
  return object_schema("Outer", {{"kind", enum_schema({"Linux", "Windows"})},
                                 {"short", string_schema(4)},
                                 {"inner", inner},
                                 {"list", array_schema(inner, 2)},
                                 {"tags", map_schema(string_schema())},
                                 {"made", string_schema(), false, true}});
}

json::Value parse(std::string_view text) {
  return *json::parse(text);
}

std::string conformed(std::string_view text) {
  const auto result = conform(*shape(), parse(text));
  return result ? json::serialize(*result) : result.error().code + ": " + result.error().message;
}

TEST(Conform, GivesNamesAndEnumeratedTextsTheirCanonicalCase) {
  EXPECT_EQ(conformed(R"({"KIND":"linux","Inner":{"COUNT":1}})"), R"({"kind":"Linux","inner":{"count":1}})");
}

TEST(Conform, LeavesNullAndReadOnlyMembersOut) {
  EXPECT_EQ(conformed(R"({"short":null,"made":"2026","tags":{"a":null,"b":"c"}})"), R"({"tags":{"b":"c"}})");
}

TEST(Conform, NamesAnUnknownMemberWithItsTypeAndPath) {
  EXPECT_EQ(conformed(R"({"inner":{"count":1,"colour":"red"}})"),
            "BadRequest: Could not find member 'colour' on object of type 'Inner'. Path 'inner.colour'.");
  EXPECT_EQ(
      conformed(R"({"colour":"red"})"),
      "InvalidRequestContent: Could not find member 'colour' on object of type 'Outer'. Path 'colour'.");
}

TEST(Conform, RefusesWrongTypesAndValuesWithTheirPath) {
  EXPECT_THAT(conformed(R"({"inner":{"count":"1"}})"), HasSubstr("'inner.count'"));
  EXPECT_THAT(conformed(R"({"inner":{"count":1.5}})"), HasSubstr("whole number"));
  EXPECT_THAT(conformed(R"({"inner":{"count":1,"on":"yes"}})"), HasSubstr("true or false"));
  EXPECT_THAT(conformed(R"({"kind":"Plan9"})"), HasSubstr("Allowed values are 'Linux,Windows'"));
  EXPECT_THAT(conformed(R"({"short":"abcde"})"), HasSubstr("at most 4"));
  EXPECT_THAT(conformed(R"({"list":[{"count":1},{"count":1},{"count":1}]})"), HasSubstr("at most 2"));
  EXPECT_THAT(conformed(R"({"list":[{"count":1},{}]})"), HasSubstr("'list[1].count'"));
  EXPECT_THAT(conformed(R"({"tags":{"a":1}})"), HasSubstr("'tags.a'"));
  EXPECT_THAT(conformed(R"([])"), HasSubstr("InvalidRequestContent"));
}

TEST(Conform, AMessageNeverHoldsControlCharacters) {
  const std::string message = conformed("{\"a\\u001b[31m\":1}");
  EXPECT_THAT(message, ::testing::Not(HasSubstr("\x1b")));
}

TEST(Conform, IsIdempotent) {
  const std::string once = conformed(R"({"KIND":"WINDOWS","list":[{"count":3}],"tags":{"x":"y"}})");
  EXPECT_EQ(conformed(once), once);
}

}  // namespace
}  // namespace bootseal::model
