// The data channel of QEMU's TPM emulator back end: bare TPM commands and responses, one after the other.
//
// The size field of a command is the guest's: QEMU sends as many bytes as it says, up to its buffer, so a
// command may be shorter than its own header or claim more than will ever come. Each such command is answered
// as one of the wrong size, because QEMU waits for an answer without a time limit.
#pragma once

#include <chrono>
#include <optional>

#include "tpm_engine.h"
#include "tpm_response.h"

namespace bootseal::guest {

// What swtpm's data channel can do beyond that of QEMU.
struct TpmDataProfile {
  // TCG's framing is understood: {8, locality u8, size u32} before a command, {size u32} before and {0 u32}
  // after its response (tpm_ioctl.h, SEND_COMMAND_HEADER).
  bool framing = false;
  // The SET_LOCALITY command of Linux' vTPM proxy (of both families), which is no TPM command: handled here,
  // or refused.
  bool set_locality_command = false;
  bool allow_set_locality = false;
  std::uint8_t highest_locality = 4;
};

class TpmDataSession {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // The rest of a command must come within this time after its first byte.
  static constexpr std::chrono::milliseconds kCommandLimit{500};
  static constexpr std::size_t kMaxCommandSize = 4096;

  // `engine` outlives the session.
  explicit TpmDataSession(TpmEngine& engine, TpmDataProfile profile = {})
      : engine_(&engine), profile_(profile) {}

  // Bytes as they arrive; responses are appended to `output`.
  void receive(ByteSpan data, Bytes& output);
  // True while a command is half there: then give_up_if_late() wants to be called, at once (from then on the
  // time counts) and at the deadline.
  [[nodiscard]] bool waiting() const { return framed_ || !buffer_.empty(); }
  [[nodiscard]] std::optional<Time> deadline() const;
  void give_up_if_late(Time now, Bytes& output);

 private:
  bool take_framing();
  // Appends the response. The command's memory is wiped.
  void execute(MutableByteSpan command, Bytes& output);
  Bytes set_locality(ByteSpan command);
  [[nodiscard]] Bytes answer(TpmAnswer what) const;
  void respond(ByteSpan response, Bytes& output);

  TpmEngine* engine_;
  TpmDataProfile profile_;
  bool framed_ = false;  // the command at the front of buffer_ came with TCG's framing
  Bytes buffer_;
  std::optional<Time> started_;  // of the command that is half there
};

}  // namespace bootseal::guest
