// The handlers of a server's WebSockets, each on a thread of its own.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "websocket_link.h"

namespace bootseal::net {

// Thread safe.
class WebSocketThreads {
 public:
  using OnFailure = std::function<void(const Request&, std::string_view reason)>;

  // `on_failure` hears of handlers that throw, `on_end` of each place that is free again.
  WebSocketThreads(asio::io_context& loop, std::size_t places, OnFailure on_failure,
                   std::function<void()> on_end)
      : loop_(loop), free_places_(places), on_failure_(std::move(on_failure)), on_end_(std::move(on_end)) {}
  ~WebSocketThreads() { stop(); }
  WebSocketThreads(const WebSocketThreads&) = delete;
  WebSocketThreads& operator=(const WebSocketThreads&) = delete;

  // Takes a place; false when all are taken.
  bool reserve();
  // Gives a place back that was not used.
  void release();
  // Starts the handler in a place that was reserved.
  void run(WebSocketHandler handler, std::shared_ptr<Request> request, std::shared_ptr<WebSocketLink> link);

  // Says goodbye to all of them; none is run any more.
  void close_all();
  // Closes their sockets.
  void abort_all();
  // close_all(), and waits for the handlers; the loop must run until then.
  void stop();

 private:
  struct Running {
    std::thread thread;
    std::shared_ptr<WebSocketLink> link;
    std::shared_ptr<bool> done;  // guarded by mutex_
  };

  void handle(const WebSocketHandler& handler, const Request& request,
              const std::shared_ptr<WebSocketLink>& link);
  void reap_locked();

  asio::io_context& loop_;
  std::mutex mutex_;
  std::size_t free_places_;  // guarded by mutex_, as all below
  bool closing_ = false;
  std::list<Running> running_;
  const OnFailure on_failure_;
  const std::function<void()> on_end_;
};

}  // namespace bootseal::net
