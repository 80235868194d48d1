#include "vmgs_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "bootseal/base/fds.h"
#include "bootseal/json/json.h"
#include "site_access.h"

namespace bootseal::app {

void warn(const std::string& text) {
  fmt::print(stderr, "warning: {}\n", text);
}

std::string name_of(vmgs::FileId id) {
  const std::string text = vmgs::describe(id);
  const std::size_t end = text.find(" (");
  return end == std::string::npos ? "" : text.substr(0, end);
}

Status lock_file(int fd, Access access, const std::string& path) {
  struct flock lock {};
  lock.l_type = access == Access::change ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) {
    return fail(ErrorCode::conflict,
                fmt::format("{} is in use, by a running VM or another program; stop that first", path));
  }
  return fail_errno(errno, fmt::format("locking {}", path));
}

Result<std::unique_ptr<vmgs::FileDevice>> open_device(const VmgsOptions& options, Access access) {
  BOOTSEAL_TRY(UniqueFd fd, open_file(options.file_path, access == Access::change ? O_RDWR : O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    return fail_errno(errno, fmt::format("asking what {} is", options.file_path));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is no file that could hold a guest state store", options.file_path));
  }
  BOOTSEAL_TRY_STATUS(lock_file(fd.get(), access, options.file_path));
  return vmgs::FileDevice::open(std::move(fd), options.sector_size);
}

Result<crypto::Secret> read_key(const std::string& path) {
  auto bytes = read_file(path, vmgs::kKeySize + 1);
  if (!bytes && bytes.error().code == ErrorCode::exhausted)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the key file {} holds more than {} bytes; a key has exactly these", path,
                            vmgs::kKeySize));
  if (!bytes) return tl::unexpected(bytes.error().wrap("the key"));
  crypto::Secret key = crypto::Secret::copy_of(*bytes);
  crypto::wipe(*bytes);
  if (key.size() == vmgs::kKeySize) return key;
  return fail(ErrorCode::invalid_argument, fmt::format("the key file {} holds {} bytes; a key has exactly {}",
                                                       path, key.size(), vmgs::kKeySize));
}

Result<std::optional<crypto::Secret>> given_key(const VmgsOptions& options) {
  if (options.key_path.empty()) return std::optional<crypto::Secret>();
  BOOTSEAL_TRY(crypto::Secret key, read_key(options.key_path));
  return std::optional<crypto::Secret>(std::move(key));
}

VmgsFailure refused(const VmgsOptions& options, const vmgs::Examination& found) {
  const std::string text = fmt::format("{}: {}", options.file_path, found.reason);
  switch (found.condition) {
    case vmgs::Condition::empty:
      return {VmgsExit::empty, {ErrorCode::not_found, text + "; there is no store yet", nullptr}};
    case vmgs::Condition::version_1:
      return {VmgsExit::version_1, {ErrorCode::unsupported, text, nullptr}};
    case vmgs::Condition::valid:
    case vmgs::Condition::invalid_format:
    case vmgs::Condition::corrupt:
      break;
  }
  return {VmgsExit::error,
          {ErrorCode::corrupt, text + fmt::format("; see `bootseal vmgs check -f {}`", options.file_path),
           nullptr}};
}

VmgsResult<vmgs::Store> open_store(const VmgsOptions& options, Access access, Locked without_key) {
  BOOTSEAL_TRY(const std::optional<crypto::Secret> key, given_key(options));
  BOOTSEAL_TRY(auto device, open_device(options, access));
  BOOTSEAL_TRY(const vmgs::Examination found, vmgs::Store::examine(*device, container_of(options)));
  if (found.condition != vmgs::Condition::valid) return tl::unexpected(refused(options, found));
  BOOTSEAL_TRY(vmgs::Store store, vmgs::Store::open(std::move(device), container_of(options)));
  if (key && !store.info().encrypted) {
    return tl::unexpected(VmgsFailure(
        VmgsExit::not_encrypted,
        {ErrorCode::conflict,
         fmt::format("{} is not encrypted; leave --key-path out, or encrypt it with `bootseal vmgs encrypt`",
                     options.file_path),
         nullptr}));
  }
  if (key) {
    if (const Status unlocked = store.unlock(key->view()); !unlocked)
      return tl::unexpected(VmgsFailure(unlocked.error().wrap(options.file_path)));
  } else if (store.info().encrypted && without_key == Locked::refuse) {
    return tl::unexpected(VmgsFailure(
        {ErrorCode::conflict, fmt::format("{} is encrypted; give its key with --key-path", options.file_path),
         nullptr}));
  }
  if (store.info().zero_metadata_key) {
    warn(fmt::format("the sealed files of {} can be read by anybody (its metadata key is all zero){}",
                     options.file_path,
                     access == Access::change ? "; they are sealed again now"
                                              : "; `bootseal vmgs repair` seals them again"));
  }
  return store;
}

void print_done(const Global& global, const VmgsOptions& options, const vmgs::Store& store,
                const std::string& what) {
  if (global.format == cli::Format::json) {
    const vmgs::StoreInfo info = store.info();
    json::Object object;
    object["path"] = options.file_path;
    object["bodySizeBytes"] = info.body_size;
    object["sequence"] = info.sequence;
    object["encrypted"] = info.encrypted;
    object["files"] = store.list().size();
    object["freeBlocks"] = info.free_blocks;
    print_json(object);
  } else if (!global.quiet) {
    fmt::print("{}\n", what);
  }
}

}  // namespace bootseal::app
