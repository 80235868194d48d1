#include "bootseal/guest/guest_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "bootseal/vmgs/store.h"
#include "guest_state_envelope.h"
#include "guest_state_internal.h"

namespace bootseal::guest {
namespace {

using vmgs::Container;
using vmgs::FileId;
using vmgs::Protection;
using vmgs::Store;

// Of our own; ids below 20 and 63 belong to Microsoft (docs/guest-state.md, "Files").
struct PrivateFile {
  FileId id;
  BlobKind kind;
  std::string_view name;
  std::size_t maximum_size;  // of the payload
};
// The sizes bound what the store must hold: the newest state, the one before it and the next file, wherever
// the blocks lie.
constexpr std::array<PrivateFile, 6> kPrivateFiles{{
    {FileId{48}, BlobKind::tpm_permanent, "tpm-permanent", 256U << 10},
    {FileId{49}, BlobKind::uefi_flash, "uefi-flash", 540672},
    {FileId{50}, BlobKind::description, "description", 64U << 10},
    {FileId{51}, BlobKind::generation, "generation", 0},
    {FileId{52}, BlobKind::tpm12_permanent, "tpm12-permanent", 64U << 10},
    {FileId{53}, BlobKind::tpm12_saved_state, "tpm12-saved-state", 64U << 10},
}};
constexpr const PrivateFile& kGenerationFile = kPrivateFiles[3];
constexpr std::size_t kMaximumUniqueIdSize = 4096;
constexpr std::size_t kUniqueIdSize = 20;  // GUID, "ported" flag, padding

const PrivateFile& file_of(Blob blob) {
  const PrivateFile& file = kPrivateFiles[static_cast<std::size_t>(blob) - 1];
  BOOTSEAL_CHECK(static_cast<std::uint8_t>(file.kind) == static_cast<std::uint8_t>(blob));
  return file;
}

// What can be done about each refusal; the last sentence of its message.
std::string remedy_at_a_site(ErrorCode code) {
  const std::string_view last_resort =
      "if there is no such copy, `bootseal vm reset-guest-state NAME` makes a new TPM and new firmware "
      "variables (what is sealed to the "
      "old TPM is lost)";
  switch (code) {
    case ErrorCode::guest_state_missing:
      return fmt::format(
          "put the guest state file of this VM back at this path from where it was moved to or from a "
          "backup; {}",
          last_resort);
    case ErrorCode::guest_state_foreign:
      return fmt::format(
          "put this VM's own file back at this path and the file found here at that of its own VM; {}",
          last_resort);
    case ErrorCode::guest_state_wrong_key:
      return fmt::format(
          "restore the key vault, or put back the copy of the file that belongs to the vault's key; {}",
          last_resort);
    case ErrorCode::guest_state_stale:
      return fmt::format("put the newest copy of the file back at this path; {}", last_resort);
    default:
      return fmt::format(
          "put an undamaged copy of the file, as new as the vault's generation, back at this path; {}",
          last_resort);
  }
}

std::string remedy_for_swtpm(ErrorCode code) {
  const std::string_view last_resort =
      "if there is no such copy, `bootseal-swtpm-setup --overwrite` makes a new TPM (what is sealed to the "
      "old one is lost)";
  switch (code) {
    case ErrorCode::guest_state_foreign:
      return fmt::format("put this TPM's own file back at this path; {}", last_resort);
    case ErrorCode::guest_state_wrong_key:
      return "give the --key it was made with (and none when it was made without)";
    case ErrorCode::guest_state_stale:
      return fmt::format(
          "put the newest copy of the file back at this path; to go on from this older one knowingly, remove "
          "the file .bootseal-swtpm beside it; {}",
          last_resort);
    default:
      return fmt::format("put an undamaged copy of the file back at this path; {}", last_resort);
  }
}

// Where and for whom, for messages.
struct Place {
  std::string name;  // of the file
  VmId vm;
  Audience audience = Audience::site;

  [[nodiscard]] std::string subject() const {
    if (audience == Audience::swtpm) return fmt::format("TPM state file {}", name);
    return fmt::format("guest state file {} of VM {}", name, vm.to_string());
  }
  [[nodiscard]] tl::unexpected<Error> refuse(ErrorCode code, std::string_view what) const {
    return fail(code,
                fmt::format("{}: {}; {}", subject(), what,
                            audience == Audience::swtpm ? remedy_for_swtpm(code) : remedy_at_a_site(code)));
  }
  // As they are: errors of the machine and of the caller. Damage becomes a refusal.
  [[nodiscard]] tl::unexpected<Error> pass(const Error& error) const {
    if (error.code == ErrorCode::corrupt) return refuse(ErrorCode::guest_state_damaged, error.describe());
    return tl::unexpected(error.wrap(subject()));
  }
};

Bytes unique_id_of(const VmId& vm) {
  Bytes content(kUniqueIdSize);
  std::ranges::copy(vm.guid.windows_layout(), content.begin());
  return content;
}

class StoredGuestState final : public GuestState {
 public:
  StoredGuestState(Store store, Place place, Generation generation, std::shared_ptr<void> lock)
      : store_(std::move(store)), place_(std::move(place)), generation_(generation), lock_(std::move(lock)) {}

