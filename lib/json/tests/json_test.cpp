#include "bootseal/json/json.h"

#include <gtest/gtest.h>

namespace bootseal::json {
namespace {

TEST(Parse, RefusesWhatIsNotOneValue) {
  for (const std::string_view text : {"", "{", "{} {}", "{\"a\":}", "nul", "[1,]", "\"\xff\""}) {
    EXPECT_EQ(parse(text).error().code, ErrorCode::invalid_argument) << text;
  }
}

TEST(Parse, RefusesNumbersBeyondADouble) {
  EXPECT_EQ(parse("[1e999]").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(parse("{\"a\":{\"b\":-1e999}}").error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(parse("1e308"));
}

TEST(Parse, HoldsItsLimits) {
  EXPECT_EQ(parse(std::string(40, '[') + std::string(40, ']')).error().code, ErrorCode::exhausted);
  EXPECT_EQ(parse("[1,2,3]", {.bytes = 3, .depth = 4}).error().code, ErrorCode::exhausted);
  EXPECT_TRUE(parse(std::string(30, '[') + std::string(30, ']')));
}

TEST(Serialize, PrettyTextParsesToTheSameValue) {
  const Value value = *parse(R"({"a":[1,{"b":null}],"c":"d\n","e":{},"f":[]})");
  EXPECT_EQ(serialize_pretty(value),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"c\": \"d\\n\",\n  \"e\": "
            "{},\n  \"f\": []\n}\n");
  EXPECT_EQ(*parse(serialize_pretty(value)), value);
}

TEST(Reader, ReadsTypedFields) {
  const Value value = *parse(
      R"({"s":"x","u":7,"i":-7,"b":true,"o":{"p":[{"q":1},{"q":2}]},"l":["a","b"],"d":"AQI=","n":null})");
  Reader reader = *Reader::object(value, "the thing");
  EXPECT_EQ(*reader.string("s"), "x");
  EXPECT_EQ(*reader.unsigned_integer("u"), 7U);
  EXPECT_EQ(*reader.integer("i"), -7);
  EXPECT_TRUE(*reader.boolean("b"));
  EXPECT_EQ(*(*reader.object("o")->objects("p"))[1].unsigned_integer("q"), 2U);
  EXPECT_EQ(reader.strings("l")->size(), 2U);
  EXPECT_EQ(to_hex(*reader.base64("d")), "0102");
  EXPECT_EQ(*reader.string_or("n", "fallback"), "fallback");
  EXPECT_TRUE(reader.no_other_fields());
}

TEST(Reader, SaysPathWantedAndFound) {
  const Value value = *parse(R"({"o":{"list":[{"count":"many"}]},"extra":1})");
  Reader reader = *Reader::object(value, "the thing");
  auto list = reader.object("o")->objects("list");
  EXPECT_EQ((*list)[0].unsigned_integer("count").error().message,
            "the thing.o.list[0].count: wanted a whole number of at least 0, there is a string");
  EXPECT_EQ(reader.string("absent").error().message,
            "the thing.absent: wanted a string, the field is missing");
  EXPECT_EQ(reader.no_other_fields().error().message, "the thing.extra: this field is not known here");
  EXPECT_EQ(Reader::object(*parse("3"), "the thing").error().message,
            "the thing: wanted an object, there is an integer");
}

}  // namespace
}  // namespace bootseal::json
