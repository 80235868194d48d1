// The state of bootseal-swtpm: our guest state where swtpm keeps its own (docs/bootseal-swtpm.md).
//
// In a directory it is the file tpm2-00.permall, a sealed VMGS store under swtpm's name, so that programs
// which look for that name find it and swtpm, which cannot read it, does not silently make a new TPM beside
// it. Beside it: tpm2-00.volatilestate (sealed likewise, only after STORE_VOLATILE), .lock (as swtpm's) and
// .bootseal-swtpm, which remembers that there was a TPM here, which one, and its generation. A TPM 1.2 has
// tpm-00. instead of tpm2-00.; a directory holds one TPM. What a TPM 1.2 saved for TPM_Startup(STATE) lies in
// the guest state.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/guest/guest_state.h"
#include "bootseal/guest/tpm_version.h"

namespace bootseal::guest {

struct SwtpmLocation {
  // The file of the state: DIR/tpm2-00.permall (tpm-00.permall), or the one that a file:// URI names.
  std::filesystem::path file;
  // False for file://, where there is only that file: what is remembered beside it in a directory is not.
  bool in_directory = true;
  mode_t mode = 0640;  // of files that are made
  TpmVersion version = TpmVersion::v2_0;

  static SwtpmLocation directory(const std::filesystem::path& folder, mode_t mode = 0640,
                                 TpmVersion version = TpmVersion::v2_0);
  // "dir://PATH" or "file://PATH". Errors: invalid_argument.
  static Result<SwtpmLocation> from_uri(std::string_view uri, mode_t mode = 0640,
                                        TpmVersion version = TpmVersion::v2_0);

  [[nodiscard]] std::filesystem::path volatile_file() const;
  // Where swtpm keeps what a TPM 1.2 saved; in_directory only.
  [[nodiscard]] std::filesystem::path saved_file() const;
  // Where a TPM of the other family would lie; in_directory only.
  [[nodiscard]] SwtpmLocation other_family() const;
  [[nodiscard]] std::filesystem::path lock_file() const;    // in_directory only
  [[nodiscard]] std::filesystem::path memory_file() const;  // in_directory only
};

// What lies at a location, as far as it can be told without a key.
enum class SwtpmContent : std::uint8_t { nothing, ours, foreign };

struct BareStates;

// The generation of a state that was made where nothing says that there ever was a TPM, and that has taken no
// TPM yet. A new TPM is made in such a state only: any other that holds none is one whose TPM did not come.
inline constexpr Generation kNewSwtpmState{1};

class SwtpmStore {
 public:
  // `key` is the user's, 16 or 32 bytes; without one the state is sealed under a key that anybody can know
  // (it finds damage, and hides and protects nothing).
  SwtpmStore(SwtpmLocation location, const crypto::Secret* key);

  [[nodiscard]] const SwtpmLocation& location() const { return location_; }

  enum class WhenMissing : std::uint8_t {
    refuse,
    make,      // a new state where there never was one; where there was one that is gone, refuse
    make_for,  // the same for a state that is about to be put in: also where there was one. Its generation is
               // above kNewSwtpmState
  };
  // Locks and opens the state, and remembers its generation. Errors: those of GuestState::open;
  // invalid_argument instead of guest_state_wrong_key when it is known to want a key of another size;
  // guest_state_missing when there was a state (the memory file tells, or this object had it open) and its
  // file is gone; unsupported when the file is swtpm's own
  // (import it) or there is a TPM of the other family; not_found for a missing directory; conflict when
  // another process has it.
  Result<std::unique_ptr<GuestState>> open(WhenMissing when_missing);
  // Makes a new state and puts it in the place of whatever is there (of either family), once `fill` has
  // succeeded. Volatile state and the other family's files go last. After an error the old state is there
  // unchanged, or the new one whole. Errors: conflict, io_error, those of `fill`.
  Status replace_all(const std::function<Status(GuestState&)>& fill);
  // Whether the file is still the one that was opened last.
  [[nodiscard]] bool is_current() const;
  // The same in words, for each commit: guest_state_missing.
  [[nodiscard]] Status check_current() const;

