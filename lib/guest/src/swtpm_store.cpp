#include "bootseal/guest/swtpm_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bootseal/crypto/aead.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/vmgs/store.h"
#include "swtpm_volatile.h"

namespace bootseal::guest {
namespace {

constexpr std::string_view kSealLabel = "bootseal-swtpm guest state 1";
// What stands for the user's key when there is none. Anybody can know it.
constexpr std::string_view kNoKey = "bootseal-swtpm: no key was given";
constexpr mode_t kLockMode = 0660;  // as swtpm's

constexpr int kAttempts = 8;  // while somebody else puts another file in the place

// `remembered`: by the file beside it; else by this process, which had it open.
tl::unexpected<Error> missing(const SwtpmLocation& location, bool remembered) {
  const std::string memory = remembered ? location.memory_file().native() : "";
  return fail(
      ErrorCode::guest_state_missing,
      fmt::format("TPM state file {} is gone: there was a TPM here ({}). Put the file back from where it was "
                  "moved to or from a backup. To make a new TPM knowingly (what is sealed to the old one is "
                  "lost), {} or run `bootseal-swtpm-setup --overwrite`",
                  location.file.native(), remembered ? memory + " remembers it" : "this process served it",
                  remembered ? "remove " + memory : "start bootseal-swtpm again"));
}

tl::unexpected<Error> of_swtpm(const SwtpmLocation& location) {
  return fail(
      ErrorCode::unsupported,
      fmt::format(
          "TPM state file {} is not one of bootseal-swtpm, but swtpm's or damaged at its start. "
          "A state that swtpm made is taken over by `bootseal-swtpm-setup {}--tpm-state {} "
          "--import-swtpm` (with the key options it was made with); its old file stays beside "
          "the new one",
          location.file.native(), location.version == TpmVersion::v2_0 ? "--tpm2 " : "",
          location.in_directory ? location.file.parent_path().native() : "file://" + location.file.native()));
}

// Whether one of the two header sectors names our container.
Result<SwtpmContent> classify(int fd) {
  constexpr std::string_view kSignature = "GUESTRTS";
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno(errno, "looking at the TPM state file");
  if (S_ISREG(status.st_mode) && status.st_size == 0) return SwtpmContent::nothing;
  for (const off_t sector : {off_t{0}, off_t{vmgs::kSmallSectorSize}}) {
    Bytes start(kSignature.size());
    const ssize_t count = ::pread(fd, start.data(), start.size(), sector);
    if (count < 0) return fail_errno(errno, "reading the TPM state file");
    if (as_text(start) == kSignature) return SwtpmContent::ours;
  }
  return SwtpmContent::foreign;
}

// The lock belongs to the open file description.
Status lock_whole(int fd, const std::filesystem::path& state) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &whole) == 0) return {};
  if (errno != EAGAIN && errno != EACCES)
    return fail_errno(errno, fmt::format("locking the TPM state {}", state.native()));
  return fail(
      ErrorCode::conflict,
      fmt::format("the TPM state {} is in use by another process; end that one first", state.native()));
}

// Whether the path still names the file that is open.
bool names(const std::filesystem::path& path, int fd) {
  struct stat opened {};
  struct stat now {};
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &now) == 0 && opened.st_dev == now.st_dev &&
         opened.st_ino == now.st_ino;
}

tl::unexpected<Error> always_replaced(const std::filesystem::path& path) {
  return fail(ErrorCode::conflict,
              fmt::format("{} is replaced again and again; end what replaces it first", path.native()));
}

Status set_mode(int fd, mode_t mode) {
  if (::fchmod(fd, mode) != 0) return fail_errno(errno, "setting the mode of the TPM state file");
  return {};
}

}  // namespace

SwtpmStore::SwtpmStore(SwtpmLocation location, const crypto::Secret* key)
    : location_(std::move(location)),
      wording_{.audience = Audience::swtpm, .file = location_.file.native()},
      user_key_(key) {
  Bytes derived = crypto::hkdf_sha256(key != nullptr ? key->view() : as_bytes(kNoKey), {},
                                      as_bytes(kSealLabel), crypto::kAesKeySize);
  seal_key_ = crypto::Secret::copy_of(derived);
  crypto::wipe(derived);
}

// A lock on what a path names counts only when the path still names it afterwards.
Result<std::unique_ptr<GuestState>> SwtpmStore::open(WhenMissing when_missing) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    forget_opened();
    BOOTSEAL_TRY_STATUS(lock());
    auto state = open_what_is_there(when_missing);
    if (state && !is_current()) continue;
    served_ = served_ || state.has_value();
    return state;
  }
  return always_replaced(location_.file);
}

