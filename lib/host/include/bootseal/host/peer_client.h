// Requests and answers in JSON lines with QEMU (QMP), guestd (management) and the agent. None of them is
// trusted: every line is bounded, every call has a time limit, unknown answers are dropped.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>

#include "bootseal/host/stream_channel.h"
#include "bootseal/json/json.h"

namespace bootseal::host {

enum class Dialect : std::uint8_t {
  qmp,       // {"execute","arguments","id"} -> {"return"|"error":{"class","desc"},"id"},
             // {"event","data","timestamp"}, {"QMP":…}
  bootseal,  // {"id","method","params"} -> {"id","result"|"error":{"code","message"}}, {"event",…};
             // docs/architecture.md
};

struct PeerMessage {
  enum class Kind : std::uint8_t { greeting, event, answer };
  Kind kind = Kind::event;
  std::uint64_t id = 0;  // answer
  std::string name;      // event
  json::Value content;   // event: its data (bootseal: the whole object); answer: the result
  std::optional<Error>
      error;  // answer: the refusal. A QMP error has the code conflict (unsupported for CommandNotFound).
};

// One line of a peer. At most 2 MiB and 32 levels; invalid_argument or exhausted otherwise. Texts of the peer
// that land in errors are cut at 1000 characters.
Result<PeerMessage> parse_peer_message(Dialect dialect, std::string_view line);
// The line (without its end) of a request.
std::string format_request(Dialect dialect, std::uint64_t id, std::string_view method,
                           const json::Value& parameters);

class PeerClient : public std::enable_shared_from_this<PeerClient> {
 public:
  struct Handlers {
    std::function<void(const PeerMessage& event)> event;  // loop thread; greetings too
    std::function<void(const Error& reason)> closed;      // loop thread, once
  };
  using Callback = std::function<void(Result<json::Value>)>;

  // `name` is what messages call the peer ("QMP of VM …"). Lines that cannot be understood are logged
  // (seldom) and dropped.
  static Result<std::shared_ptr<PeerClient>> open(EventLoop& loop, UniqueFd socket, Dialect dialect,
                                                  std::string name, std::size_t maximum_line,
                                                  std::optional<LineRate> rate, Handlers handlers);
  ~PeerClient() { close(); }

  // Blocks; never on the loop thread. Errors: those of the peer, timeout, unavailable (the connection is
  // closed).
  Result<json::Value> call(std::string_view method, const json::Value& parameters,
                           std::chrono::milliseconds limit);
  // The same with a descriptor beside the request, as QMP's add-fd wants it.
  Result<json::Value> call_with_descriptor(std::string_view method, const json::Value& parameters,
                                           UniqueFd descriptor, std::chrono::milliseconds limit);
  // The same without waiting; `done` runs on the loop thread, exactly once.
  void call_async(std::string_view method, const json::Value& parameters, std::chrono::milliseconds limit,
                  Callback done);
  // A request with id 0, whose answer nobody waits for.
  void notify(std::string_view method);
  void close();

 private:
  PeerClient(EventLoop& loop, Dialect dialect, std::string name, Handlers handlers)
      : loop_(loop), dialect_(dialect), name_(std::move(name)), handlers_(std::move(handlers)) {}
  void begin_call(std::string_view method, const json::Value& parameters, UniqueFd descriptor,
                  std::chrono::milliseconds limit, Callback done);
  void on_line(std::string_view line);
  void on_closed(const Error& reason);
  // Takes the call out of the table; nullptr when it is answered already.
  Callback take(std::uint64_t id);

  struct Pending {
    Callback done;
    TimerId timer = 0;
  };
  EventLoop& loop_;
  Dialect dialect_;
  std::string name_;
  Handlers handlers_;
  std::shared_ptr<LineChannel> channel_;
  std::mutex mutex_;
  std::map<std::uint64_t, Pending> pending_;  // guarded by mutex_
  std::uint64_t next_id_ = 1;                 // guarded by mutex_
  std::optional<Error> closed_;               // guarded by mutex_
};

}  // namespace bootseal::host
