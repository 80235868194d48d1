// One network interface: QEMU at one side, libslirp and open ports at the other.
#pragma once

#include <chrono>
#include <map>
#include <optional>

#include "connections.h"
#include "stack.h"

namespace bootseal::netd {

// Whether an address is this machine's own: asked of the kernel's routes, answers are kept for a few seconds.
class HostAddresses {
 public:
  bool contains(Ipv4Address address);

 private:
  struct Answer {
    bool own = false;
    std::chrono::steady_clock::time_point until;
  };
  std::map<Ipv4Address, Answer> answers_;
};

class Nic {
 public:
  static Result<std::unique_ptr<Nic>> create(Interface interface, std::size_t index);

  [[nodiscard]] const Interface& interface() const { return interface_; }
  // Other rules and another public address. conflict when what only a start can change is changed.
  Status update(Interface interface);
  // Frames come from and go to this socket from now on.
  void link(UniqueFd qemu);
  [[nodiscard]] bool is_linked() const { return qemu_.valid(); }
  // A listening (Tcp) or bound (Udp) socket for the guest's port of the same number. Replaces one that is
  // there.
  Status open(Opening opening, UniqueFd socket);
  void close(Opening opening);
  // {nicId, linked, connections, openings:[{protocol, address, port}]}
  [[nodiscard]] json::Value status() const;

  void prepare(PollSet& set, std::uint32_t& milliseconds);
  void handle(PollSet& set);

 private:
  // What one client of a UDP port and the guest say to each other: the guest sees the gateway's address and
  // the flow's port.
  struct Flow {
    Opening opening;
    Ipv4Address client;
    std::uint16_t client_port = 0;
    std::chrono::steady_clock::time_point last;
  };
  struct Port {
    UniqueFd socket;
    int index = -1;  // in the poll set
  };

  Nic(Interface interface, std::size_t index) : interface_(std::move(interface)), number_(index) {}
  [[nodiscard]] std::string socket_name(std::uint16_t port) const;
  void send(ByteSpan frame);
  void flush();
  void receive();
  void on_frame(ByteSpan frame);
  bool is_answer(const Packet& packet);
  void accept_clients(Opening opening, int socket);
  void receive_datagrams(Opening opening, int socket);
  std::optional<std::uint16_t> flow_port(Opening opening, Ipv4Address client, std::uint16_t port);

  Interface interface_;
  const std::size_t number_;
  std::unique_ptr<Stack> stack_;
  UniqueFd qemu_;
  int qemu_index_ = -1;
  FrameSplitter splitter_;
  Bytes queue_;  // for QEMU
  std::map<Opening, Port> ports_;
  std::map<std::uint16_t, Flow> flows_;  // by the port that the guest sees
  std::uint16_t next_flow_ = 0;
  Connections connections_;
  HostAddresses host_;
};

}  // namespace bootseal::netd
