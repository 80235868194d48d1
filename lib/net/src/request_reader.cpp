#include "request_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/websocket/rfc6455.hpp>

#include "target.h"

namespace bootseal::net {
namespace {

namespace http = boost::beast::http;

constexpr std::size_t kReadSize = 16 << 10;

Response answer(int status, ErrorCode code, std::string message) {
  Response response = Response::from_error({code, std::move(message), nullptr});
  response.status = status;
  return response;
}

}  // namespace

RequestReader::RequestReader(RequestLimits limits) : limits_(limits) {
  reset_parser();
}

void RequestReader::reset_parser() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(limits_.header_bytes));
  parser_->body_limit(limits_.body_bytes);
  refusal_.reset();
}

boost::asio::mutable_buffer RequestReader::room() {
  return buffer_.prepare(kReadSize);
}

RequestReader::State RequestReader::refuse(int status, ErrorCode code, std::string message) {
  refusal_ = answer(status, code, std::move(message));
  return State::refused;
}

RequestReader::State RequestReader::refuse_parse_error(boost::beast::error_code error) {
  if (error == http::error::header_limit) {
    return refuse(431, ErrorCode::exhausted,
                  fmt::format("the request line and headers are longer than {} bytes", limits_.header_bytes));
  }
  if (error == http::error::body_limit) {
    return refuse(413, ErrorCode::exhausted,
                  fmt::format("the request body is longer than {} bytes", limits_.body_bytes));
  }
  return refuse(400, ErrorCode::invalid_argument,
                fmt::format("this is no HTTP/1.1 request: {}", error.message()));
}

RequestReader::State RequestReader::next() {
  if (refusal_) return State::refused;
  while (!parser_->is_done()) {
    const bool had_header = parser_->is_header_done();
    // The parser keeps no partial chunk header: one that does not end is bounded here.
    boost::beast::error_code error;
    const std::size_t used = buffer_.size() == 0 ? 0 : parser_->put(buffer_.cdata(), error);
    buffer_.consume(used);
    if (error && error != http::error::need_more) return refuse_parse_error(error);
    if (!had_header && parser_->is_header_done()) {
      const State state = after_header();
      if (state != State::more) return state;
      parser_->eager(true);
      continue;
    }
    if (parser_->is_done()) break;
    if (buffer_.size() > limits_.header_bytes) {
      return refuse(400, ErrorCode::invalid_argument, "a chunk header or trailer is too long");
    }
    if (error == http::error::need_more || used == 0) return State::more;
  }
  return State::complete;
}

RequestReader::State RequestReader::after_header() {
  const Message& message = parser_->get();
  // RFC 9112 section 3.2: exactly one Host.
  const auto hosts = message.count(http::field::host);
  if (message.version() >= 11 && hosts != 1) {
    return refuse(400, ErrorCode::invalid_argument,
                  fmt::format("a request needs exactly one Host header, this one has {}", hosts));
  }
  // Section 6.1: a transfer coding that is not understood hides where the next request begins.
  if (message.count(http::field::transfer_encoding) > 0 &&
      (message.count(http::field::transfer_encoding) != 1 ||
       !equal_ignoring_case(std::string_view(message[http::field::transfer_encoding]), "chunked"))) {
    return refuse(501, ErrorCode::unsupported, "the only transfer coding understood is \"chunked\"");
  }
  if (message.count(http::field::expect) == 0) return State::more;
  if (!equal_ignoring_case(std::string_view(message[http::field::expect]), "100-continue")) {
    return refuse(417, ErrorCode::unsupported, "the only expectation understood is \"100-continue\"");
  }
  const bool body_to_come = !parser_->is_done() && buffer_.size() == 0;
  return body_to_come && message.version() >= 11 ? State::expects_continue : State::more;
}

RequestReader::State RequestReader::go_on() {
  parser_->eager(true);
  return next();
}

tl::expected<RequestReader::Complete, Response> RequestReader::take() {
  Message message = parser_->release();
  reset_parser();

  Complete complete;
  complete.keep_alive = message.keep_alive();
  Request& request = complete.request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  auto target = parse_target(request.target);
  if (!target) return tl::unexpected(Response::from_error(target.error()));
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  for (const auto& field : message) {
    request.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  if (boost::beast::websocket::is_upgrade(message)) {
    // RFC 6455 section 4.1: the client waits for the answer before it sends anything.
    if (buffer_.size() > 0) {
      return tl::unexpected(
          answer(400, ErrorCode::invalid_argument, "frames came before the WebSocket was agreed on"));
    }
    request.body = message.body();
    complete.upgrade = std::move(message);
  } else {
    request.body = std::move(message.body());
  }
  return complete;
}

}  // namespace bootseal::net