  [[nodiscard]] Generation generation() const override { return generation_; }

  Result<std::optional<Bytes>> read(Blob blob) override {
    const PrivateFile& file = file_of(blob);
    if (!store_.query(file.id)) return std::optional<Bytes>();
    Result<Bytes> content = store_.read(file.id, kEnvelopeSize + file.maximum_size);
    if (!content) return place_.pass(content.error());
    const Result<OpenedEnvelope> opened = open_envelope(*content);
    if (!opened) return place_.pass(opened.error());
    std::optional<Bytes> payload(to_bytes(opened->payload));
    crypto::wipe(*content);
    return payload;
  }

  Result<Generation> commit(Blob blob, ByteSpan content) override { return commit(file_of(blob), content); }
  Result<Generation> advance() override { return commit(kGenerationFile, {}); }

 private:
  Result<Generation> commit(const PrivateFile& file, ByteSpan content) {
    if (content.size() > file.maximum_size) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} has {} bytes, the guest state holds at most {} of it", file.name,
                              content.size(), file.maximum_size));
    }
    if (failure_) {
      return fail(ErrorCode::conflict,
                  fmt::format("{} takes no more changes after a failed one; its last whole "
                              "state is kept, start the VM again to go on from it",
                              place_.subject()),
                  *failure_);
    }
    const Generation next{generation_.value + 1};
    Bytes bytes = put_in_envelope({.kind = file.kind, .vm = place_.vm, .generation = next}, content);
    const Status written = store_.write(file.id, bytes, Protection::encrypted);
    crypto::wipe(bytes);
    if (!written) {
      failure_ = written.error().wrap(
          fmt::format("writing {} (generation {}) to the {}", file.name, next.value, place_.subject()));
      return tl::unexpected(*failure_);
    }
    generation_ = next;
    return next;
  }

  Store store_;
  Place place_;
  Generation generation_;
  std::optional<Error> failure_;
  std::shared_ptr<void> lock_;  // released before the store closes the file
};

// An exclusive lock on the open file description, given back at the end even when another descriptor of it
// lives on elsewhere.
class FileLock {
 public:
  static Result<std::shared_ptr<void>> take(int fd, const Place& place) {
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) return fail_errno(errno, "duplicating the descriptor of the guest state file");
    struct flock lock = whole_file(F_WRLCK);
    if (::fcntl(copy.get(), F_OFD_SETLK, &lock) != 0) {
      if (errno != EAGAIN && errno != EACCES)
        return fail_errno(errno, fmt::format("locking the guest state file {}", place.name));
      return fail(
          ErrorCode::conflict,
          fmt::format("{} is in use by another process; stop the VM (or the tool) that holds it first",
                      place.subject()));
    }
    return std::shared_ptr<void>(std::make_shared<FileLock>(std::move(copy)));
  }

  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() {
    struct flock lock = whole_file(F_UNLCK);
    ::fcntl(fd_.get(), F_OFD_SETLK, &lock);
  }

 private:
  static struct flock whole_file(int type) {
    struct flock lock {};
    lock.l_type = static_cast<short>(type);
    lock.l_whence = SEEK_SET;
    return lock;
  }

  UniqueFd fd_;
};

std::string name_of(int fd) {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error);
  return error ? fmt::format("(descriptor {})", fd) : target.native();
}

Place place_of(const UniqueFd& fd, const VmId& vm, const Wording& wording) {
  return {.name = wording.file.empty() ? name_of(fd.get()) : wording.file,
          .vm = vm,
          .audience = wording.audience};
}

Result<std::shared_ptr<void>> check_and_lock(const UniqueFd& fd, const Place& place) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, "looking at the guest state file");
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not a regular file; guest state lies in one", place.name));
  if ((::fcntl(fd.get(), F_GETFL) & O_ACCMODE) != O_RDWR) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the guest state file {} is not open for reading and writing", place.name));
  }
  return FileLock::take(fd.get(), place);
}

