// `bootseal vmgs`: what changes a store.
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "bootseal/base/fds.h"
#include "vmgs_file.h"

namespace bootseal::app {
namespace {

// A file beside the one that is to be made, which goes unless it takes its place.
class NewFile {
 public:
  static Result<NewFile> create(const std::filesystem::path& target) {
    std::string name =
        (target.parent_path() / fmt::format(".{}.XXXXXX", target.filename().string())).string();
    UniqueFd fd(::mkostemp(name.data(), O_CLOEXEC));
    if (!fd.valid()) return fail_errno(errno, fmt::format("making a file beside {}", target.string()));
    return NewFile(target, name, std::move(fd));
  }
  NewFile(NewFile&& other) noexcept
      : fd(std::move(other.fd)), target_(std::move(other.target_)), path_(std::exchange(other.path_, {})) {}
  NewFile& operator=(NewFile&&) = delete;
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  // already_exists when something is there and `replace` is not given.
  Status take_its_place(bool replace) {
    const unsigned flags = replace ? 0U : RENAME_NOREPLACE;
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), flags) != 0)
      return fail_errno(errno, fmt::format("giving the new file its name {}", target_.string()));
    path_.clear();
    return sync_folder(target_.has_parent_path() ? target_.parent_path() : std::filesystem::path("."));
  }

  UniqueFd fd;

 private:
  NewFile(std::filesystem::path target, std::string path, UniqueFd made)
      : fd(std::move(made)), target_(std::move(target)), path_(std::move(path)) {}
  std::filesystem::path target_;
  std::string path_;
};

// What is there already may be replaced when nobody uses it.
Result<UniqueFd> check_replaced(const VmgsOptions& options, mode_t& mode) {
  struct stat status {};
  if (::lstat(options.file_path.c_str(), &status) != 0) {
    if (errno == ENOENT) return UniqueFd();
    return fail_errno(errno, fmt::format("asking what {} is", options.file_path));
  }
  if (!options.force_create)
    return fail(ErrorCode::already_exists,
                fmt::format("{} exists already; --force-create replaces it", options.file_path));
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::invalid_argument, fmt::format("{} is not a regular file", options.file_path));
  BOOTSEAL_TRY(UniqueFd fd, open_file(options.file_path, O_RDWR));
  BOOTSEAL_TRY_STATUS(lock_file(fd.get(), Access::change, options.file_path));
  mode = status.st_mode & 0777U;
  return fd;
}

VmgsFailure no_such_file(const VmgsOptions& options, const Error& error) {
  if (error.code != ErrorCode::not_found) return error.wrap(options.file_path);
  return {VmgsExit::no_such_file_id, error.wrap(options.file_path)};
}

}  // namespace

VmgsStatus vmgs_create(const Global& global, const VmgsOptions& options) {
  if (options.key_path.empty() && !options.algorithm.empty())
    return tl::unexpected(
        VmgsFailure(VmgsExit::not_encrypted,
                    {ErrorCode::invalid_argument, "--encryption-algorithm needs --key-path", nullptr}));
  const std::uint64_t size = options.file_size + (options.raw ? 0 : vmgs::kFooterSize);
  if (options.file_size < vmgs::kMinimumBodySize || size > vmgs::kMaximumDeviceSize ||
      options.file_size % options.sector_size != 0) {
    return tl::unexpected(
        VmgsFailure({ErrorCode::invalid_argument,
                     fmt::format("--file-size {}: wanted a multiple of {} from {} to {}", options.file_size,
                                 options.sector_size, vmgs::kMinimumBodySize,
                                 vmgs::kMaximumDeviceSize - vmgs::kFooterSize),
                     nullptr}));
  }
  BOOTSEAL_TRY(const std::optional<crypto::Secret> key, given_key(options));
  mode_t mode = 0600;
  BOOTSEAL_TRY(const UniqueFd replaced, check_replaced(options, mode));
  BOOTSEAL_TRY(NewFile file, NewFile::create(options.file_path));
  if (::fchmod(file.fd.get(), mode) != 0)
    return tl::unexpected(VmgsFailure(fail_errno(errno, "setting the mode of the new file").value()));
  BOOTSEAL_TRY(auto device, vmgs::FileDevice::create(std::move(file.fd), size, options.sector_size));
  BOOTSEAL_TRY(vmgs::Store store, vmgs::Store::format(std::move(device), container_of(options)));
  if (key) BOOTSEAL_TRY_STATUS(store.set_first_key(key->view()));
  BOOTSEAL_TRY_STATUS(file.take_its_place(replaced.valid()));
  print_done(global, options, store,
             fmt::format("made {} with room for {} bytes{}", options.file_path, options.file_size,
                         key ? ", encrypted" : ", not encrypted"));
  return {};
}

