#include "bootseal/host/peer_client.h"

#include <fmt/format.h>

#include <future>

#include "bootseal/log/log.h"
#include "display_text.h"

namespace bootseal::host {
namespace {

constexpr json::Limits kMessageLimits{.bytes = std::size_t{2} << 20, .depth = 32};
constexpr std::size_t kTextLimit = 1000;

std::string safe_text(std::string_view text) {
  return display_text(text, kTextLimit);
}

Result<PeerMessage> parse_answer(Dialect dialect, json::Reader& reader, const json::Object& object) {
  PeerMessage message{.kind = PeerMessage::Kind::answer};
  BOOTSEAL_TRY(message.id, reader.unsigned_integer("id"));
  const std::string_view result = dialect == Dialect::qmp ? "return" : "result";
  if (const json::Value* value = object.if_contains(result)) {
    message.content = *value;
    return message;
  }
  BOOTSEAL_TRY(json::Reader error, reader.object("error"));
  if (dialect == Dialect::qmp) {
    BOOTSEAL_TRY(const std::string name, error.string("class"));
    BOOTSEAL_TRY(const std::string text, error.string("desc"));
    message.error = Error{name == "CommandNotFound" ? ErrorCode::unsupported : ErrorCode::conflict,
                          safe_text(text), nullptr};
  } else {
    BOOTSEAL_TRY(const std::string code, error.string("code"));
    BOOTSEAL_TRY(const std::string text, error.string("message"));
    message.error = Error{error_code_from_name(code), safe_text(text), nullptr};
  }
  return message;
}

}  // namespace

Result<PeerMessage> parse_peer_message(Dialect dialect, std::string_view line) {
  BOOTSEAL_TRY(const json::Value value, json::parse(line, kMessageLimits));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the message"));
  const json::Object& object = value.get_object();
  if (dialect == Dialect::qmp && object.contains("QMP"))
    return PeerMessage{.kind = PeerMessage::Kind::greeting};
  if (object.contains("event")) {
    PeerMessage message{.kind = PeerMessage::Kind::event};
    BOOTSEAL_TRY(message.name, reader.string("event"));
    if (dialect == Dialect::bootseal) {
      message.content = value;
    } else if (const json::Value* data = object.if_contains("data")) {
      message.content = *data;
    }
    return message;
  }
  return parse_answer(dialect, reader, object);
}

std::string format_request(Dialect dialect, std::uint64_t id, std::string_view method,
                           const json::Value& parameters) {
  json::Object request;
  if (dialect == Dialect::qmp) {
    request["execute"] = method;
    if (!parameters.is_null()) request["arguments"] = parameters;
    request["id"] = id;
  } else {
    request["id"] = id;
    request["method"] = method;
    if (!parameters.is_null()) request["params"] = parameters;
  }
  return json::serialize(request);
}

Result<std::shared_ptr<PeerClient>> PeerClient::open(EventLoop& loop, UniqueFd socket, Dialect dialect,
                                                     std::string name, std::size_t maximum_line,
                                                     std::optional<LineRate> rate, Handlers handlers) {
  std::shared_ptr<PeerClient> client(new PeerClient(loop, dialect, std::move(name), std::move(handlers)));
  const std::weak_ptr weak(client);
  LineChannel::Handlers line_handlers;
  line_handlers.line = [weak](std::string_view line) {
    if (const auto self = weak.lock()) self->on_line(line);
  };
  line_handlers.closed = [weak](const Error& reason) {
    if (const auto self = weak.lock()) self->on_closed(reason);
  };
  Status opened;
  loop.run([&]() {
    auto channel = LineChannel::open(loop, std::move(socket), maximum_line, rate, std::move(line_handlers));
    if (channel) {
      client->channel_ = *std::move(channel);
    } else {
      opened = tl::unexpected(channel.error());
    }
  });
  BOOTSEAL_TRY_STATUS(opened);
  return client;
}

void PeerClient::on_line(std::string_view line) {
  Result<PeerMessage> message = parse_peer_message(dialect_, line);
  if (!message) {
    static log::RateLimit limit(0.2, 5);
    std::uint64_t left_out = 0;
    if (limit.allow(left_out))
      log::warning(
          "peer.message.dropped",
          {{"peer", name_}, {"reason", safe_text(message.error().describe())}, {"leftOut", left_out}});
    return;
  }
  if (message->kind == PeerMessage::Kind::answer) {
    const Callback done = take(message->id);
    if (!done) return;
    if (message->error) {
      done(tl::unexpected(message->error->wrap(name_)));
    } else {
      done(std::move(message->content));
    }
    return;
  }
  if (handlers_.event) handlers_.event(*message);
}

void PeerClient::on_closed(const Error& reason) {
  std::map<std::uint64_t, Pending> pending;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = reason;
    pending.swap(pending_);
  }
  for (auto& [id, call] : pending) {
    loop_.cancel(call.timer);
    call.done(fail(ErrorCode::unavailable, fmt::format("{}: {}", name_, reason.message)));
  }
  const auto closed = std::exchange(handlers_.closed, nullptr);
  if (closed) closed(reason);
}

