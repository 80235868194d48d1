// Bytes of a client that means no good, from the socket to the answer: however they are cut into pieces, the
// same requests come out.
#include <fmt/format.h>

#include "bootseal/net/server.h"
#include "request_reader.h"
#include "response_writer.h"
#include "target.h"

namespace {

using namespace bootseal;
using namespace bootseal::net;

constexpr RequestLimits kLimits{.header_bytes = 2048, .body_bytes = 4096};

const Router& router() {
  static const Router instance = [] {
    Router made;
    const Handler handler = [](const Request& request) {
      return Response::json(200,
                            json::Object{{"path", request.path}, {"body", request.json_body().has_value()}});
    };
    made.on("GET", "/v1/vms/{id}", handler);
    made.on("PUT", "/subscriptions/{sub}/resourceGroups/{group}", handler);
    made.on("POST", "/{rest...}", handler);
    made.on_websocket("/v1/vms/{id}/console", nullptr, [](const Request&, std::unique_ptr<WebSocket>) {});
    return made;
  }();
  return instance;
}

// What the server makes of the bytes when they come in pieces of this size.
std::string transcript(std::string_view bytes, std::size_t piece) {
  RequestReader reader(kLimits);
  std::string text;
  std::size_t requests = 0;
  const auto handle = [&](RequestReader::State state) {
    for (;;) {
      switch (state) {
        case RequestReader::State::more:
          return true;
        case RequestReader::State::expects_continue:
          state = reader.go_on();
          continue;
        case RequestReader::State::refused:
          text += fmt::format("refused {}\n", reader.refusal().status);
          return false;
        case RequestReader::State::complete:
          break;
      }
      auto complete = reader.take();
      if (!complete) {
        text += fmt::format("refused {}\n", complete.error().status);
        return false;
      }
      Request& request = complete->request;
      BOOTSEAL_CHECK(request.path.starts_with('/') && request.path.find("//") == std::string::npos);
      BOOTSEAL_CHECK(request.path == "/" || !request.path.ends_with('/'));
      BOOTSEAL_CHECK(request.path.find('\0') == std::string::npos && is_utf8(request.path));
      BOOTSEAL_CHECK(request.body.size() <= kLimits.body_bytes);
      const Response response = router().handle(request);
      BOOTSEAL_CHECK(serialize_response(response, {.request_id = "id", .client_request_id = request.target})
                         .has_value());
      text += fmt::format("{} {} {} {} {}\n", request.method, request.target, to_hex(as_bytes(request.body)),
                          response.status, complete->keep_alive);
      if (complete->upgrade || !complete->keep_alive || ++requests == 32) return false;
      if (!reader.begun()) return true;
      state = reader.next();
    }
  };
  while (!bytes.empty()) {
    const auto room = reader.room();
    const std::size_t size = std::min({piece, bytes.size(), room.size()});
    std::memcpy(room.data(), bytes.data(), size);
    bytes.remove_prefix(size);
    reader.received(size);
    if (!handle(reader.next())) break;
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 16384) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static_cast<void>(error_from_response(500, bytes));
  const std::string whole = transcript(bytes, 16384);
  const std::string in_pieces = transcript(bytes, 1 + size % 13);
  // Where several things are wrong at once, the pieces decide which of them is seen first; what was
  // understood before it is the same.
  const auto understood = [](const std::string& text) { return text.substr(0, text.find("refused")); };
  const std::string first = understood(whole);
  const std::string second = understood(in_pieces);
  BOOTSEAL_CHECK(first.starts_with(second) || second.starts_with(first));
  return 0;
}
