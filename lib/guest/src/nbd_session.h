// One client of the variable flash: the server side of NBD, fixed newstyle handshake and simple replies.
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
//
// Options: EXPORT_NAME, ABORT, LIST, INFO, GO; others are refused. Commands: READ, WRITE (with FUA), FLUSH,
// DISC; others are refused. The only export is "variables" (also as the default export, ""),
// kVariableFlashSize bytes, of any alignment.
#pragma once

#include "variable_flash.h"

namespace bootseal::guest {

class NbdSession {
 public:
  // `flash` outlives the session.
  explicit NbdSession(VariableFlash& flash) : flash_(flash) {}

  // What the server says first.
  static Bytes greeting();

  // Bytes as they arrive, in pieces of any size; answers are appended to `output`. Stops taking requests
  // (they wait inside) while `output` holds more than kOutputLimit bytes; call again with no data when it has
  // drained.
  void receive(ByteSpan data, VariableFlash::Time now, Bytes& output);
  // False when the connection is to be closed once `output` is sent: the client asked for it or broke the
  // protocol.
  [[nodiscard]] bool open() const { return state_ != State::closed; }

  static constexpr std::size_t kOutputLimit = std::size_t{2} << 20;

 private:
  enum class State : std::uint8_t { client_flags, options, transmission, closed };

  bool step(VariableFlash::Time now, Bytes& output);
  bool client_flags();
  bool option(Bytes& output);
  void information(std::uint32_t option, ByteSpan data, Bytes& output);
  bool request(VariableFlash::Time now, Bytes& output);
  std::uint32_t write(std::uint64_t offset, ByteSpan data, bool force_unit_access, VariableFlash::Time now);
  bool close(std::string_view reason);

  VariableFlash& flash_;
  State state_ = State::client_flags;
  bool no_zeroes_ = false;
  unsigned options_ = 0;
  Bytes buffer_;
};

}  // namespace bootseal::guest