PeerClient::Callback PeerClient::take(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = pending_.find(id);
  if (found == pending_.end()) return nullptr;
  Callback done = std::move(found->second.done);
  loop_.cancel(found->second.timer);
  pending_.erase(found);
  return done;
}

void PeerClient::call_async(std::string_view method, const json::Value& parameters,
                            std::chrono::milliseconds limit, Callback done) {
  begin_call(method, parameters, UniqueFd(), limit, std::move(done));
}

void PeerClient::begin_call(std::string_view method, const json::Value& parameters, UniqueFd descriptor,
                            std::chrono::milliseconds limit, Callback done) {
  std::uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      loop_.post([done = std::move(done),
                  error = Error{ErrorCode::unavailable, fmt::format("{}: {}", name_, closed_->message),
                                nullptr}]() { done(tl::unexpected(error)); });
      return;
    }
    id = next_id_++;
    pending_[id].done = std::move(done);
    pending_[id].timer =
        loop_.post_after(limit, [weak = weak_from_this(), id, limit, text = std::string(method)]() {
          const auto self = weak.lock();
          if (!self) return;
          const Callback late = self->take(id);
          if (late)
            late(fail(ErrorCode::timeout,
                      fmt::format("{}: no answer to '{}' within {} ms", self->name_, text, limit.count())));
        });
  }
  std::string request = format_request(dialect_, id, method, parameters);
  if (descriptor.valid()) {
    channel_->send_with_descriptor(std::move(request), std::move(descriptor));
  } else {
    channel_->send(std::move(request));
  }
}

Result<json::Value> PeerClient::call(std::string_view method, const json::Value& parameters,
                                     std::chrono::milliseconds limit) {
  return call_with_descriptor(method, parameters, UniqueFd(), limit);
}

Result<json::Value> PeerClient::call_with_descriptor(std::string_view method, const json::Value& parameters,
                                                     UniqueFd descriptor, std::chrono::milliseconds limit) {
  BOOTSEAL_CHECK(!loop_.on_loop_thread());
  const auto answer = std::make_shared<std::promise<Result<json::Value>>>();
  begin_call(method, parameters, std::move(descriptor), limit,
             [answer](Result<json::Value> result) { answer->set_value(std::move(result)); });
  return answer->get_future().get();
}

void PeerClient::notify(std::string_view method) {
  channel_->send(format_request(dialect_, 0, method, nullptr));
}

void PeerClient::close() {
  if (channel_) channel_->close();
  std::map<std::uint64_t, Pending> pending;
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) closed_ = Error{ErrorCode::unavailable, "the connection was closed", nullptr};
    pending.swap(pending_);
  }
  for (auto& [id, call] : pending) {
    loop_.cancel(call.timer);
    loop_.post([done = std::move(call.done),
                error = Error{ErrorCode::unavailable, fmt::format("{}: the connection was closed", name_),
                              nullptr}]() { done(tl::unexpected(error)); });
  }
}

}  // namespace bootseal::host