VmgsStatus vmgs_write(const Global& global, const VmgsOptions& options) {
  BOOTSEAL_TRY(const Bytes content, read_file(options.data_path, vmgs::kDefaultReadLimit));
  auto store = open_store(options, Access::change, Locked::refuse);
  if (!store) return tl::unexpected(store.error());
  const auto there = store->query(options.file_id);
  if (there && there->size > 0 && !options.allow_overwrite) {
    return tl::unexpected(
        VmgsFailure({ErrorCode::already_exists,
                     fmt::format("{} has a file {} of {} bytes already; --allow-overwrite replaces it",
                                 options.file_path, vmgs::describe(options.file_id), there->size),
                     nullptr}));
  }
  const bool sealed = !options.key_path.empty() && !options.plain;
  const Status written =
      store->write(options.file_id, content, sealed ? vmgs::Protection::encrypted : vmgs::Protection::plain,
                   options.allow_overwrite ? vmgs::Overwrite::allow : vmgs::Overwrite::refuse);
  if (!written) return tl::unexpected(VmgsFailure(written.error().wrap(options.file_path)));
  print_done(global, options, *store,
             fmt::format("wrote {} bytes to {} of {}{}", content.size(), vmgs::describe(options.file_id),
                         options.file_path, sealed ? ", sealed" : ""));
  return {};
}

VmgsStatus vmgs_encrypt(const Global& global, const VmgsOptions& options) {
  VmgsOptions without_key = options;
  without_key.key_path.clear();
  BOOTSEAL_TRY(const crypto::Secret key, read_key(options.key_path));
  auto store = open_store(without_key, Access::change, Locked::accept);
  if (!store) return tl::unexpected(store.error());
  if (store->info().encrypted) {
    return tl::unexpected(
        VmgsFailure({ErrorCode::already_exists,
                     fmt::format("{} is encrypted already; `bootseal vmgs update-key` replaces its key",
                                 options.file_path),
                     nullptr}));
  }
  const Status done = store->set_first_key(key.view());
  if (!done) return tl::unexpected(VmgsFailure(done.error().wrap(options.file_path)));
  const std::size_t plain = store->list().size();
  print_done(
      global, options, *store,
      fmt::format("{} is encrypted{}", options.file_path,
                  plain == 0
                      ? ""
                      : fmt::format("; the {} files in it stay plain until they are written again", plain)));
  return {};
}

VmgsStatus vmgs_update_key(const Global& global, const VmgsOptions& options) {
  BOOTSEAL_TRY(const crypto::Secret key, read_key(options.new_key_path));
  auto store = open_store(options, Access::change, Locked::refuse);
  if (!store) return tl::unexpected(store.error());
  const Status done = store->update_key(key.view());
  if (!done) return tl::unexpected(VmgsFailure(done.error().wrap(options.file_path)));
  print_done(global, options, *store,
             fmt::format("{} has the new key; the old one opens it no more", options.file_path));
  return {};
}

VmgsStatus vmgs_move(const Global& global, const VmgsOptions& options) {
  auto store = open_store(options, Access::change, Locked::refuse);
  if (!store) return tl::unexpected(store.error());
  const Status done = store->move(options.source, options.destination,
                                  options.allow_overwrite ? vmgs::Overwrite::allow : vmgs::Overwrite::refuse);
  if (!done && done.error().code == ErrorCode::already_exists)
    return tl::unexpected(VmgsFailure(
        {ErrorCode::already_exists,
         fmt::format("{}: {}; --allow-overwrite replaces it", options.file_path, done.error().message),
         nullptr}));
  if (!done) return tl::unexpected(no_such_file(options, done.error()));
  print_done(global, options, *store,
             fmt::format("{} of {} is {} now", vmgs::describe(options.source), options.file_path,
                         vmgs::describe(options.destination)));
  return {};
}

VmgsStatus vmgs_delete(const Global& global, const VmgsOptions& options) {
  auto store = open_store(options, Access::change, Locked::refuse);
  if (!store) return tl::unexpected(store.error());
  const Status done = store->remove(options.file_id);
  if (!done) return tl::unexpected(no_such_file(options, done.error()));
  print_done(global, options, *store,
             fmt::format("deleted {} of {}", vmgs::describe(options.file_id), options.file_path));
  return {};
}

}  // namespace bootseal::app
