// One connection of the server, from the handshake to its end. Everything here runs on the loop thread.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <vector>

#include "bootseal/net/server.h"
#include "request_reader.h"
#include "response_writer.h"
#include "transport.h"

namespace bootseal::net {

class Session;

// What a session needs of its server.
class SessionHost {
 public:
  struct Limits {
    RequestLimits request;
    std::chrono::milliseconds handshake;
    std::chrono::milliseconds header;
    std::chrono::milliseconds read;
    std::chrono::milliseconds idle;
  };
  using Deliver = std::function<void(Response)>;
  using DeliverWebSocket = std::function<void(tl::expected<WebSocketHandler, Response>)>;

  virtual ~SessionHost() = default;
  virtual asio::io_context& loop() = 0;
  [[nodiscard]] virtual const Limits& limits() const = 0;
  [[nodiscard]] virtual bool stopping() const = 0;
  [[nodiscard]] virtual std::stop_token stop_token() const = 0;
  // Runs the request's handler on a worker; `deliver` is called on the loop thread.
  virtual void handle(std::shared_ptr<Request> request, Deliver deliver) = 0;
  virtual void prepare_websocket(std::shared_ptr<Request> request, DeliverWebSocket deliver) = 0;
  // Takes the connection over from the session, or answers why not.
  virtual std::optional<Response> start_websocket(WebSocketHandler handler, std::shared_ptr<Request> request,
                                                  RequestReader::Message message, Transport& transport) = 0;
  // The session is over; the host lets go of it.
  virtual void ended(Session& session) = 0;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(SessionHost& host, std::unique_ptr<Transport> transport);

  void start();
  // Ends now what waits for the peer; a request that is being handled is still answered.
  void finish_soon();
  void abort();
  // How well another connection would use this one's place: the lower in order, the better. nullopt while a
  // request is being handled.
  struct Patience {
    enum class Rank : std::uint8_t { unproven, idle, busy } rank;
    std::chrono::steady_clock::time_point since;
    auto operator<=>(const Patience&) const = default;
  };
  [[nodiscard]] std::optional<Patience> patience() const;

 private:
  enum class State { handshaking, idle, reading, handling, writing, ending, ended };
  using SessionPointer = std::shared_ptr<Session>;

  void await_request(std::chrono::milliseconds limit);
  void read_more();
  void after_bytes(RequestReader::State state);
  void dispatch();
  void dispatch_websocket(std::shared_ptr<Request> request, RequestReader::Message message);
  void send_continue();
  void refuse(const Response& response);
  void respond(const Response& response);
  void write_rest();
  void after_answer();
  void say_goodbye();
  void drain();
  void finish();

  // Calls on_time_limit() once unless disarm() or another arm() comes first.
  void arm(std::chrono::milliseconds limit);
  void disarm() { ++timer_generation_; }
  // Goes on to the limit of a body when the header is there.
  void arm_for_body();
  void enter(State state);
  void on_time_limit();

  SessionHost& host_;
  std::unique_ptr<Transport> transport_;
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                             Executor>
      timer_;
  std::uint64_t timer_generation_ = 0;
  State state_ = State::handshaking;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();  // of state_
  std::chrono::milliseconds limit_{0};                                              // as armed last
  bool body_armed_ = false;
  bool answered_ = false;
  bool proven_ = false;  // a request was answered, and not for want of a credential
  bool timed_out_ = false;

  RequestReader reader_;
  Peer peer_;
  Envelope envelope_;
  std::string out_;
  std::size_t out_sent_ = 0;
  std::vector<std::byte> drained_;
  std::size_t drained_bytes_ = 0;
};

}  // namespace bootseal::net
