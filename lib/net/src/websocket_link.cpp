#include "websocket_link.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>

namespace bootseal::net {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;

// Reading pauses while this much waits for receive().
constexpr std::size_t kMaxWaitingBytes = std::size_t{1} << 20;
constexpr std::chrono::seconds kHandshakeLimit{10};
// A peer that answers no ping for so long is gone.
constexpr std::chrono::seconds kSilenceLimit{60};

Error closed_error(ErrorValue reason) {
  const bool orderly = !reason || reason == websocket::error::closed;
  return {ErrorCode::unavailable,
          orderly ? "the WebSocket is closed" : fmt::format("the WebSocket ended: {}", reason.message()),
          nullptr};
}

template <typename Stream>
class Link final : public WebSocketLink, public std::enable_shared_from_this<Link<Stream>> {
 public:
  explicit Link(Stream stream) : socket_(std::move(stream)) {
    socket_.set_option(websocket::stream_base::timeout{kHandshakeLimit, kSilenceLimit, true});
    socket_.read_message_max(kMaxMessageBytes);
    socket_.auto_fragment(false);
    socket_.binary(true);
  }

  void accept(RequestReader::Message request, std::string request_id,
              std::function<void(ErrorValue)> done) override {
    socket_.set_option(websocket::stream_base::decorator(
        [id = std::move(request_id), protocol = first_protocol(request)](websocket::response_type& response) {
          response.set("x-ms-request-id", id);
          if (!protocol.empty()) response.set(http::field::sec_websocket_protocol, protocol);
        }));
    request_ = std::move(request);
    socket_.async_accept(request_,
                         [self = this->shared_from_this(), done = std::move(done)](ErrorValue error) {
                           if (error) self->end(error);
                           done(error);
                         });
  }

  void handshake(ClientHandshake request, std::function<void(HandshakeAnswer)> done) override {
    socket_.set_option(websocket::stream_base::decorator(
        [headers = std::move(request.headers)](websocket::request_type& message) {
          for (const auto& [name, value] : headers) message.set(name, value);
        }));
    socket_.async_handshake(
        answer_, request.host, request.target,
        [self = this->shared_from_this(), done = std::move(done)](ErrorValue error) {
          if (error) self->end(error);
          done({error, static_cast<int>(self->answer_.result_int()), self->answer_.body()});
        });
  }

  void run() override { read_next(); }

  void abort() override {
    ErrorValue ignored;
    beast::get_lowest_layer(socket_).close(ignored);
  }

  Result<std::string> receive(std::optional<std::chrono::milliseconds> limit) override {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return !inbox_.empty() || ended_ || closing_; };
    if (!limit) {
      changed_.wait(lock, ready);
    } else if (!changed_.wait_for(lock, *limit, ready)) {
      return fail(ErrorCode::timeout, fmt::format("no message came within {} ms", limit->count()));
    }
    if (closing_ || inbox_.empty()) return tl::unexpected(closed_error(end_reason_));
    std::string message = std::move(inbox_.front());
    inbox_.pop_front();
    inbox_bytes_ -= message.size();
    if (paused_ && inbox_bytes_ < kMaxWaitingBytes) {
      paused_ = false;
      asio::post(socket_.get_executor(), [self = this->shared_from_this()] { self->read_next(); });
    }
    return message;
  }

  Status send(std::string_view message) override {
    if (message.size() > kMaxMessageBytes) {
      return fail(ErrorCode::exhausted, fmt::format("a WebSocket message has at most {} bytes, this one {}",
                                                    kMaxMessageBytes, message.size()));
    }
    auto outgoing = std::make_shared<Outgoing>();
    outgoing->message = message;
    asio::post(socket_.get_executor(), [self = this->shared_from_this(), outgoing] {
      self->outbox_.push_back(outgoing);
      if (self->outbox_.size() == 1) self->write_next();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return outgoing->written || ended_ || closing_; });
    if (!outgoing->written) return tl::unexpected(closed_error(end_reason_));
    return {};
  }

