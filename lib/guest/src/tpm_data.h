// The data channel of QEMU's TPM emulator back end: bare TPM 2.0 commands and responses, one after the other.
//
// The size field of a command is the guest's: QEMU sends as many bytes as it says, up to its buffer, so a
// command may be shorter than its own header or claim more than will ever come. Each such command is answered
// with TPM_RC_COMMAND_SIZE, because QEMU waits for an answer without a time limit.
#pragma once

#include <chrono>
#include <optional>

#include "tpm_engine.h"

namespace bootseal::guest {

class TpmDataSession {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // The rest of a command must come within this time after its first byte.
  static constexpr std::chrono::milliseconds kCommandLimit{500};
  static constexpr std::size_t kMaxCommandSize = 4096;

  // `engine` outlives the session.
  explicit TpmDataSession(TpmEngine& engine) : engine_(engine) {}

  // Bytes as they arrive; responses are appended to `output`.
  void receive(ByteSpan data, Time now, Bytes& output);
  // When give_up_if_late() wants to be called; nullopt while no command is half there.
  [[nodiscard]] std::optional<Time> deadline() const;
  void give_up_if_late(Time now, Bytes& output);

 private:
  TpmEngine& engine_;
  Bytes buffer_;
  Time started_{};
};

}  // namespace bootseal::guest
