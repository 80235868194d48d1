// One HTTP/1.1 request out of a stream of bytes: a pure state machine, fed by the session and by the fuzzer.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <string_view>

#include "bootseal/net/http.h"

namespace bootseal::net {

struct RequestLimits {
  std::size_t header_bytes;
  std::size_t body_bytes;
};

class RequestReader {
 public:
  using Message = boost::beast::http::request<boost::beast::http::string_body>;
  enum class State {
    more,              // feed it more bytes
    expects_continue,  // answer `100 Continue`, then go_on()
    complete,          // take it
    refused,           // answer refusal() and close: where the next request begins is not known
  };

  explicit RequestReader(RequestLimits limits);

  // Room for the next bytes from the peer, and how many of them came. next() says what they made.
  boost::asio::mutable_buffer room();
  void received(std::size_t count) { buffer_.commit(count); }
  State next();
  State go_on();

  // Whether a byte of the request in hand has come.
  [[nodiscard]] bool begun() const { return parser_->got_some() || buffer_.size() > 0; }
  [[nodiscard]] bool header_done() const { return parser_->is_header_done(); }
  [[nodiscard]] const Response& refusal() const { return *refusal_; }
  [[nodiscard]] bool is_head() const { return parser_->get().method() == boost::beast::http::verb::head; }

  struct Complete {
    Request request;  // without peer, id and stop
    bool keep_alive = false;
    // For a request that asks for a WebSocket: the message that the handshake answers.
    std::optional<Message> upgrade;
  };
  // After `complete`; then the reader is ready for the request after this one, whose bytes may be here
  // already. For a target that is no good, the answer to send before closing.
  tl::expected<Complete, Response> take();

 private:
  State refuse(int status, ErrorCode code, std::string message);
  State refuse_parse_error(boost::beast::error_code error);
  State after_header();
  void reset_parser();

  RequestLimits limits_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  std::optional<Response> refusal_;
};

}  // namespace bootseal::net
