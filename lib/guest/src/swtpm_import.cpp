#include "swtpm_import.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>

#include "bootseal/guest/swtpm_store.h"
#include "state_envelope.h"
#include "tpm_engine.h"

namespace bootseal::guest {
namespace {

constexpr std::uint64_t kLinearMagic = 0x737774706d6c696e;  // "swtpmlin"
constexpr std::uint8_t kLinearVersion = 1;
constexpr std::size_t kLinearEntry = 12;
constexpr std::size_t kLinearHead = 12;
constexpr std::size_t kMaximumFile = std::size_t{4} << 20;
constexpr std::string_view kKeptSuffix = ".swtpm";

Result<std::optional<Bytes>> read_if_there(const std::filesystem::path& path) {
  Result<Bytes> content = read_file(path, kMaximumFile);
  if (!content && content.error().code == ErrorCode::not_found) return std::nullopt;
  if (!content) return tl::unexpected(content.error());
  return std::optional<Bytes>(*std::move(content));
}

// Lets libtpms judge the states without starting a TPM from them.
Status check_with_library(const BareStates& states, TpmVersion version) {
  StateKeeper none(nullptr);
  TpmEngine engine(
      none, TpmEngine::WhenMissing::refuse, [](const std::string&) {}, version);
  if (const TpmResult result = engine.set_state(TpmStateKind::permanent, states.permanent);
      result != kTpmSuccess) {
    return fail(
        ErrorCode::guest_state_damaged,
        fmt::format("libtpms does not take swtpm's permanent state (0x{:x}): it is damaged, not of a {}, "
                    "or was made by a newer libtpms",
                    result, version_name(version)));
  }
  const std::tuple<std::string_view, TpmStateKind, const Bytes&> others[] = {
      {"volatile", TpmStateKind::volatile_state, states.volatile_state},
      {"saved", TpmStateKind::save_state, states.saved_state}};
  for (const auto& [name, kind, state] : others) {
    if (state.empty()) continue;
    if (const TpmResult result = engine.set_state(kind, state); result != kTpmSuccess) {
      return fail(ErrorCode::guest_state_damaged,
                  fmt::format("libtpms does not take swtpm's {} state (0x{:x}): it is damaged, or belongs to "
                              "another permanent state; remove it to go on as after a power cycle",
                              name, result));
    }
  }
  return {};
}

std::filesystem::path kept_name(const std::filesystem::path& path) {
  return path.native() + std::string(kKeptSuffix);
}

bool are_one_file(const std::filesystem::path& one, const std::filesystem::path& other) {
  std::error_code error;
  return std::filesystem::equivalent(one, other, error) && !error;
}

Status check_kept_name_free(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(kept_name(path), error))) return {};
  return fail(ErrorCode::already_exists,
              fmt::format("{} is there already, from an earlier import; move it away first",
                          kept_name(path).native()));
}

// A second name for the file, so that it outlives the rename over its first.
Status keep(const std::filesystem::path& path) {
  const std::string kept = kept_name(path).native();
  if (::link(path.c_str(), kept.c_str()) == 0) return {};
  return fail_errno(errno, fmt::format("keeping {} as {}", path.native(), kept));
}

void wipe(BareStates& states) {
  crypto::wipe(states.permanent);
  crypto::wipe(states.volatile_state);
  crypto::wipe(states.saved_state);
}

}  // namespace

Result<SwtpmFiles> read_linear_file(ByteSpan file) {
  ByteReader reader(file);
  BOOTSEAL_TRY(const std::uint64_t magic, reader.le64("the magic of swtpm's linear file"));
  BOOTSEAL_TRY(const std::uint8_t version, reader.u8("the version of swtpm's linear file"));
  BOOTSEAL_TRY_STATUS(reader.skip(1, "the padding of swtpm's linear file"));
  BOOTSEAL_TRY(const std::uint16_t head, reader.le16("the head size of swtpm's linear file"));
  if (magic != kLinearMagic) return fail(ErrorCode::corrupt, "it is none of swtpm's linear files");
  if (version > kLinearVersion)
    return fail(ErrorCode::unsupported, fmt::format("swtpm's linear file has version {}", version));
  if (head < kLinearHead + 3 * kLinearEntry)
    return fail(ErrorCode::corrupt, fmt::format("the head of swtpm's linear file has {} bytes", head));
  const auto state = [&](std::string_view name) -> Result<std::optional<Bytes>> {
    BOOTSEAL_TRY(const std::uint32_t offset, reader.le32(name));
    BOOTSEAL_TRY(const std::uint32_t size, reader.le32(name));
    BOOTSEAL_TRY_STATUS(reader.skip(sizeof(std::uint32_t), name));
    if (offset == 0) return std::nullopt;
    ByteReader content(file);
    BOOTSEAL_TRY_STATUS(content.skip(offset, name));
    BOOTSEAL_TRY(const ByteSpan bytes, content.take(size, name));
    return std::optional<Bytes>(to_bytes(bytes));
  };
  BOOTSEAL_TRY(std::optional<Bytes> permanent, state("the permanent state in swtpm's linear file"));
  BOOTSEAL_TRY(std::optional<Bytes> volatile_state, state("the volatile state in swtpm's linear file"));
  BOOTSEAL_TRY(std::optional<Bytes> saved_state, state("the saved state in swtpm's linear file"));
  if (!permanent) return fail(ErrorCode::not_found, "swtpm's linear file holds no permanent state");
  return SwtpmFiles{*std::move(permanent), std::move(volatile_state), std::move(saved_state)};
}

