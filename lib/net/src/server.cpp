#include "bootseal/net/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <map>
#include <unordered_map>

#include "bootseal/log/log.h"
#include "route.h"
#include "session.h"
#include "tcp_acceptor.h"
#include "tls.h"
#include "websocket_threads.h"
#include "worker_pool.h"

namespace bootseal::net {
namespace {

template <typename Protocol>
struct Listener {
  explicit Listener(asio::io_context& loop) : acceptor(loop.get_executor()) {}

  asio::basic_socket_acceptor<Protocol, Executor> acceptor;
  bool waiting = false;  // a wait for the next connection is under way
  bool paused = false;   // all places are taken by requests that are being handled
};
using UnixListener = Listener<asio::local::stream_protocol>;
using TcpListener = Listener<asio::ip::tcp>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;

constexpr std::chrono::milliseconds kAcceptPause{100};

enum class Kind : std::uint8_t { local, tcp };

// What the kernel says of who is at the other end, for counting.
struct PeerKey {
  Kind kind = Kind::local;
  std::string name;  // "uid 1000", "192.0.2.1"
  auto operator<=>(const PeerKey&) const = default;
};

PeerKey key_of(const asio::ip::address& address) {
  if (address.is_v4()) return {Kind::tcp, address.to_string()};
  const asio::ip::address_v6 six = address.to_v6();
  if (six.is_v4_mapped()) return {Kind::tcp, asio::ip::make_address_v4(asio::ip::v4_mapped, six).to_string()};
  // Whoever has one address of a /64 has all of them.
  auto bytes = six.to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
  return {Kind::tcp, asio::ip::address_v6(bytes).to_string() + "/64"};
}

class ServerImpl final : public Server, public SessionHost {
 public:
  ServerImpl(ServerOptions options, Router router)
      : options_(std::move(options)),
        limits_{{options_.header_bytes, options_.body_bytes},
                options_.handshake_limit,
                std::min(options_.header_limit, options_.read_limit),
                options_.read_limit,
                options_.idle_limit},
        router_(std::move(router)),
        unix_listener_(loop_),
        tcp_listener_(loop_),
        accept_timer_(loop_.get_executor()),
        work_(loop_.get_executor()) {}

  ~ServerImpl() override {
    stop(std::chrono::milliseconds{0});
    // The loop may still call both; then they do nothing any more.
    if (workers_) workers_->stop();
    if (websockets_) websockets_->stop();
    work_.reset();
    loop_.stop();
    if (loop_thread_.joinable()) loop_thread_.join();
    sessions_.clear();
  }

  Status open();
  void run();

  [[nodiscard]] std::uint16_t tcp_port() const override { return tcp_port_; }
  void stop(std::chrono::milliseconds grace) override;

 private:
  Status listen_tcp();
  template <typename Protocol>
  void await_connection(Listener<Protocol>& listener);
  template <typename Protocol>
  void accept_one(Listener<Protocol>& listener);
  bool evict(const std::function<bool(const PeerKey&)>& among);
  bool admit(const PeerKey& peer, std::size_t limit);
  // The peer and how many connections it may have; 0 = as many as there are places.
  [[nodiscard]] std::pair<PeerKey, std::size_t> peer_of(UnixSocket& socket) const;
  [[nodiscard]] std::pair<PeerKey, std::size_t> peer_of(TcpSocket& socket) const;
  void resume_accepting();
  void add_session(std::unique_ptr<Transport> transport, PeerKey peer);
  void connection_began();
  void connection_ended();
  Response answer(Request& request);
  Response defect(const Request& request, std::string_view reason);
  void log_accept_failure(std::string_view reason);
  void log_failure(const Request& request, std::string_view reason);

  asio::io_context& loop() override { return loop_; }
  [[nodiscard]] const Limits& limits() const override { return limits_; }
  [[nodiscard]] bool stopping() const override { return stop_source_.stop_requested(); }
  [[nodiscard]] std::stop_token stop_token() const override { return stop_source_.get_token(); }
  void handle(std::shared_ptr<Request> request, Deliver deliver) override;
  void prepare_websocket(std::shared_ptr<Request> request, DeliverWebSocket deliver) override;
  std::optional<Response> start_websocket(WebSocketHandler handler, std::shared_ptr<Request> request,
                                          RequestReader::Message message, Transport& transport) override;
  void ended(Session& session) override;

