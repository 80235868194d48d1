// TCP connections from outside: bytes from a client to libslirp's Unix socket and back.
#pragma once

#include <array>
#include <chrono>
#include <list>
#include <string>

#include "bootseal/base/fds.h"
#include "poll_set.h"

namespace bootseal::netd {

inline constexpr std::size_t kMostConnections = 1024;

class Connections {
 public:
  // `client` is connected; `name` is the socket of Stack::open_port(). False when there are too many already.
  bool add(UniqueFd client, std::string name);
  void prepare(PollSet& set, std::uint32_t& milliseconds);
  void handle(const PollSet& set);
  [[nodiscard]] std::size_t size() const { return connections_.size(); }

 private:
  // One direction.
  struct Pipe {
    std::string waiting;
    bool ended = false;      // nothing more comes
    bool shut_down = false;  // and the other side was told
  };
  struct Connection {
    UniqueFd client, guest;
    std::string name;  // until `guest` is connected
    Pipe to_guest, to_client;
    int client_index = -1, guest_index = -1;
    std::chrono::steady_clock::time_point since;
    bool failed = false;
  };
  static void connect(Connection& connection);
  static bool read(int fd, Pipe& pipe);
  static bool write(int fd, Pipe& pipe);
  static void handle_one(Connection& connection, short client, short guest);

  std::list<Connection> connections_;
};

}  // namespace bootseal::netd