Result<VmId> read_unique_id(Store& store, const Place& place) {
  if (!store.query(FileId::vm_unique_id)) {
    return place.refuse(ErrorCode::guest_state_damaged,
                        "it is a guest state store, and does not say of which VM (no VM_UNIQUE_ID)");
  }
  const Result<Bytes> content = store.read(FileId::vm_unique_id, kMaximumUniqueIdSize);
  if (!content) return place.refuse(ErrorCode::guest_state_damaged, content.error().describe());
  if (content->size() < sizeof(Guid)) {
    return place.refuse(ErrorCode::guest_state_damaged,
                        fmt::format("its VM_UNIQUE_ID has {} bytes", content->size()));
  }
  return VmId{Guid::from_windows_layout(std::span(*content).first<sizeof(Guid)>())};
}

// Refuses a store that names another VM in its unsealed VM_UNIQUE_ID, before its key is looked at: the
// message is better.
Status check_unique_id(Store& store, const Place& place) {
  BOOTSEAL_TRY(const VmId found, read_unique_id(store, place));
  if (found != place.vm) {
    return place.refuse(ErrorCode::guest_state_foreign,
                        fmt::format("it belongs to VM {}", found.to_string()));
  }
  return {};
}

Status unlock(Store& store, const crypto::Secret& key, const Place& place) {
  if (!store.info().encrypted)
    return place.refuse(ErrorCode::guest_state_damaged, "it is not sealed, as every file of Bootseal is");
  const Status unlocked = store.unlock(key.view());
  if (unlocked) return {};
  if (unlocked.error().code == ErrorCode::permission_denied) {
    return place.refuse(
        ErrorCode::guest_state_wrong_key,
        place.audience == Audience::swtpm
            ? "the key does not open it (it was sealed under another one, or without one, or "
              "its key slots are damaged)"
            : "the key that the vault holds for this VM does not open it (it names this VM, so it "
              "was sealed under an earlier key, or its key slots are damaged)");
  }
  return place.pass(unlocked.error());
}

// Opens every envelope and returns the highest generation.
Result<Generation> check_blobs(Store& store, Generation minimum, const Place& place) {
  const auto removed = store.removed_without_key();
  Generation highest;
  std::vector<std::string> found;
  for (const PrivateFile& file : kPrivateFiles) {
    const auto refuse = [&](ErrorCode code, std::string_view what) {
      return place.refuse(code, fmt::format("{} (file {}): {}", file.name, vmgs::describe(file.id), what));
    };
    if (std::ranges::find(removed, file.id) != removed.end()) {
      return refuse(ErrorCode::guest_state_damaged,
                    "it was removed from the file table by somebody without the key");
    }
    const auto info = store.query(file.id);
    if (!info && file.kind == BlobKind::generation)
      return refuse(ErrorCode::guest_state_damaged, "it is not there: the file was never finished");
    if (!info) continue;
    if (!info->encrypted) return refuse(ErrorCode::guest_state_damaged, "it is not sealed");
    Result<Bytes> content = store.read(file.id, kEnvelopeSize + file.maximum_size);
    if (!content &&
        (content.error().code == ErrorCode::corrupt || content.error().code == ErrorCode::exhausted)) {
      return refuse(ErrorCode::guest_state_damaged, content.error().describe());
    }
    if (!content) return place.pass(content.error());
    const Result<OpenedEnvelope> opened = open_envelope(*content);
    const std::optional<BlobEnvelope> envelope = opened ? std::optional(opened->envelope) : std::nullopt;
    crypto::wipe(*content);
    if (!envelope && opened.error().code == ErrorCode::corrupt)
      return refuse(ErrorCode::guest_state_damaged, opened.error().describe());
    if (!envelope) return place.pass(opened.error());
    if (envelope->vm != place.vm) {
      return refuse(ErrorCode::guest_state_foreign,
                    fmt::format("it belongs to VM {}", envelope->vm.to_string()));
    }
    if (envelope->kind != file.kind) {
      return refuse(ErrorCode::guest_state_damaged,
                    fmt::format("its envelope is of kind {}, not {}", static_cast<int>(envelope->kind),
                                static_cast<int>(file.kind)));
    }
    highest = std::max(highest, envelope->generation);
    found.push_back(fmt::format("{} {}", file.name, envelope->generation.value));
  }
  if (highest < minimum) {
    return place.refuse(
        ErrorCode::guest_state_stale,
        fmt::format("it is of generation {} ({}), and {} of generation {}: it is an old copy", highest.value,
                    fmt::join(found, ", "),
                    place.audience == Audience::swtpm ? "there was one" : "the vault was told",
                    minimum.value));
  }
  return highest;
}

}  // namespace

