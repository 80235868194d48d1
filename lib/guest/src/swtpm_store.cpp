#include "bootseal/guest/swtpm_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <cerrno>

#include "bootseal/crypto/aead.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"
#include "bootseal/vmgs/store.h"
#include "swtpm_volatile.h"

namespace bootseal::guest {
namespace {

constexpr std::string_view kSealLabel = "bootseal-swtpm guest state 1";
// What stands for the user's key when there is none. Anybody can know it.
constexpr std::string_view kNoKey = "bootseal-swtpm: no key was given";
constexpr std::size_t kMaximumMemorySize = 4096;
constexpr std::size_t kMemorySize = 128;  // as it is written
constexpr mode_t kLockMode = 0660;        // as swtpm's

tl::unexpected<Error> missing(const SwtpmLocation& location) {
  return fail(
      ErrorCode::guest_state_missing,
      fmt::format("TPM state file {} is gone: there was a TPM here ({} remembers it). Put the file back "
                  "from where it was moved to or from a backup. To make a new TPM knowingly (what is "
                  "sealed to the old one is lost), remove {} or run `bootseal-swtpm-setup --overwrite`",
                  location.file.native(), location.memory_file().native(), location.memory_file().native()));
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

Result<std::unique_ptr<GuestState>> SwtpmStore::open(WhenMissing when_missing) {
  BOOTSEAL_TRY_STATUS(lock());
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
    if (memory && when_missing != WhenMissing::make_for) return missing(location_);
    if (when_missing == WhenMissing::refuse) {
      return fail(ErrorCode::not_found, fmt::format("there is no TPM state at {}", location_.file.native()));
    }
    return make(memory ? memory->vm : VmId::random(), memory ? memory->generation : Generation{});
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

// Beside its place and then renamed, so that no half-made state is ever found; an empty file that a file://
// URI names is filled in place, since it may be all that we may write.
Result<std::unique_ptr<GuestState>> SwtpmStore::make(const VmId& vm, Generation after,
                                                     const std::function<Status(GuestState&)>& fill) {
  const bool in_place = !location_.in_directory && !fill && std::filesystem::exists(location_.file);
  const std::filesystem::path path =
      in_place ? location_.file : std::filesystem::path(location_.file.native() + ".new");
  if (!in_place) ::unlink(path.c_str());  // of an earlier attempt that was killed
  BOOTSEAL_TRY(UniqueFd fd, open_file(path, O_RDWR | O_CREAT | (in_place ? 0 : O_EXCL), location_.mode));
  if (!in_place) BOOTSEAL_TRY_STATUS(set_mode(fd.get(), location_.mode));
  auto state = GuestState::format(std::move(fd), vm, seal_key_, after, wording_);
  if (state && fill) {
    if (const Status filled = fill(**state); !filled) state = tl::unexpected(filled.error());
  }
  if (!state) {
    if (!in_place) ::unlink(path.c_str());
    return state;
  }
  if (!in_place) {
    if (::rename(path.c_str(), location_.file.c_str()) != 0)
      return fail_errno(errno, fmt::format("renaming {} to {}", path.native(), location_.file.native()));
    BOOTSEAL_TRY_STATUS(sync_folder(location_.file.parent_path()));
  }
  vm_ = vm;
  opened_.reset(::open(location_.file.c_str(), O_PATH | O_CLOEXEC));
  remembered_.reset();
  memory_.reset();
  BOOTSEAL_TRY_STATUS(remember((*state)->generation()));
  return state;
}

bool SwtpmStore::is_current() const {
  struct stat opened {};
  struct stat now {};
  return opened_.valid() && ::fstat(opened_.get(), &opened) == 0 &&
         ::stat(location_.file.c_str(), &now) == 0 && opened.st_dev == now.st_dev &&
         opened.st_ino == now.st_ino;
}

// swtpm's own lock, so that the two programs keep each other out of a directory as well.
Status SwtpmStore::lock() {
  if (!location_.in_directory || lock_.valid()) return {};
  const std::filesystem::path path = location_.lock_file();
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kLockMode));
  if (!fd.valid()) return fail_errno(errno, fmt::format("opening the lock file {}", path.native()));
  BOOTSEAL_TRY_STATUS(lock_whole(fd.get(), location_.file));
  lock_ = std::move(fd);
  return {};
}

Result<std::optional<SwtpmStore::Memory>> SwtpmStore::read_memory() const {
  if (!location_.in_directory) return std::nullopt;
  const std::filesystem::path path = location_.memory_file();
  Result<Bytes> text = read_file(path, kMaximumMemorySize);
  if (!text && text.error().code == ErrorCode::not_found) return std::nullopt;
  if (!text) return tl::unexpected(text.error());
  const auto parse = [&]() -> Result<Memory> {
    BOOTSEAL_TRY(const json::Value document, json::parse(as_text(*text)));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "it"));
    BOOTSEAL_TRY(const std::string id, reader.string("tpm"));
    BOOTSEAL_TRY(const VmId vm, VmId::parse(id));
    BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
    std::optional<std::uint64_t> bits;
    if (reader.has("keyBits")) {
      BOOTSEAL_TRY(bits, reader.unsigned_integer("keyBits"));
    }
    return Memory{vm, Generation{generation}, bits};
  };
  Result<Memory> memory = parse();
  if (!memory) {
    return fail(
        ErrorCode::guest_state_damaged,
        fmt::format("{} does not say which TPM was here ({}); put it back from a backup, or remove it "
                    "to take the state file as it is",
                    path.native(), memory.error().describe()));
  }
  return *memory;
}

