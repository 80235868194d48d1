// The TPM of this process: libtpms with its state in the guest state.
//
// libtpms marshals its whole permanent state and hands it over at the end of each command that changed NV,
// before it produces the response; the engine commits it there and then. So every NV change that a response
// acknowledges is on disk. When that commit fails the TPM enters failure mode, answers TPM_RC_FAILURE, and
// cannot be started again by this process.
//
// Volatile state (PCRs, sessions, transient objects) is never written to disk. What a TPM 1.2 saves for
// TPM_Startup(STATE) is: the guest state keeps it like the permanent state.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "bootseal/base/fds.h"
#include "bootseal/guest/tpm_version.h"
#include "bootseal/tpm/client.h"
#include "state_keeper.h"
#include "tpm_result.h"

namespace bootseal::guest {

enum class TpmStateKind : std::uint32_t { permanent = 1, volatile_state = 2, save_state = 3 };

class LibraryBuffer;

class TpmEngine final : public tpm::Transport {
 public:
  // What power_on() does when the guest state holds no TPM. A new TPM has new seeds, so it is made only where
  // that was asked for.
  enum class WhenMissing { refuse, manufacture };
  using FailureHandler = std::function<void(const std::string& message)>;

  // One engine at a time in a process. `keeper` outlives it. `on_failure` is called once for each time the
  // TPM fails.
  TpmEngine(StateKeeper& keeper, WhenMissing when_missing, FailureHandler on_failure,
            TpmVersion version = TpmVersion::v2_0);
  ~TpmEngine() override;
  TpmEngine(const TpmEngine&) = delete;
  TpmEngine& operator=(const TpmEngine&) = delete;
  [[nodiscard]] TpmVersion version() const { return version_; }
  // Where the guest state keeps it.
  [[nodiscard]] Blob permanent_blob() const;
  // Makes libtpms that of the family, in this process, while no TPM is running.
  static TpmResult choose(TpmVersion version);

  // From level 2 on `say` gets a line for each command (its code, its result and their sizes), from 5 on also
  // libtpms' own words about what it does, without the bytes that it works on. 0 and 1: nothing.
  void trace(unsigned level, std::function<void(std::string_view)> say);

  // _TPM_Init. A TPM that is running is powered off first. State given by set_state() or kept by
  // keep_volatile_state() is used up. A guest state that holds a TPM of the other family is refused.
  TpmResult power_on();
  void set_when_missing(WhenMissing when_missing) { when_missing_ = when_missing; }
  // Whether a permanent state came in by set_state() since the last power_on().
  [[nodiscard]] bool permanent_came_in() const { return permanent_came_in_; }
  // TPM2_Shutdown when one is due, then the end of all volatile state. Idempotent.
  void power_off();
  // TPM2_Shutdown(STATE), or CLEAR when that fails, unless the last command was a TPM2_Shutdown already: a
  // reset without it counts as a failed authorisation wherever dictionary-attack protection is in use, and
  // enough of them lock the TPM out. A TPM 1.2 has nothing like it.
  void shut_down_if_due();
  [[nodiscard]] bool running() const { return running_; }

  // One whole command in, one whole response out, appended to `output`; TPM_RC_FAILURE or TPM_FAIL while the
  // TPM is off. The command is wiped.
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
  // The bare libtpms state, for migration; kTpmRetry when there is none of this kind (a saved state is the
  // one that the next TPM_Startup(STATE) would find).
  TpmResult get_state(TpmStateKind kind, Bytes& state);

  // For an incoming migration, while the TPM is off; permanent before volatile.
  TpmResult set_state(TpmStateKind kind, ByteSpan state);
  // JSON text of libtpms about the TPM; empty while it is off.
  [[nodiscard]] std::string information(std::uint64_t flags) const;

 private:
  struct Callbacks;

  static TpmEngine* current_;  // libtpms' callbacks have no context pointer

  static TpmResult register_with_library(TpmVersion version);
  Status check_family();
  Status commit(Blob blob, ByteSpan content);
  [[nodiscard]] Result<Bytes> saved_state();
  Status drop_saved_state();
  // `result` of a call that may have stored something.
  TpmResult after_storing(TpmResult result);
  [[nodiscard]] Bytes failure_response() const;
  void fail(std::string message);
  std::string library_words();
  std::string library_text();
  void trace_library();

  StateKeeper& keeper_;
  WhenMissing when_missing_;
  FailureHandler on_failure_;
  TpmVersion version_;
  bool running_ = false;
  bool shutdown_due_ = false;
  bool failed_ = false;
  bool parted_ = false;  // what libtpms has in memory and what is stored
  std::uint8_t locality_ = 0;
  std::uint64_t commands_ = 0;
  std::unique_ptr<LibraryBuffer> response_;  // used for one command after the other
  Bytes kept_volatile_;
  bool permanent_came_in_ = false;  // since the last power_on()
  Bytes incoming_saved_;
  std::string storage_error_;  // of the callback that failed last
  unsigned trace_level_ = 0;
  std::function<void(std::string_view)> trace_;
  Pipe library_log_;  // libtpms writes there why it fails
};

}  // namespace bootseal::guest
