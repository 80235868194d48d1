#include "bootseal/net/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/net/server.h"
#include "response_writer.h"
#include "target.h"

namespace bootseal::net {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

std::string path_of(std::string_view target) {
  const auto parsed = parse_target(target);
  return parsed ? parsed->path : "error: " + parsed.error().message;
}

TEST(Target, PathsAreDecodedAndFolded) {
  EXPECT_EQ(path_of("/"), "/");
  EXPECT_EQ(path_of("//a///b//"), "/a/b");
  EXPECT_EQ(path_of("/a%20b/%C3%A4+c"), "/a b/ä+c");
  EXPECT_EQ(path_of("/a%2Fb"), "/a/b");
  EXPECT_EQ(path_of("/a#fragment"), "/a");
  EXPECT_EQ(path_of("https://host:8443/a/b?c=d"), "/a/b");
  EXPECT_EQ(path_of("HTTP://host"), "/");
  EXPECT_EQ(path_of("?a=b"), "/");
}

TEST(Target, QueriesAreDecodedAndKeepTheirOrder) {
  const auto parsed = parse_target("/x?api-version=2023-07-01&$filter=name%20eq%20'a%26b'&a+b=c+d&flag&&e==");
  ASSERT_TRUE(parsed);
  EXPECT_THAT(parsed->query,
              ElementsAre(Pair("$filter", "name eq 'a&b'"), Pair("a b", "c d"),
                          Pair("api-version", "2023-07-01"), Pair("e", "="), Pair("flag", "")));
}

TEST(Target, RefusesWhatNobodySendsWhoMeansWell) {
  for (const std::string_view bad :
       {"", "a", "*", "http://", "/%", "/%4", "/%zz", "/a%00b", "/a%0d%0ab", "/%ff", "/..", "/a/../b",
        "/%2e%2e/b", "/./a", "/a?b=%zz", "/a?%00=b", "/a?b=%c3"}) {
    const auto parsed = parse_target(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument);
  }
}

Request request_of(std::string method, std::string_view target) {
  const auto parsed = parse_target(target);
  BOOTSEAL_CHECK(parsed.has_value());
  Request request;
  request.method = std::move(method);
  request.path = parsed->path;
  request.query = parsed->query;
  return request;
}

// The text that the route answers, or the status.
std::string route(const Router& router, std::string method, std::string_view target) {
  Request request = request_of(std::move(method), target);
  const Response response = router.handle(request);
  return response.status == 200 ? response.body : std::to_string(response.status);
}

Handler saying(std::string text) {
  return [text](const Request& request) {
    std::string said = text;
    for (const auto& [name, value] : request.parameters) said += " " + name + "=" + value;
    return Response{.status = 200, .headers = {}, .body = said};
  };
}

TEST(Router, FindsRoutesWithoutRegardToTheCaseOfFixedSegments) {
  Router router;
  router.on("GET", "/subscriptions/{sub}/resourceGroups/{group}", saying("group"));
  EXPECT_EQ(route(router, "GET", "/subscriptions/S/resourceGroups/Web"), "group group=Web sub=S");
  EXPECT_EQ(route(router, "GET", "//SUBSCRIPTIONS/s/resourcegroups/web/"), "group group=web sub=s");
  EXPECT_EQ(route(router, "GET", "/subscriptions/S/resourceGroups"), "404");
  EXPECT_EQ(route(router, "GET", "/subscriptions/S/resourceGroups/Web/x"), "404");
}

TEST(Router, PrefersFixedSegmentsToParametersAndParametersToTheRest) {
  Router router;
  router.on("GET", "/{rest...}", saying("rest"));
  router.on("GET", "/vms/{id}", saying("one"));
  router.on("GET", "/vms/list", saying("list"));
  router.on("GET", "/{kind}/list", saying("kind"));
  EXPECT_EQ(route(router, "GET", "/vms/list"), "list");
  EXPECT_EQ(route(router, "GET", "/vms/7"), "one id=7");
  EXPECT_EQ(route(router, "GET", "/disks/list"), "kind kind=disks");
  EXPECT_EQ(route(router, "GET", "/portal/assets/a.js"), "rest rest=portal/assets/a.js");
  EXPECT_EQ(route(router, "GET", "/"), "404");
}

TEST(Router, AMethodThatOnlyALessSpecificTemplateHasIsServedByIt) {
  Router router;
  router.on("PUT", "/vms/list", saying("put"));
  router.on("GET", "/vms/{id}", saying("one"));
  EXPECT_EQ(route(router, "GET", "/vms/list"), "one id=list");
}

TEST(Router, SaysWhichMethodsAPathHas) {
  Router router;
  router.on("GET", "/vms/{id}", saying("one"));
  router.on("PUT", "/vms/{id}", saying("put"));
  Request request = request_of("DELETE", "/vms/7");
  const Response response = router.handle(request);
  EXPECT_EQ(response.status, 405);
  EXPECT_THAT(response.headers, ::testing::Contains(Pair("Allow", "GET, HEAD, PUT")));
  EXPECT_THAT(response.body, HasSubstr("DELETE is not possible on /vms/7"));
}

TEST(Router, ServesHeadByGetUnlessItHasItsOwnHandler) {
  Router router;
  router.on("GET", "/a", saying("get"));
  router.on("GET", "/b", saying("get"));
  router.on("HEAD", "/b", saying("head"));
  EXPECT_EQ(route(router, "HEAD", "/a"), "get");
  EXPECT_EQ(route(router, "HEAD", "/b"), "head");
}

TEST(Router, FiltersRunInTheirOrderBeforeEverythingElse) {
  Router router;
  std::vector<std::string> seen;
  router.before([&](Request& request) -> std::optional<Response> {
    seen.push_back("first " + request.path);
    return std::nullopt;
  });
  router.before([&](Request& request) -> std::optional<Response> {
    seen.push_back("second");
    if (request.path == "/forbidden") return Response::empty(403);
    return std::nullopt;
  });
  router.on("GET", "/forbidden", saying("never"));
  EXPECT_EQ(route(router, "GET", "/forbidden"), "403");
  EXPECT_EQ(route(router, "GET", "/unknown"), "404");
  EXPECT_THAT(seen, ElementsAre("first /forbidden", "second", "first /unknown", "second"));
}

TEST(Router, AnOrdinaryRequestToAWebSocketIsToldSo) {
  Router router;
  router.on_websocket("/console", nullptr, [](const Request&, std::unique_ptr<WebSocket>) {});
  EXPECT_EQ(route(router, "GET", "/console"), "426");
}

TEST(Request, FindsHeadersAndQueryValuesWithoutRegardToCase) {
  Request request = request_of("GET", "/?Api-Version=1&api-version=2");
  request.headers = {{"X-Name", "a"}, {"x-name", "b"}};
  EXPECT_EQ(request.header("x-NAME"), "a");
  EXPECT_EQ(request.header("x-other"), std::nullopt);
  EXPECT_EQ(request.query_value("API-version"), "1");
  EXPECT_EQ(request.query_value("other"), std::nullopt);
}

TEST(Request, SaysWhatIsWrongWithABodyThatIsNoJson) {
  Request request = request_of("PUT", "/vms/7");
  EXPECT_THAT(request.json_body().error().message, HasSubstr("PUT /vms/7 needs a JSON body"));
  request.body = "{";
  EXPECT_EQ(request.json_body().error().code, ErrorCode::invalid_argument);
  request.body = R"({"a":1})";
  EXPECT_EQ(request.json_body()->at("a").as_int64(), 1);
}

TEST(Response, EveryErrorCodeComesBackAsItself) {
  for (std::size_t index = 0; index < kErrorCodeCount; ++index) {
    const Error error{static_cast<ErrorCode>(index), "what \"happened\"", nullptr};
    const Response response = Response::from_error(error);
    EXPECT_EQ(response.status, error_info(error.code).http_status);
    const Error again = error_from_response(response.status, response.body);
    EXPECT_EQ(again.code, error.code);
    EXPECT_EQ(again.message, error.message);
  }
}

TEST(Response, ErrorsOfOtherServersKeepTheirNameAndTakeTheKindOfTheirStatus) {
  const Error error =
      error_from_response(404, R"({"error":{"code":"ResourceGroupNotFound","message":"no group"}})");
  EXPECT_EQ(error.code, ErrorCode::not_found);
  EXPECT_EQ(error.message, "ResourceGroupNotFound: no group");
}

TEST(Response, AnAnswerWithoutAnErrorIsUnavailable) {
  for (const std::string_view body :
       {"", "<html>", "[]", "{}", R"({"error":"x"})", R"({"error":{"code":1,"message":"x"}})"}) {
    const Error error = error_from_response(502, body);
    EXPECT_EQ(error.code, ErrorCode::unavailable) << body;
    EXPECT_THAT(error.message, HasSubstr("502"));
  }
}

TEST(ResponseWriter, SaysLengthConnectionAndIds) {
  const auto bytes = serialize_response(
      Response::json(201, json::Object{{"a", 1}}),
      {.keep_alive = true, .head_only = false, .request_id = "the-id", .client_request_id = "theirs"});
  ASSERT_TRUE(bytes);
  EXPECT_THAT(*bytes, StartsWith("HTTP/1.1 201 Created\r\n"));
  for (const char* line : {"Content-Type: application/json; charset=utf-8\r\n", "Content-Length: 7\r\n",
                           "Connection: keep-alive\r\n", "x-ms-request-id: the-id\r\n",
                           "x-ms-correlation-request-id: the-id\r\n", "x-ms-client-request-id: theirs\r\n",
                           "\r\n\r\n{\"a\":1}"}) {
    EXPECT_THAT(*bytes, HasSubstr(line));
  }
  EXPECT_THAT(*bytes, ::testing::ContainsRegex(
                          "Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n"));
}

TEST(ResponseWriter, NoContentHasNoLengthAndHeadHasNoBody) {
  EXPECT_THAT(*serialize_response(Response::empty(204), {}), Not(HasSubstr("Content-Length")));
  const auto head = serialize_response({.status = 200, .headers = {}, .body = "12345"}, {.head_only = true});
  EXPECT_THAT(*head, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(*head, Not(HasSubstr("12345")));
}

TEST(ResponseWriter, RefusesHeadersThatWouldBecomeOthers) {
  for (const auto& [name, value] : HeaderList{{"Location", "/a\r\nSet-Cookie: b"},
                                              {"Bad Name", "a"},
                                              {"", "a"},
                                              {"X", std::string("a\0b", 3)}}) {
    const auto bytes = serialize_response({.status = 200, .headers = {{name, value}}, .body = {}}, {});
    ASSERT_FALSE(bytes) << name;
    EXPECT_EQ(bytes.error().code, ErrorCode::internal);
  }
  // What the client sent is dropped, not refused.
  const auto bytes = serialize_response(Response::empty(200), {.client_request_id = "a\r\nb"});
  EXPECT_THAT(*bytes, Not(HasSubstr("client-request-id")));
}

}  // namespace
}  // namespace bootseal::net