  // Remembers the generation beside the file, so that an older copy of the file alone is recognised. In a
  // directory, after open(). Errors: io_error.
  Status remember(Generation generation);
  // The same without waiting for the disk: it outlives this process, not a power cut. remember() makes it
  // durable.
  Status note(Generation generation);

  // Volatile state, sealed for this TPM and for the permanent state that it was stored with.
  Status write_volatile(ByteSpan state, ByteSpan permanent);
  struct Volatile {
    Bytes state;              // empty: none, or not used
    std::string ignored_why;  // when there is one that belongs to another permanent state
  };
  // Errors: guest_state_damaged, io_error.
  Result<Volatile> read_volatile(ByteSpan permanent);
  Status remove_volatile();

  struct NamedState {
    std::string name;  // "permall", "volatilestate", "savestate"
    std::uint64_t size = 0;
  };
  // As swtpm's --print-states. Errors: io_error.
  [[nodiscard]] Result<std::vector<NamedState>> list() const;
  [[nodiscard]] Result<SwtpmContent> content() const;
  // Whether the directory holds a TPM of the other family, ours or swtpm's. Errors: io_error.
  [[nodiscard]] Result<bool> holds_other_family() const;

  // Takes over the state that swtpm left at the location (its files, plain or encrypted with the key): the
  // old files stay beside ours with ".swtpm" added to their names. Nothing has changed after an error, and an
  // import that was killed is done again from where it started. swtpm must not run: in a file:// URI's file
  // it holds no lock that would tell.
  // Errors: not_found when there is none, already_exists when a state of ours (of either family) or the
  // renamed file is there, those of swtpm's envelope (state_envelope.h), guest_state_damaged when libtpms
  // does not take it, io_error.
  Status import_swtpm();

 private:
  struct Memory {
    VmId vm;
    Generation generation;
    std::optional<std::uint64_t> key_bits;  // of the user's key when it was written; 0: none
  };
  [[nodiscard]] std::uint64_t key_bits() const;
  [[nodiscard]] Result<std::optional<Memory>> read_memory() const;
  [[nodiscard]] std::string memory_text(Generation generation) const;
  // False when the file is not there as we write it: it has to be made.
  bool write_memory_in_place(Generation generation);
  // The locked file of a file:// URI; nothing in a directory, where lock() is enough.
  struct Place {
    UniqueFd fd;
    bool made = false;  // by us, and empty
  };
  Result<Place> take_place();
  void forget_opened();
  Result<std::unique_ptr<GuestState>> open_what_is_there(WhenMissing when_missing);
  Status lock();
  // `fill` runs before the new state takes the file's name; an error of it leaves all as it was.
  Result<std::unique_ptr<GuestState>> make(const VmId& vm, Generation after,
                                           const std::function<Status(GuestState&)>& fill = {});
  Result<std::unique_ptr<GuestState>> make_at(const std::filesystem::path& path, UniqueFd empty,
                                              const VmId& vm, Generation after,
                                              const std::function<Status(GuestState&)>& fill);
  Status replace_by(const BareStates& states);
  Status put_back_kept();
  [[nodiscard]] Status check_family() const;
  Status remove_other_family();
  [[nodiscard]] std::uint64_t saved_size() const;  // bytes; 0: none
  [[nodiscard]] crypto::Secret volatile_key() const;

  SwtpmLocation location_;
  Wording wording_;
  crypto::Secret seal_key_;  // 32 bytes
  const crypto::Secret* user_key_;
  std::optional<VmId> vm_;
  UniqueFd lock_;
  UniqueFd opened_;  // O_PATH of the state's file
  UniqueFd memory_;  // the memory file, once it was written in place
  std::optional<Generation> remembered_;
  bool served_ = false;  // a state was open here before
};

}  // namespace bootseal::guest
