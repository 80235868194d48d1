// The guest state of one VM: what its TPM and its firmware remember, sealed in one VMGS v3 file
// (docs/guest-state.md).
//
// Every blob lies in a private file id behind an envelope {magic, kind, VM id, generation} that is encrypted
// with it, so that a blob of another VM, of another kind or of another time is recognised. Every commit has a
// generation one higher than the last; a commit returns only when it is on disk. Thread compatible; one owner
// per file (the file is locked).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::guest {

// The numbers are on disk (4 is taken).
enum class Blob : std::uint8_t {
  tpm_permanent = 1,  // libtpms "permall"; at most 256 KiB
  uefi_flash = 2,     // the variable flash of the 4M build; at most its 540672 bytes
  // JSON: format version, library versions, when and by what it was made, EK and AK public keys and
  // certificates; at most 64 KiB
  description = 3,
  // bootseal-swtpm without --tpm2: libtpms' "permall" of a TPM 1.2, and what TPM_SaveState left for the next
  // TPM_Startup(STATE) (empty: nothing); at most 64 KiB each. A file holds the TPM of one family only.
  tpm12_permanent = 5,
  tpm12_saved_state = 6,
};

// Who reads the messages: the operator of a Bootseal site, with its vault, or whoever runs bootseal-swtpm,
// where the key is a file and the VM id one that the file was given when it was made.
enum class Audience : std::uint8_t { site, swtpm };

// How messages about a file are written.
struct Wording {
  Audience audience = Audience::site;
  std::string file;  // its name; empty: found out from the descriptor
};

class GuestState {
 public:
  // Formats the empty regular file `fd` (open for reading and writing; its 4 MiB are allocated at once),
  // seals it under `key` (32 bytes) and writes VM_UNIQUE_ID. Its first generation is the one after `after`: a
  // replacement goes on where the vault's count is. Errors: already_exists when the
  // file is not empty, invalid_argument (descriptor, key), conflict when another process holds the file,
  // io_error, exhausted. A file that an error leaves behind is removed and made anew.
  static Result<std::unique_ptr<GuestState>> format(UniqueFd fd, const VmId& vm, const crypto::Secret& key,
                                                    Generation after = {}, const Wording& wording = {});

  // Opens and checks everything; changes nothing on disk. Errors, each with its remedy in the message:
  //   guest_state_missing   the file is empty (0 bytes) or holds no store
  //   guest_state_foreign   VM_UNIQUE_ID or an envelope names another VM
  //   guest_state_wrong_key no key slot opens with `key`
  //   guest_state_damaged   a header, table, envelope or authentication tag is bad
  //   guest_state_stale     the generation found is below `minimum`
  //   conflict              another process holds the file
  //   unsupported           a later version of Bootseal wrote the file
  //   invalid_argument      not a regular file, not open for both, or a key of another size
  //   io_error              the file cannot be read
  // The lock belongs to the open file description: whoever hands `fd` over closes its own copy, or keeps the
  // file locked.
  static Result<std::unique_ptr<GuestState>> open(UniqueFd fd, const VmId& vm, const crypto::Secret& key,
                                                  Generation minimum, const Wording& wording = {});
  // The bytes of a blob as the table says that is in the clear, not authenticated; 0 when it is not there, or
  // when the file cannot be read.
  static std::size_t named_size(const UniqueFd& fd, Blob blob);
  // The VM that the file names in the clear, not authenticated; open() says whether it is right. Errors:
  // guest_state_missing and guest_state_damaged as open(), io_error.
  static Result<VmId> named_vm(const UniqueFd& fd, const Wording& wording = {});

  virtual ~GuestState() = default;
  [[nodiscard]] virtual Generation generation() const = 0;
  // The blob as last committed; nullopt when it was never written.
  [[nodiscard]] virtual Result<std::optional<Bytes>> read(Blob blob) = 0;
  // Writes, flushes, and returns the new generation. On an error the content last committed stays readable
  // and the object refuses further commits (conflict); the file holds the old or the new content, whole.
  // Errors: invalid_argument when the content is too large (nothing else changes then), io_error, exhausted.
  virtual Result<Generation> commit(Blob blob, ByteSpan content) = 0;
  // A commit that changes nothing but the generation (done at each start).
  virtual Result<Generation> advance() = 0;
};

}  // namespace bootseal::guest