std::string SwtpmStore::memory_text(Generation generation) const {
  std::string text =
      json::serialize({{"tpm", vm_->to_string()}, {"generation", generation.value}, {"keyBits", key_bits()}});
  text.resize(kMemorySize - 1, ' ');
  return text + "\n";
}

// All in one sector, so that a power cut leaves the old text or the new one.
bool SwtpmStore::write_memory_in_place(Generation generation) {
  if (!memory_.valid())
    memory_.reset(::open(location_.memory_file().c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  const std::string text = memory_text(generation);
  if (memory_.valid() && ::fstat(memory_.get(), &status) == 0 && S_ISREG(status.st_mode) &&
      status.st_nlink == 1 && status.st_size == static_cast<off_t>(text.size()) &&
      write_all_at(memory_.get(), as_bytes(text), 0))
    return true;
  memory_.reset();
  return false;
}

Status SwtpmStore::note(Generation generation) {
  if (!location_.in_directory || !vm_ || remembered_ == generation) return {};
  if (write_memory_in_place(generation)) return {};
  return remember(generation);
}

Status SwtpmStore::remember(Generation generation) {
  if (!location_.in_directory || !vm_ || remembered_ == generation) return {};
  if (write_memory_in_place(generation)) {
    if (::fdatasync(memory_.get()) != 0)
      return fail_errno(errno, fmt::format("flushing {}", location_.memory_file().native()));
  } else {
    BOOTSEAL_TRY_STATUS(
        replace_file(location_.memory_file(), as_bytes(memory_text(generation)), location_.mode));
  }
  remembered_ = generation;
  return {};
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

Status SwtpmStore::replace_all(const std::function<Status(GuestState&)>& fill) {
  BOOTSEAL_TRY_STATUS(lock());
  // Without a directory's lock file the state's own lock says whether it is in use.
  UniqueFd present;
  if (!location_.in_directory) {
    present.reset(::open(location_.file.c_str(), O_RDWR | O_CLOEXEC));
    if (present.valid()) BOOTSEAL_TRY_STATUS(lock_whole(present.get(), location_.file));
  }
  // What belongs to the TPM before goes just before the new state comes: whatever stops this in between
  // leaves a state that opens.
  const auto fill_and_clear = [&](GuestState& state) -> Status {
    BOOTSEAL_TRY_STATUS(fill(state));
    BOOTSEAL_TRY_STATUS(remove_volatile());
    BOOTSEAL_TRY_STATUS(remove_other_family());
    if (location_.in_directory && ::unlink(location_.memory_file().c_str()) != 0 && errno != ENOENT)
      return fail_errno(errno, fmt::format("removing {}", location_.memory_file().native()));
    return {};
  };
  BOOTSEAL_TRY_STATUS(make(VmId::random(), Generation{}, fill_and_clear));
  return {};
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