// The folder may be another one than it was.
void SwtpmStore::forget_opened() {
  vm_.reset();
  opened_.reset();
  memory_.reset();
  remembered_.reset();
}

Result<std::unique_ptr<GuestState>> SwtpmStore::open_what_is_there(WhenMissing when_missing) {
  BOOTSEAL_TRY(const std::optional<Memory> memory, read_memory());
  UniqueFd fd(::open(location_.file.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid() && errno != ENOENT)
    return fail_errno(errno, fmt::format("opening the TPM state file {}", location_.file.native()));
  SwtpmContent found = SwtpmContent::nothing;
  if (fd.valid()) {
    BOOTSEAL_TRY(found, classify(fd.get()));
  }
  if (found == SwtpmContent::foreign) return of_swtpm(location_);
  if (found == SwtpmContent::nothing) {
    BOOTSEAL_TRY_STATUS(check_family());
    if ((memory || served_) && when_missing != WhenMissing::make_for)
      return missing(location_, memory.has_value());
    if (when_missing == WhenMissing::refuse) {
      return fail(ErrorCode::not_found, fmt::format("there is no TPM state at {}", location_.file.native()));
    }
    const bool first = when_missing == WhenMissing::make;
    const Generation after = first ? Generation{} : kNewSwtpmState;
    return make(memory ? memory->vm : VmId::random(), memory ? std::max(memory->generation, after) : after);
  }
  BOOTSEAL_TRY(const VmId vm, GuestState::named_vm(fd, wording_));
  if (memory && memory->vm != vm) {
    return fail(
        ErrorCode::guest_state_foreign,
        fmt::format("TPM state file {}: it is that of TPM {}, and this directory's is {}. Put this TPM's "
                    "own file back; to go on with the one found here knowingly, remove {}",
                    location_.file.native(), vm.to_string(), memory->vm.to_string(),
                    location_.memory_file().native()));
  }
  UniqueFd path(::open(location_.file.c_str(), O_PATH | O_CLOEXEC));
  if (path.valid() && !names(location_.file, fd.get())) path.reset();  // open() tries again
  auto state =
      GuestState::open(std::move(fd), vm, seal_key_, memory ? memory->generation : Generation{}, wording_);
  if (!state && state.error().code == ErrorCode::guest_state_wrong_key && memory && memory->key_bits &&
      *memory->key_bits != key_bits()) {
    const auto described = [](std::uint64_t bits) {
      return bits == 0 ? std::string("without a key") : fmt::format("with a key of {} bits", bits);
    };
    return fail(ErrorCode::invalid_argument,
                fmt::format("TPM state file {} was sealed {}, and is opened {}", location_.file.native(),
                            described(*memory->key_bits), described(key_bits())));
  }
  if (!state) return state;
  vm_ = vm;
  opened_ = std::move(path);
  // No generation for the use itself: TPM2_Startup commits before it is answered, TPM_Startup when it uses up
  // what was saved, and a use without a commit leaves nothing that a copy from before would lack.
  if (memory) remembered_ = memory->generation;
  // A full disk must not keep a TPM from starting: the caller remembers again, and says when that fails.
  static_cast<void>(remember((*state)->generation()));
  return state;
}

// Without a directory's lock file the state's own file is the lock, made empty where there is none.
Result<SwtpmStore::Place> SwtpmStore::take_place() {
  if (location_.in_directory) return Place{};
  const std::filesystem::path& path = location_.file;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, location_.mode));
    const bool made = fd.valid();
    if (!made && errno == EEXIST) fd.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid() && errno == ENOENT && std::filesystem::exists(path.parent_path())) continue;
    if (!fd.valid()) return fail_errno(errno, fmt::format("opening the TPM state file {}", path.native()));
    BOOTSEAL_TRY_STATUS(lock_whole(fd.get(), path));
    if (names(path, fd.get())) return Place{std::move(fd), made};
  }
  return always_replaced(path);
}