  ServerOptions options_;
  Limits limits_;
  const Router router_;
  asio::io_context loop_{1};
  std::optional<asio::ssl::context> tls_;
  UnixListener unix_listener_;
  TcpListener tcp_listener_;
  Timer accept_timer_;
  asio::executor_work_guard<Executor> work_;
  std::uint16_t tcp_port_ = 0;
  std::stop_source stop_source_;
  log::RateLimit failure_log_{10, 50};

  // On the loop thread.
  struct Place {
    std::shared_ptr<Session> session;
    PeerKey peer;
  };
  std::unordered_map<Session*, Place> sessions_;
  std::map<PeerKey, std::size_t> peers_;  // their sessions
  std::array<std::size_t, 2> taken_{};    // the sessions of each kind
  bool out_of_descriptors_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t connections_ = 0;  // sessions and WebSockets; guarded by mutex_

  std::unique_ptr<WebSocketThreads> websockets_;
  std::unique_ptr<WorkerPool> workers_;
  std::thread loop_thread_;
};

Status ServerImpl::open() {
  const bool tcp = options_.tcp_listener.valid() || !options_.tcp_address.empty();
  if (!tcp && !options_.unix_listener.valid()) {
    return fail(ErrorCode::invalid_argument, "a server needs a Unix listener or a TCP address");
  }
  if (options_.workers == 0 || options_.connections == 0) {
    return fail(ErrorCode::invalid_argument, "a server needs at least one worker and one connection");
  }
  ErrorValue error;
  if (options_.unix_listener.valid()) {
    unix_listener_.acceptor.assign(asio::local::stream_protocol(), options_.unix_listener.get(), error);
    if (error) return fail_errno(error.value(), "using the Unix listener");
    static_cast<void>(options_.unix_listener.release());
    unix_listener_.acceptor.non_blocking(true, error);
    if (error) return fail_errno(error.value(), "using the Unix listener");
  }
  if (!tcp) return {};
  BOOTSEAL_TRY(SslContext context, make_server_context(options_.tls));
  tls_.emplace(context.release());
  return listen_tcp();
}

Status ServerImpl::listen_tcp() {
  BOOTSEAL_TRY(tcp_port_, open_tcp_acceptor(options_, tcp_listener_.acceptor));
  return {};
}

void ServerImpl::run() {
  workers_ = std::make_unique<WorkerPool>(options_.workers);
  websockets_ = std::make_unique<WebSocketThreads>(
      loop_, options_.websockets,
      [this](const Request& request, std::string_view reason) { log_failure(request, reason); },
      [this] { connection_ended(); });
  await_connection(unix_listener_);
  await_connection(tcp_listener_);
  loop_thread_ = start_thread([this] {
    for (;;) {
      try {
        loop_.run();
        return;
      } catch (const std::exception& exception) {
        // Out of memory for one connection; the others go on.
        log::error("http.loop_failed", {{"reason", exception.what()}});
      }
    }
  });
}

template <typename Protocol>
void ServerImpl::await_connection(Listener<Protocol>& listener) {
  if (listener.waiting || !listener.acceptor.is_open()) return;
  listener.waiting = true;
  listener.acceptor.async_wait(asio::socket_base::wait_read, [this, &listener](ErrorValue error) {
    listener.waiting = false;
    if (error || stopping()) return;
    try {
      accept_one(listener);
    } catch (const std::exception& exception) {
      // Out of memory for this one: it is closed, and the next is awaited.
      log_accept_failure(exception.what());
    }
    if (!out_of_descriptors_ && !listener.paused) await_connection(listener);
  });
}

template <typename Protocol>
void ServerImpl::accept_one(Listener<Protocol>& listener) {
  constexpr Kind kind = std::is_same_v<Protocol, asio::ip::tcp> ? Kind::tcp : Kind::local;
  if (taken_.at(static_cast<std::size_t>(kind)) >= options_.connections &&
      !evict([](const PeerKey& peer) { return peer.kind == kind; })) {
    listener.paused = true;
    return;
  }
  ErrorValue error;
  auto socket = listener.acceptor.accept(error);
  if (error == asio::error::no_descriptors || error == asio::error::no_memory ||
      error == asio::error::no_buffer_space || error == std::errc::too_many_files_open_in_system) {
    log_accept_failure(error.message());
    // Others may give some back.
    static_cast<void>(evict([](const PeerKey&) { return true; }));
    out_of_descriptors_ = true;
    accept_timer_.expires_after(kAcceptPause);
    accept_timer_.async_wait([this](ErrorValue cancelled) {
      if (!cancelled) resume_accepting();
    });
    return;
  }
  // Any other error is that of a connection that is gone already.
  if (error) return;
  auto [peer, limit] = peer_of(socket);
  if (!admit(peer, limit)) return;
  if constexpr (kind == Kind::tcp) {
    add_session(make_tls_transport(std::move(socket), *tls_), std::move(peer));
  } else {
    add_session(make_unix_transport(std::move(socket)), std::move(peer));
  }
}

std::pair<PeerKey, std::size_t> ServerImpl::peer_of(UnixSocket& socket) const {
  const auto credentials = peer_credentials(socket.native_handle());
  if (!credentials) return {{Kind::local, "unknown"}, options_.connections_per_uid};
  const auto& unlimited = options_.unlimited_uids;
  const bool exempt = credentials->uid == 0 ||
                      std::find(unlimited.begin(), unlimited.end(), credentials->uid) != unlimited.end();
  return {{Kind::local, fmt::format("uid {}", credentials->uid)}, exempt ? 0 : options_.connections_per_uid};
}

std::pair<PeerKey, std::size_t> ServerImpl::peer_of(TcpSocket& socket) const {
  ErrorValue error;
  const auto end = socket.remote_endpoint(error);
  if (error) return {{Kind::tcp, "unknown"}, options_.connections_per_address};
  return {key_of(end.address()), options_.connections_per_address};
}

// Whether there is a place for one more of this peer. Nobody can take those of another.
bool ServerImpl::admit(const PeerKey& peer, std::size_t limit) {
  const auto known = peers_.find(peer);
  if (limit == 0 || known == peers_.end() || known->second < limit) return true;
  if (evict([&](const PeerKey& other) { return other == peer; })) return true;
  log_accept_failure(fmt::format("{} has {} requests in hand, and may not have more", peer.name, limit));
  return false;
}

// The connection among these that has waited for longest for its peer makes room: first those that have shown
// nothing yet.
bool ServerImpl::evict(const std::function<bool(const PeerKey&)>& among) {
  std::shared_ptr<Session> chosen;
  std::optional<Session::Patience> lowest;
  for (const auto& [session, place] : sessions_) {
    const auto patience = session->patience();
    if (!patience || (lowest && *lowest <= *patience) || !among(place.peer)) continue;
    lowest = patience;
    chosen = place.session;
  }
  if (chosen == nullptr) return false;
  chosen->abort();
  return true;
}

void ServerImpl::resume_accepting() {
  if (stopping()) return;
  out_of_descriptors_ = unix_listener_.paused = tcp_listener_.paused = false;
  await_connection(unix_listener_);
  await_connection(tcp_listener_);
}

void ServerImpl::add_session(std::unique_ptr<Transport> transport, PeerKey peer) {
  auto session = std::make_shared<Session>(*this, std::move(transport));
  ++peers_[peer];
  ++taken_.at(static_cast<std::size_t>(peer.kind));
  sessions_.emplace(session.get(), Place{session, std::move(peer)});
  connection_began();
  session->start();
}

void ServerImpl::ended(Session& session) {
  // The session is still in its own function.
  const auto found = sessions_.find(&session);
  if (found == sessions_.end()) return;
  const PeerKey& peer = found->second.peer;
  --taken_.at(static_cast<std::size_t>(peer.kind));
  if (const auto known = peers_.find(peer); --known->second == 0) peers_.erase(known);
  asio::post(loop_, [kept = std::move(found->second.session)] {});
  sessions_.erase(found);
  connection_ended();
  if (out_of_descriptors_ || unix_listener_.paused || tcp_listener_.paused)
    asio::post(loop_, [this] { resume_accepting(); });
}

void ServerImpl::connection_began() {
  const std::lock_guard lock(mutex_);
  ++connections_;
}

void ServerImpl::connection_ended() {
  const std::lock_guard lock(mutex_);
  --connections_;
  changed_.notify_all();
}

void ServerImpl::log_accept_failure(std::string_view reason) {
  std::uint64_t left_out = 0;
  if (!failure_log_.allow(left_out)) return;
  log::error("http.accept_failed", {{"reason", reason}, {"left_out", left_out}});
}

void ServerImpl::log_failure(const Request& request, std::string_view reason) {
  std::uint64_t left_out = 0;
  if (!failure_log_.allow(left_out)) return;
  log::error("http.handler_failed", {{"request", request.id},
                                     {"method", request.method},
                                     {"path", request.path},
                                     {"reason", reason},
                                     {"left_out", left_out}});
}

Response ServerImpl::answer(Request& request) {
  std::string reason;
  try {
    Response response = router_.handle(request);
    if (response.status >= 200 && response.status <= 999) return response;
    reason = fmt::format("the handler answered with status {}", response.status);
  } catch (const std::exception& exception) {
    reason = exception.what();
  } catch (...) {
    reason = "an exception of an unknown kind";
  }
  return defect(request, reason);
}

Response ServerImpl::defect(const Request& request, std::string_view reason) {
  log_failure(request, reason);
  // What went wrong inside is not for the caller.
  return Response::from_error(
      {ErrorCode::internal,
       fmt::format("a defect in this daemon; its log has the details for request {}", request.id), nullptr});
}

void ServerImpl::handle(std::shared_ptr<Request> request, Deliver deliver) {
  workers_->submit([this, request = std::move(request), deliver = std::move(deliver)] {
    const auto begin = std::chrono::steady_clock::now();
    auto response = std::make_shared<Response>(answer(*request));
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
    log::debug("http.request", {{"request", request->id},
                                {"peer", request->peer.address},
                                {"method", request->method},
                                {"path", request->path},
                                {"status", response->status},
                                {"milliseconds", taken.count()}});
    asio::post(loop_, [deliver, response] { deliver(std::move(*response)); });
  });
}

void ServerImpl::prepare_websocket(std::shared_ptr<Request> request, DeliverWebSocket deliver) {
  workers_->submit([this, request = std::move(request), deliver = std::move(deliver)] {
    using Prepared = tl::expected<WebSocketHandler, Response>;
    auto prepared = std::make_shared<Prepared>();
    std::string reason;
    try {
      *prepared = RouterAccess::prepare_websocket(router_, *request);
    } catch (const std::exception& exception) {
      reason = exception.what();
    } catch (...) {
      reason = "an exception of an unknown kind";
    }
    if (!reason.empty()) *prepared = tl::unexpected(defect(*request, reason));
    asio::post(loop_, [deliver, prepared] { deliver(std::move(*prepared)); });
  });
}

std::optional<Response> ServerImpl::start_websocket(WebSocketHandler handler,
                                                    std::shared_ptr<Request> request,
                                                    RequestReader::Message message, Transport& transport) {
  if (!websockets_->reserve()) {
    return Response::from_error(
        {ErrorCode::unavailable, fmt::format("all {} WebSockets are in use", options_.websockets), nullptr});
  }
  connection_began();
  const std::shared_ptr<WebSocketLink> link = transport.to_websocket();
  link->accept(std::move(message), request->id,
               [this, link, request, handler = std::move(handler)](ErrorValue error) {
                 if (error) {
                   link->abort();
                   return websockets_->release();
                 }
                 link->run();
                 websockets_->run(handler, request, link);
               });
  return std::nullopt;
}

void ServerImpl::stop(std::chrono::milliseconds grace) {
  if (!loop_thread_.joinable()) return;
  const auto each_session = [this](auto action) {
    std::vector<std::shared_ptr<Session>> all;
    for (const auto& [session, place] : sessions_) all.push_back(place.session);
    for (const auto& session : all) action(*session);
  };
  stop_source_.request_stop();
  asio::post(loop_, [this, each_session] {
    ErrorValue ignored;
    unix_listener_.acceptor.close(ignored);
    tcp_listener_.acceptor.close(ignored);
    accept_timer_.cancel();
    each_session([](Session& session) { session.finish_soon(); });
  });
  websockets_->close_all();
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, grace, [this] { return connections_ == 0; });
  }
  websockets_->abort_all();
  asio::post(loop_, [each_session] { each_session([](Session& session) { session.abort(); }); });
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Router router) {
  try {
    auto server = std::make_unique<ServerImpl>(std::move(options), std::move(router));
    BOOTSEAL_TRY_STATUS(server->open());
    server->run();
    return server;
  } catch (const std::exception& exception) {
    return fail(ErrorCode::unavailable, fmt::format("starting the server: {}", exception.what()));
  }
}

}  // namespace bootseal::net
