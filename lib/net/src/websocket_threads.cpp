#include "websocket_threads.h"

#include <boost/asio/post.hpp>

#include "worker_pool.h"

namespace bootseal::net {
namespace {

constexpr std::chrono::milliseconds kGoodbyeLimit{2000};

}  // namespace

bool WebSocketThreads::reserve() {
  const std::lock_guard lock(mutex_);
  if (closing_) return false;
  reap_locked();
  if (free_places_ == 0) return false;
  --free_places_;
  return true;
}

void WebSocketThreads::release() {
  {
    const std::lock_guard lock(mutex_);
    ++free_places_;
  }
  on_end_();
}

void WebSocketThreads::run(WebSocketHandler handler, std::shared_ptr<Request> request,
                           std::shared_ptr<WebSocketLink> link) {
  auto done = std::make_shared<bool>(false);
  const auto body = [this, handler = std::move(handler), request, link, done] {
    handle(handler, *request, link);
    on_end_();
    // The last that the thread does: reap_locked() holds the lock while it joins.
    const std::lock_guard lock(mutex_);
    ++free_places_;
    *done = true;
  };
  try {
    const std::lock_guard lock(mutex_);
    if (!closing_) {
      running_.push_back({start_thread(body), link, done});
      return;
    }
  } catch (const std::exception& exception) {
    on_failure_(*request, exception.what());
  }
  asio::post(loop_, [link] { link->abort(); });
  release();
}

void WebSocketThreads::handle(const WebSocketHandler& handler, const Request& request,
                              const std::shared_ptr<WebSocketLink>& link) {
  try {
    handler(request, make_websocket(link));
  } catch (const std::exception& exception) {
    on_failure_(request, exception.what());
  } catch (...) {
    on_failure_(request, "an exception of an unknown kind");
  }
  link->close();
  if (!link->wait_closed(kGoodbyeLimit)) asio::post(loop_, [link] { link->abort(); });
}

void WebSocketThreads::reap_locked() {
  for (auto each = running_.begin(); each != running_.end();) {
    if (!*each->done) {
      ++each;
      continue;
    }
    each->thread.join();
    each = running_.erase(each);
  }
}

void WebSocketThreads::close_all() {
  const std::lock_guard lock(mutex_);
  closing_ = true;
  for (const Running& each : running_) each.link->close();
}

void WebSocketThreads::stop() {
  close_all();
  // Nothing is added any more, and nothing reaped.
  for (Running& each : running_) {
    if (each.thread.joinable()) each.thread.join();
  }
}

void WebSocketThreads::abort_all() {
  const std::lock_guard lock(mutex_);
  for (const Running& each : running_) asio::post(loop_, [link = each.link] { link->abort(); });
}

}  // namespace bootseal::net