  void close() override {
    {
      const std::lock_guard lock(mutex_);
      if (closing_) return;
      closing_ = true;
    }
    changed_.notify_all();
    asio::post(socket_.get_executor(), [self = this->shared_from_this()] { self->say_goodbye(); });
  }

  bool wait_closed(std::chrono::milliseconds limit) override {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return ended_; });
  }

 private:
  struct Outgoing {
    std::string message;
    bool written = false;  // guarded by the link's mutex_
  };

  static std::string first_protocol(const RequestReader::Message& request) {
    const std::string_view offered(request[http::field::sec_websocket_protocol]);
    const std::string_view first = offered.substr(0, offered.find(','));
    const std::size_t begin = std::min(first.find_first_not_of(" \t"), first.size());
    const std::size_t end = first.find_last_not_of(" \t");
    return end == std::string_view::npos ? std::string() : std::string(first.substr(begin, end + 1 - begin));
  }

  void read_next() {
    socket_.async_read(buffer_, [self = this->shared_from_this()](ErrorValue error, std::size_t) {
      if (error) return self->end(error);
      std::string message = beast::buffers_to_string(self->buffer_.data());
      self->buffer_.clear();
      bool go_on = false;
      {
        const std::lock_guard lock(self->mutex_);
        self->inbox_bytes_ += message.size();
        self->inbox_.push_back(std::move(message));
        // An empty message takes memory too.
        go_on = self->inbox_bytes_ < kMaxWaitingBytes && self->inbox_.size() < kMaxWaitingMessages;
        self->paused_ = !go_on;
      }
      self->changed_.notify_all();
      if (go_on) self->read_next();
    });
  }

  void write_next() {
    const std::shared_ptr<Outgoing> outgoing = outbox_.front();
    socket_.async_write(asio::buffer(outgoing->message),
                        [self = this->shared_from_this(), outgoing](ErrorValue error, std::size_t) {
                          self->outbox_.pop_front();
                          if (error) return self->end(error);
                          {
                            const std::lock_guard lock(self->mutex_);
                            outgoing->written = true;
                          }
                          self->changed_.notify_all();
                          if (!self->outbox_.empty()) self->write_next();
                        });
  }

  void say_goodbye() {
    if (!socket_.is_open()) return end({});
    socket_.async_close(websocket::close_code::normal, [self = this->shared_from_this()](ErrorValue error) {
      self->abort();
      self->end(error);
    });
  }

  void end(ErrorValue reason) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      ended_ = true;
      end_reason_ = reason;
    }
    changed_.notify_all();
  }

  static constexpr std::size_t kMaxWaitingMessages = 4096;

  // On the loop thread.
  websocket::stream<Stream, false> socket_;
  RequestReader::Message request_;
  websocket::response_type answer_;
  beast::flat_buffer buffer_;
  std::deque<std::shared_ptr<Outgoing>> outbox_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> inbox_;  // guarded by mutex_, as all below
  std::size_t inbox_bytes_ = 0;
  bool paused_ = false;
  bool closing_ = false;
  bool ended_ = false;
  ErrorValue end_reason_;
};

class LinkedWebSocket final : public WebSocket {
 public:
  explicit LinkedWebSocket(std::shared_ptr<WebSocketLink> link) : link_(std::move(link)) {}
  ~LinkedWebSocket() override { link_->close(); }
  Result<std::string> receive(std::optional<std::chrono::milliseconds> limit) override {
    return link_->receive(limit);
  }
  Status send(std::string_view binary_message) override { return link_->send(binary_message); }
  void close() override { link_->close(); }

 private:
  std::shared_ptr<WebSocketLink> link_;
};

}  // namespace

std::shared_ptr<WebSocketLink> make_websocket_link(UnixSocket stream) {
  return std::make_shared<Link<UnixSocket>>(std::move(stream));
}

std::shared_ptr<WebSocketLink> make_websocket_link(TlsStream stream) {
  return std::make_shared<Link<TlsStream>>(std::move(stream));
}

std::unique_ptr<WebSocket> make_websocket(std::shared_ptr<WebSocketLink> link) {
  return std::make_unique<LinkedWebSocket>(std::move(link));
}

}  // namespace bootseal::net
