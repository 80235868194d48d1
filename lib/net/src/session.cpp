#include "session.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"

namespace bootseal::net {
namespace {

// A piece of an answer has the read limit to leave; so a slow but steady reader gets all of a long one.
constexpr std::size_t kWritePiece = 256 << 10;
// What the peer still sends after the last answer is read for a while: closing at once would reset the
// connection, and the peer might never see the answer.
constexpr std::chrono::milliseconds kGoodbyeLimit{2000};
constexpr std::size_t kDrainBytes = std::size_t{16} << 20;
constexpr std::size_t kDrainPiece = 16 << 10;

}  // namespace

Session::Session(SessionHost& host, std::unique_ptr<Transport> transport)
    : host_(host),
      transport_(std::move(transport)),
      timer_(host.loop().get_executor()),
      reader_(host.limits().request) {}

void Session::start() {
  arm(host_.limits().handshake);
  transport_->handshake([self = shared_from_this()](ErrorValue error) {
    if (self->state_ != State::handshaking) return;
    if (error) {
      log::debug("http.handshake_failed", {{"reason", error.message()}});
      return self->finish();
    }
    self->peer_ = self->transport_->peer();
    self->await_request(self->host_.limits().header);
  });
}

void Session::await_request(std::chrono::milliseconds limit) {
  if (host_.stopping()) return say_goodbye();
  envelope_ = {};
  body_armed_ = false;
  if (reader_.begun()) {
    enter(State::reading);
    arm(host_.limits().header);
    return after_bytes(reader_.next());
  }
  enter(State::idle);
  arm(limit);
  read_more();
}

void Session::read_more() {
  transport_->read_some(reader_.room(), [self = shared_from_this()](ErrorValue error, std::size_t count) {
    if (self->state_ == State::ended) return;
    if (error) {
      if (!self->timed_out_ || self->state_ != State::reading) return self->finish();
      return self->refuse([&] {
        Response response = Response::from_error(
            {ErrorCode::timeout,
             fmt::format("the request was not complete after {} ms", self->limit_.count()), nullptr});
        response.status = 408;
        return response;
      }());
    }
    self->reader_.received(count);
    if (self->state_ == State::idle) {
      // The first request's header has its time from the handshake on.
      const bool first = !self->answered_;
      self->enter(State::reading);
      if (!first) self->arm(self->host_.limits().header);
    }
    // The time limit may have struck while these bytes were on their way here; then there is no read to
    // cancel any more.
    self->after_bytes(self->reader_.next());
  });
}

void Session::after_bytes(RequestReader::State state) {
  switch (state) {
    case RequestReader::State::more:
      arm_for_body();
      return read_more();
    case RequestReader::State::expects_continue:
      arm_for_body();
      return send_continue();
    case RequestReader::State::complete:
      return dispatch();
    case RequestReader::State::refused:
      envelope_.head_only = reader_.is_head();
      return refuse(Response(reader_.refusal()));
  }
}

void Session::send_continue() {
  out_ = "HTTP/1.1 100 Continue\r\n\r\n";
  transport_->write(asio::buffer(out_), [self = shared_from_this()](ErrorValue error, std::size_t) {
    if (self->state_ == State::ended) return;
    if (error) return self->finish();
    self->after_bytes(self->reader_.go_on());
  });
}

void Session::dispatch() {
  disarm();
  enter(State::handling);
  envelope_.head_only = reader_.is_head();
  auto complete = reader_.take();
  if (!complete) return refuse(complete.error());
  auto request = std::make_shared<Request>(std::move(complete->request));
  request->peer = peer_;
  request->id = Guid::random().to_string();
  request->stop = host_.stop_token();
  envelope_.keep_alive = complete->keep_alive;
  envelope_.request_id = request->id;
  envelope_.client_request_id = request->header("x-ms-client-request-id").value_or("");
  if (complete->upgrade) return dispatch_websocket(std::move(request), *std::move(complete->upgrade));
  host_.handle(request, [self = shared_from_this()](const Response& response) {
    if (self->state_ != State::handling) return;
    self->proven_ = self->proven_ || (response.status != 401 && response.status != 403);
    self->respond(response);
  });
}

void Session::dispatch_websocket(std::shared_ptr<Request> request, RequestReader::Message message) {
  host_.prepare_websocket(request, [self = shared_from_this(), request, message = std::move(message)](
                                       const tl::expected<WebSocketHandler, Response>& prepared) {
    if (self->state_ != State::handling) return;
    if (!prepared) return self->respond(prepared.error());
    const auto refusal = self->host_.start_websocket(*prepared, request, message, *self->transport_);
    if (refusal) return self->respond(*refusal);
    // The stream has left; there is nothing to close.
    self->state_ = State::ended;
    self->disarm();
    self->host_.ended(*self);
  });
}

void Session::refuse(const Response& response) {
  envelope_.keep_alive = false;
  if (envelope_.request_id.empty()) envelope_.request_id = Guid::random().to_string();
  respond(response);
}

void Session::respond(const Response& response) {
  if (host_.stopping()) envelope_.keep_alive = false;
  auto bytes = serialize_response(response, envelope_);
  if (!bytes) {
    log::error("http.answer_invalid", {{"request", envelope_.request_id}, {"reason", bytes.error().message}});
    envelope_.keep_alive = false;
    bytes = serialize_response(
        Response::from_error(
            {ErrorCode::internal, "the answer could not be made; the log has the reason", nullptr}),
        envelope_);
    BOOTSEAL_CHECK(bytes.has_value());
  }
  out_ = *std::move(bytes);
  out_sent_ = 0;
  answered_ = true;
  enter(State::writing);
  write_rest();
}

void Session::write_rest() {
  arm(host_.limits().read);
  const std::size_t piece = std::min(kWritePiece, out_.size() - out_sent_);
  transport_->write(asio::buffer(out_.data() + out_sent_, piece),
                    [self = shared_from_this()](ErrorValue error, std::size_t count) {
                      if (self->state_ != State::writing) return;
                      if (error) return self->finish();
                      self->out_sent_ += count;
                      self->out_sent_ < self->out_.size() ? self->write_rest() : self->after_answer();
                    });
}

void Session::after_answer() {
  out_ = {};
  envelope_.keep_alive ? await_request(host_.limits().idle) : say_goodbye();
}

void Session::say_goodbye() {
  enter(State::ending);
  arm(kGoodbyeLimit);
  transport_->end_sending([self = shared_from_this()] {
    if (self->state_ != State::ending) return;
    self->drained_.resize(kDrainPiece);
    self->drain();
  });
}

void Session::drain() {
  transport_->drain_some(asio::buffer(drained_),
                         [self = shared_from_this()](ErrorValue error, std::size_t count) {
                           if (self->state_ != State::ending) return;
                           self->drained_bytes_ += count;
                           if (error || self->drained_bytes_ > kDrainBytes) return self->finish();
                           self->drain();
                         });
}

void Session::finish() {
  if (state_ == State::ended) return;
  state_ = State::ended;
  disarm();
  timer_.cancel();
  transport_->close();
  host_.ended(*this);
}

void Session::finish_soon() {
  if (state_ == State::handshaking || state_ == State::idle || state_ == State::reading) finish();
}

void Session::abort() {
  finish();
}

std::optional<Session::Patience> Session::patience() const {
  if (state_ == State::handling || state_ == State::ended) return std::nullopt;
  if (!proven_) return Patience{Patience::Rank::unproven, since_};
  return Patience{state_ == State::idle ? Patience::Rank::idle : Patience::Rank::busy, since_};
}

void Session::enter(State state) {
  state_ = state;
  // What a peer that has shown nothing does next makes it no younger.
  if (proven_) since_ = std::chrono::steady_clock::now();
}

void Session::arm_for_body() {
  if (body_armed_ || !reader_.header_done()) return;
  body_armed_ = true;
  arm(host_.limits().read);
}

void Session::arm(std::chrono::milliseconds limit) {
  const std::uint64_t generation = ++timer_generation_;
  limit_ = limit;
  timer_.expires_after(limit);
  timer_.async_wait([self = shared_from_this(), generation](ErrorValue error) {
    if (!error && self->timer_generation_ == generation) self->on_time_limit();
  });
}

void Session::on_time_limit() {
  if (state_ != State::reading) return finish();
  // The pending read ends, and its end answers 408.
  timed_out_ = true;
  transport_->cancel_read();
}

}  // namespace bootseal::net