Result<BareStates> unwrap_files(const SwtpmFiles& files, const crypto::Secret* key) {
  BareStates states;
  BOOTSEAL_TRY(states.permanent, unwrap_state_file(files.permanent, key));
  if (files.volatile_state) {
    BOOTSEAL_TRY(states.volatile_state, unwrap_state_file(*files.volatile_state, key));
  }
  if (files.saved_state) {
    BOOTSEAL_TRY(states.saved_state, unwrap_state_file(*files.saved_state, key));
  }
  return states;
}

Status SwtpmStore::import_swtpm() {
  BOOTSEAL_TRY_STATUS(lock());
  BOOTSEAL_TRY(const SwtpmContent found, content());
  if (found == SwtpmContent::nothing)
    return fail(ErrorCode::not_found,
                fmt::format("there is no state of swtpm at {} to import", location_.file.native()));
  if (found == SwtpmContent::ours) {
    return fail(
        ErrorCode::already_exists,
        fmt::format("{} is bootseal-swtpm's already; there is nothing to import", location_.file.native()));
  }
  // Both names of an import that was stopped before its last step.
  if (are_one_file(location_.file, kept_name(location_.file))) BOOTSEAL_TRY_STATUS(put_back_kept());
  if (location_.in_directory) {
    const SwtpmStore other(location_.other_family(), nullptr);
    BOOTSEAL_TRY(const SwtpmContent beside, other.content());
    if (beside == SwtpmContent::ours) {
      return fail(
          ErrorCode::already_exists,
          fmt::format("there is a {} of bootseal-swtpm in this directory ({}), which holds one TPM; move "
                      "{} to a directory of its own",
                      version_name(other.location().version), other.location().file.native(),
                      location_.file.native()));
    }
  }
  const auto read = [&]() -> Result<BareStates> {
    BOOTSEAL_TRY(Bytes whole, read_file(location_.file, kMaximumFile));
    SwtpmFiles files;
    if (location_.in_directory) {
      files.permanent = std::move(whole);
      BOOTSEAL_TRY(files.volatile_state, read_if_there(location_.volatile_file()));
      if (location_.version == TpmVersion::v1_2) {
        BOOTSEAL_TRY(files.saved_state, read_if_there(location_.saved_file()));
      }
    } else {
      BOOTSEAL_TRY(files, read_linear_file(whole));
    }
    return unwrap_files(files, user_key_);
  };
  auto states = read();
  if (!states)
    return tl::unexpected(states.error().wrap(fmt::format("importing {}", location_.file.native())));
  Status outcome = check_with_library(*states, location_.version);
  if (outcome) outcome = replace_by(*states);
  wipe(*states);
  if (!outcome)
    return tl::unexpected(outcome.error().wrap(fmt::format("importing {}", location_.file.native())));
  return outcome;
}

// Each of swtpm's files under its first name only; the permanent state last, since its two names are what a
// stopped import is known by.
Status SwtpmStore::put_back_kept() {
  std::vector<std::filesystem::path> paths{location_.file};
  if (location_.in_directory) paths = {location_.volatile_file(), location_.saved_file(), location_.file};
  if (!location_.in_directory) BOOTSEAL_TRY_STATUS(remove_volatile());
  for (const std::filesystem::path& path : paths) {
    const std::filesystem::path kept = kept_name(path);
    // A rename between two names of one file does nothing, and leaves both.
    if ((::rename(kept.c_str(), path.c_str()) != 0 || ::unlink(kept.c_str()) != 0) && errno != ENOENT)
      return fail_errno(errno, fmt::format("putting {} back as {}", kept.native(), path.native()));
  }
  return {};
}

Status SwtpmStore::replace_by(const BareStates& states) {
  const bool tpm12 = location_.version == TpmVersion::v1_2;
  const VmId vm = VmId::random();
  std::vector<std::filesystem::path> kept{location_.file};
  if (location_.in_directory) {
    for (const auto& path : {location_.volatile_file(), location_.saved_file()})
      if (std::filesystem::exists(path)) kept.push_back(path);
  }
  const auto fill = [&](GuestState& state) -> Status {
    BOOTSEAL_TRY_STATUS(state.commit(tpm12 ? Blob::tpm12_permanent : Blob::tpm_permanent, states.permanent));
    if (!states.saved_state.empty())
      BOOTSEAL_TRY_STATUS(state.commit(Blob::tpm12_saved_state, states.saved_state));
    // From here on to the rename swtpm's files have second names: whatever stops this, they are whole.
    for (const std::filesystem::path& path : kept) BOOTSEAL_TRY_STATUS(check_kept_name_free(path));
    for (const std::filesystem::path& path : kept) BOOTSEAL_TRY_STATUS(keep(path));
    vm_ = vm;
    return states.volatile_state.empty() ? Status() : write_volatile(states.volatile_state, states.permanent);
  };
  if (const auto state = make(vm, Generation{}, fill); !state) {
    if (are_one_file(location_.file, kept_name(location_.file))) BOOTSEAL_TRY_STATUS(put_back_kept());
    return tl::unexpected(state.error());
  }
  // What has its second name, and is not one of ours now.
  for (const std::filesystem::path& path : kept) {
    const bool ours =
        path == location_.file || (path == location_.volatile_file() && !states.volatile_state.empty());
    if (!ours && ::unlink(path.c_str()) != 0 && errno != ENOENT)
      return fail_errno(errno, fmt::format("removing {}", path.native()));
  }
  return {};
}

}  // namespace bootseal::guest