// Beside its place and then renamed, so that no half-made state is ever found; an empty file that a file://
// URI names is filled in place, since it may be all that we may write.
Result<std::unique_ptr<GuestState>> SwtpmStore::make(const VmId& vm, Generation after,
                                                     const std::function<Status(GuestState&)>& fill) {
  BOOTSEAL_TRY(Place place, take_place());
  struct stat status {};
  if (place.fd.valid() && !fill && (::fstat(place.fd.get(), &status) != 0 || status.st_size != 0)) {
    return fail(
        ErrorCode::conflict,
        fmt::format("another process has just made the TPM state {}; start again", location_.file.native()));
  }
  const bool in_place = place.fd.valid() && !place.made && !fill;
  const std::filesystem::path path =
      in_place ? location_.file : std::filesystem::path(location_.file.native() + ".new");
  auto state = make_at(path, in_place ? std::move(place.fd) : UniqueFd(), vm, after, fill);
  if (!state) {
    if (!in_place) ::unlink(path.c_str());
    if (place.made) ::unlink(location_.file.c_str());
    return state;
  }
  vm_ = vm;
  opened_.reset(::open(location_.file.c_str(), O_PATH | O_CLOEXEC));
  remembered_.reset();
  memory_.reset();
  BOOTSEAL_TRY_STATUS(remember((*state)->generation()));
  return state;
}

// In `empty`, or when there is none in a new file at `path`, which is renamed.
Result<std::unique_ptr<GuestState>> SwtpmStore::make_at(const std::filesystem::path& path, UniqueFd empty,
                                                        const VmId& vm, Generation after,
                                                        const std::function<Status(GuestState&)>& fill) {
  const bool in_place = empty.valid();
  if (!in_place) {
    ::unlink(path.c_str());  // of an earlier attempt that was killed
    BOOTSEAL_TRY(empty, open_file(path, O_RDWR | O_CREAT | O_EXCL, location_.mode));
    BOOTSEAL_TRY_STATUS(set_mode(empty.get(), location_.mode));
  }
  BOOTSEAL_TRY(auto state, GuestState::format(std::move(empty), vm, seal_key_, after, wording_));
  if (fill) BOOTSEAL_TRY_STATUS(fill(*state));
  if (in_place) return state;
  if (::rename(path.c_str(), location_.file.c_str()) != 0)
    return fail_errno(errno, fmt::format("renaming {} to {}", path.native(), location_.file.native()));
  BOOTSEAL_TRY_STATUS(sync_folder(location_.file.parent_path()));
  return state;
}

bool SwtpmStore::is_current() const {
  return opened_.valid() && names(location_.file, opened_.get());
}

Status SwtpmStore::check_current() const {
  if (is_current()) return {};
  return fail(
      ErrorCode::guest_state_missing,
      fmt::format("TPM state file {} was removed or replaced while its TPM was running, so what changes "
                  "from here on would be lost; put the file back, then start the TPM again",
                  location_.file.native()));
}

// swtpm's own lock, so that the two programs keep each other out of a directory as well.
Status SwtpmStore::lock() {
  if (!location_.in_directory) return {};
  const std::filesystem::path path = location_.lock_file();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (lock_.valid() && names(path, lock_.get())) return {};
    lock_.reset();
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kLockMode));
    if (!fd.valid()) return fail_errno(errno, fmt::format("opening the lock file {}", path.native()));
    BOOTSEAL_TRY_STATUS(lock_whole(fd.get(), location_.file));
    lock_ = std::move(fd);
  }
  return always_replaced(path);
}

std::uint64_t SwtpmStore::key_bits() const {
  return user_key_ != nullptr ? user_key_->size() * 8 : 0;
}

crypto::Secret SwtpmStore::volatile_key() const {
  Bytes key = crypto::hkdf_sha256(seal_key_.view(), vm_->guid.bytes,
                                  as_bytes("bootseal-swtpm volatile state 1"), crypto::kAesKeySize);
  crypto::Secret result = crypto::Secret::copy_of(key);
  crypto::wipe(key);
  return result;
}

Status SwtpmStore::write_volatile(ByteSpan state, ByteSpan permanent) {
  if (!vm_) return fail(ErrorCode::conflict, "no TPM state is open");
  const Bytes sealed = seal_volatile(volatile_key(), {*vm_, crypto::sha256(permanent)}, state);
  return replace_file(location_.volatile_file(), sealed, location_.mode);
}

