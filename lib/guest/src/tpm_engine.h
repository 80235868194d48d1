// The TPM of this process: libtpms with its state in the guest state.
//
// libtpms marshals its whole permanent state and hands it over at the end of each command that changed NV,
// before it produces the response; the engine commits it there and then. So every NV change that a response
// acknowledges is on disk. When that commit fails the TPM enters failure mode, answers TPM_RC_FAILURE, and
// cannot be started again by this process.
//
// Volatile state (PCRs, sessions, transient objects) is never written to disk.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "bootseal/base/fds.h"
#include "bootseal/tpm/client.h"
#include "state_keeper.h"
#include "tpm_result.h"

namespace bootseal::guest {

enum class TpmStateKind : std::uint32_t { permanent = 1, volatile_state = 2, save_state = 3 };

// TPM2_xxx response of 10 bytes with tag TPM_ST_NO_SESSIONS.
Bytes tpm2_error_response(std::uint32_t code);

class LibraryBuffer;

class TpmEngine final : public tpm::Transport {
 public:
  // What power_on() does when the guest state holds no TPM. A new TPM has new seeds, so it is made only where
  // that was asked for.
  enum class WhenMissing { refuse, manufacture };
  using FailureHandler = std::function<void(const std::string& message)>;

  // One engine at a time in a process. `keeper` outlives it. `on_failure` is called once for each time the
  // TPM fails.
  TpmEngine(StateKeeper& keeper, WhenMissing when_missing, FailureHandler on_failure);
  ~TpmEngine() override;
  TpmEngine(const TpmEngine&) = delete;
  TpmEngine& operator=(const TpmEngine&) = delete;

  // _TPM_Init. A TPM that is running is powered off first. State given by set_state() or kept by
  // keep_volatile_state() is used up.
  TpmResult power_on();
  // TPM2_Shutdown when one is due, then the end of all volatile state. Idempotent.
  void power_off();
  // TPM2_Shutdown(STATE), or CLEAR when that fails, unless the last command was a TPM2_Shutdown already: a
  // reset without it counts as a failed authorisation wherever dictionary-attack protection is in use, and
  // enough of them lock the TPM out.
  void shut_down_if_due();
  [[nodiscard]] bool running() const { return running_; }

  // One whole command in, one whole response out, appended to `output`; TPM_RC_FAILURE while the TPM is off.
  // The command is wiped.
  void execute(MutableByteSpan command, Bytes& output);
  // The same for a command that stays as it is.
  Bytes execute(ByteSpan command);
  Result<Bytes> transceive(ByteSpan command) override;
  [[nodiscard]] std::uint64_t commands() const { return commands_; }

  void set_locality(std::uint8_t locality) { locality_ = locality; }
  struct BufferSize {
    std::uint32_t used = 0;
    std::uint32_t minimum = 0;
    std::uint32_t maximum = 0;
  };
  // Sets the command buffer's size when the TPM is off and `wanted` is not 0, and says what holds.
  BufferSize buffer_size(std::uint32_t wanted);

  // The calls below need a running TPM.
  [[nodiscard]] bool established() const;
  TpmResult reset_established(std::uint8_t locality);
  TpmResult hash_start();
  TpmResult hash_data(ByteSpan data);
  TpmResult hash_end();
  // Keeps the volatile state in memory for the next power_on().
  TpmResult keep_volatile_state();
  // The same for a state from elsewhere; empty = none. Any time.
  void set_kept_volatile_state(Bytes state);
  // The bare libtpms state, for migration; kTpmRetry when there is none of this kind.
  TpmResult get_state(TpmStateKind kind, Bytes& state);

  // For an incoming migration, while the TPM is off; permanent before volatile.
  TpmResult set_state(TpmStateKind kind, ByteSpan state);
  // JSON text of libtpms about the TPM; empty while it is off.
  [[nodiscard]] std::string information(std::uint64_t flags) const;

 private:
  struct Callbacks;

  void fail(std::string message);
  std::string library_words();

  StateKeeper& keeper_;
  WhenMissing when_missing_;
  FailureHandler on_failure_;
  bool running_ = false;
  bool shutdown_due_ = false;
  bool failed_ = false;
  std::uint8_t locality_ = 0;
  std::uint64_t commands_ = 0;
  std::unique_ptr<LibraryBuffer> response_;  // used for one command after the other
  Bytes kept_volatile_;
  std::string storage_error_;  // of the callback that failed last
  Pipe library_log_;           // libtpms writes there why it fails
};

}  // namespace bootseal::guest
