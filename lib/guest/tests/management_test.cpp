#include "management.h"

#include <gmock/gmock.h>

namespace bootseal::guest {
namespace {

TEST(LineBuffer, CutsLinesOutOfPieces) {
  LineBuffer lines;
  ASSERT_TRUE(lines.append(as_bytes("one\ntw")));
  EXPECT_EQ(lines.next(), "one");
  EXPECT_EQ(lines.next(), std::nullopt);
  ASSERT_TRUE(lines.append(as_bytes("o\n\nthree")));
  EXPECT_EQ(lines.next(), "two");
  EXPECT_EQ(lines.next(), "");
  EXPECT_EQ(lines.next(), std::nullopt);
  ASSERT_TRUE(lines.append(as_bytes("\n")));
  EXPECT_EQ(lines.next(), "three");
}

TEST(LineBuffer, RefusesALineOfMoreThanOneMebibyte) {
  LineBuffer lines;
  const std::string piece(kMaxManagementLine / 2, 'x');
  ASSERT_TRUE(lines.append(as_bytes(piece)));
  EXPECT_EQ(lines.next(), std::nullopt);
  ASSERT_TRUE(lines.append(as_bytes(piece)));
  EXPECT_EQ(lines.next(), std::nullopt);
  EXPECT_EQ(lines.append(as_bytes("x")).error().code, ErrorCode::exhausted);
}

TEST(ManagementRequest, IsReadFromItsLine) {
  const auto request = parse_management_request(R"({"id":3,"method":"certificates","params":{"ak":"AAA="}})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->id, 3U);
  EXPECT_EQ(request->method, "certificates");
  EXPECT_EQ(json::serialize(request->parameters), R"({"ak":"AAA="})");
  EXPECT_TRUE(parse_management_request(R"({"id":3,"method":"status"})")->parameters.is_null());
}

TEST(ManagementRequest, IsRefusedWithThePlaceOfTheMistake) {
  for (const std::string_view line :
       {"", "{", "[]", "7", R"({"method":"status"})", R"({"id":1})", R"({"id":"1","method":"status"})",
        R"({"id":-1,"method":"status"})", R"({"id":1,"method":"status","params":[]})",
        R"({"id":1,"method":"status","extra":1})", R"([[[[[[[[[[[[1]]]]]]]]]]]])"}) {
    EXPECT_FALSE(parse_management_request(line)) << line;
  }
  EXPECT_THAT(parse_management_request(R"({"id":true,"method":"status"})").error().message,
              testing::HasSubstr("id"));
}

TEST(ManagementAnswer, IsOneLine) {
  EXPECT_EQ(management_result(1, {{"text", "a\nb"}}), "{\"id\":1,\"result\":{\"text\":\"a\\nb\"}}\n");
  EXPECT_EQ(management_error(2, Error{ErrorCode::guest_state_stale, "old", nullptr}),
            "{\"id\":2,\"error\":{\"code\":\"GuestStateStale\",\"message\":\"old\"}}\n");
  EXPECT_EQ(management_event("generation", {{"generation", 4}}),
            "{\"event\":\"generation\",\"generation\":4}\n");
}

}  // namespace
}  // namespace bootseal::guest