Result<SwtpmStore::Volatile> SwtpmStore::read_volatile(ByteSpan permanent) {
  if (!vm_) return fail(ErrorCode::conflict, "no TPM state is open");
  const std::filesystem::path path = location_.volatile_file();
  const Result<Bytes> sealed = read_file(path, kMaximumVolatileFile);
  if (!sealed && sealed.error().code == ErrorCode::not_found) return Volatile{};
  if (!sealed) return tl::unexpected(sealed.error());
  auto opened = open_volatile(volatile_key(), *sealed);
  if (!opened) {
    return fail(ErrorCode::guest_state_damaged,
                fmt::format("volatile TPM state {}: {}; remove it to start the TPM as after a power cycle",
                            path.native(), opened.error().describe()));
  }
  if (opened->owner.vm == *vm_ && opened->owner.permanent == crypto::sha256(permanent))
    return Volatile{std::move(opened->state), ""};
  crypto::wipe(opened->state);
  return Volatile{
      {},
      fmt::format("the volatile TPM state {} is not used: the permanent state has changed since it was "
                  "stored, so it is not where this TPM stopped",
                  path.native())};
}

Status SwtpmStore::remove_volatile() {
  if (::unlink(location_.volatile_file().c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, fmt::format("removing {}", location_.volatile_file().native()));
  return {};
}

// The new state goes on where the memory's count is, under the TPM id that it names: from the rename on the
// memory fits the new state as it fitted the old one. What belongs to the old TPM goes afterwards, since
// nothing takes it for the new one's.
Status SwtpmStore::replace_all(const std::function<Status(GuestState&)>& fill) {
  forget_opened();
  BOOTSEAL_TRY_STATUS(lock());
  const auto memory = read_memory();  // one that cannot be read is written anew
  const std::optional<Memory> before = memory ? *memory : std::nullopt;
  BOOTSEAL_TRY_STATUS(
      make(before ? before->vm : VmId::random(), before ? before->generation : Generation{}, fill));
  BOOTSEAL_TRY_STATUS(remove_volatile());
  return remove_other_family();
}

// The files of swtpm's that ours do not replace: saved states, and those of the other family.
Status SwtpmStore::remove_other_family() {
  if (!location_.in_directory) return {};
  const SwtpmLocation other = location_.other_family();
  for (const auto& path : {location_.saved_file(), other.file, other.volatile_file(), other.saved_file()}) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return fail_errno(errno, fmt::format("removing {}", path.native()));
  }
  return {};
}

Result<bool> SwtpmStore::holds_other_family() const {
  if (!location_.in_directory) return false;
  const SwtpmStore other(location_.other_family(), nullptr);
  BOOTSEAL_TRY(const SwtpmContent found, other.content());
  return found != SwtpmContent::nothing;
}

Status SwtpmStore::check_family() const {
  BOOTSEAL_TRY(const bool other, holds_other_family());
  if (!other) return {};
  const SwtpmLocation found = location_.other_family();
  return fail(ErrorCode::unsupported,
              fmt::format("there is a {} in this directory ({}), and no {}: start it {} --tpm2, or give "
                          "another directory",
                          version_name(found.version), found.file.native(), version_name(location_.version),
                          found.version == TpmVersion::v2_0 ? "with" : "without"));
}

std::uint64_t SwtpmStore::saved_size() const {
  if (location_.version != TpmVersion::v1_2) return 0;
  struct stat status {};
  if (location_.in_directory && ::stat(location_.saved_file().c_str(), &status) == 0)
    return static_cast<std::uint64_t>(status.st_size);
  const UniqueFd fd(::open(location_.file.c_str(), O_RDONLY | O_CLOEXEC));
  return fd.valid() ? GuestState::named_size(fd, Blob::tpm12_saved_state) : 0;
}

Result<std::vector<SwtpmStore::NamedState>> SwtpmStore::list() const {
  std::vector<NamedState> states;
  const std::pair<std::string_view, std::filesystem::path> places[] = {
      {"permall", location_.file}, {"volatilestate", location_.volatile_file()}};
  for (const auto& [name, path] : places) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
      if (errno == ENOENT) continue;
      return fail_errno(errno, fmt::format("looking at {}", path.native()));
    }
    if (!S_ISREG(status.st_mode))
      return fail(ErrorCode::invalid_argument, fmt::format("{} is not a regular file", path.native()));
    if (status.st_size == 0 && !location_.in_directory) continue;  // a file that waits to be filled
    states.push_back({std::string(name), static_cast<std::uint64_t>(status.st_size)});
  }
  if (const std::uint64_t size = saved_size(); size > 0) states.push_back({"savestate", size});
  return states;
}

Result<SwtpmContent> SwtpmStore::content() const {
  const UniqueFd fd(::open(location_.file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return SwtpmContent::nothing;
  if (!fd.valid())
    return fail_errno(errno, fmt::format("opening the TPM state file {}", location_.file.native()));
  return classify(fd.get());
}

}  // namespace bootseal::guest
