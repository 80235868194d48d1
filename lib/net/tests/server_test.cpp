#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ServerTest : public ServedTest {};

TEST_F(ServerTest, AnswersJsonOverTheUnixSocket) {
  serve(hello_router());
  const auto answer = connect(unix_options())->call_json("GET", "/hello");
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(json::serialize(*answer), R"({"greeting":"hello"})");
}

TEST_F(ServerTest, AnswersJsonOverTls) {
  serve(hello_router());
  const auto answer = connect(tls_options())->call_json("GET", "/hello");
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(json::serialize(*answer), R"({"greeting":"hello"})");
}

}  // namespace
}  // namespace bootseal::net::testing