Result<std::unique_ptr<GuestState>> format_guest_state(std::unique_ptr<vmgs::Device> device, const VmId& vm,
                                                       const crypto::Secret& key, std::string name,
                                                       std::shared_ptr<void> lock, Generation after,
                                                       Audience audience) {
  Place place{.name = std::move(name), .vm = vm, .audience = audience};
  const auto make = [&]() -> Result<Store> {
    BOOTSEAL_TRY(Store store, Store::format(std::move(device), Container::fixed_vhd));
    BOOTSEAL_TRY_STATUS(store.set_first_key(key.view()));
    BOOTSEAL_TRY_STATUS(store.write(FileId::vm_unique_id, unique_id_of(vm), Protection::plain));
    return store;
  };
  Result<Store> store = make();
  if (!store) return place.pass(store.error());
  auto state =
      std::make_unique<StoredGuestState>(*std::move(store), std::move(place), after, std::move(lock));
  // Last: a file without it was never finished, and is refused.
  BOOTSEAL_TRY_STATUS(state->advance());
  return std::unique_ptr<GuestState>(std::move(state));
}

Result<std::unique_ptr<GuestState>> open_guest_state(std::unique_ptr<vmgs::Device> device, const VmId& vm,
                                                     const crypto::Secret& key, Generation minimum,
                                                     std::string name, std::shared_ptr<void> lock,
                                                     Audience audience) {
  Place place{.name = std::move(name), .vm = vm, .audience = audience};
  const auto examination = Store::examine(*device, Container::fixed_vhd);
  if (!examination) return place.pass(examination.error());
  if (examination->condition == vmgs::Condition::empty) {
    return place.refuse(ErrorCode::guest_state_missing,
                        fmt::format("it holds no guest state ({})", examination->reason));
  }
  if (examination->condition != vmgs::Condition::valid)
    return place.refuse(ErrorCode::guest_state_damaged, examination->reason);
  Result<Store> store = Store::open(std::move(device), Container::fixed_vhd);
  if (!store) return place.pass(store.error());
  BOOTSEAL_TRY_STATUS(check_unique_id(*store, place));
  BOOTSEAL_TRY_STATUS(unlock(*store, key, place));
  BOOTSEAL_TRY(const Generation generation, check_blobs(*store, minimum, place));
  return std::unique_ptr<GuestState>(
      std::make_unique<StoredGuestState>(*std::move(store), std::move(place), generation, std::move(lock)));
}

Result<std::unique_ptr<GuestState>> GuestState::format(UniqueFd fd, const VmId& vm, const crypto::Secret& key,
                                                       Generation after, const Wording& wording) {
  const Place place = place_of(fd, vm, wording);
  BOOTSEAL_TRY(std::shared_ptr<void> lock, check_and_lock(fd, place));
  auto device = vmgs::FileDevice::create(std::move(fd), vmgs::kDefaultBodySize + vmgs::kFooterSize);
  if (!device) return place.pass(device.error());
  return format_guest_state(*std::move(device), vm, key, place.name, std::move(lock), after,
                            wording.audience);
}

Result<std::unique_ptr<GuestState>> GuestState::open(UniqueFd fd, const VmId& vm, const crypto::Secret& key,
                                                     Generation minimum, const Wording& wording) {
  const Place place = place_of(fd, vm, wording);
  BOOTSEAL_TRY(std::shared_ptr<void> lock, check_and_lock(fd, place));
  auto device = vmgs::FileDevice::open(std::move(fd));
  if (!device) return place.pass(device.error());
  return open_guest_state(*std::move(device), vm, key, minimum, place.name, std::move(lock),
                          wording.audience);
}

std::size_t GuestState::named_size(const UniqueFd& fd, Blob blob) {
  UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return 0;
  auto device = vmgs::FileDevice::open(std::move(copy));
  if (!device) return 0;
  const Result<Store> store = Store::open(*std::move(device), Container::fixed_vhd);
  const auto info = store ? store->query(file_of(blob).id) : std::nullopt;
  return info && info->size > kEnvelopeSize ? static_cast<std::size_t>(info->size - kEnvelopeSize) : 0;
}

Result<VmId> GuestState::named_vm(const UniqueFd& fd, const Wording& wording) {
  const Place place = place_of(fd, {}, wording);
  UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return fail_errno(errno, "duplicating the descriptor of the guest state file");
  auto device = vmgs::FileDevice::open(std::move(copy));
  if (!device) return place.pass(device.error());
  Result<Store> store = Store::open(*std::move(device), Container::fixed_vhd);
  if (!store && store.error().code == ErrorCode::not_found)
    return place.refuse(ErrorCode::guest_state_missing, store.error().describe());
  if (!store) return place.pass(store.error());
  return read_unique_id(*store, place);
}

}  // namespace bootseal::guest
