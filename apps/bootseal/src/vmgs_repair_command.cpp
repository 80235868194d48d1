// `bootseal vmgs repair`: shows its plan, asks, keeps a copy, mends.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "bootseal/base/clock.h"
#include "bootseal/base/fds.h"
#include "bootseal/json/json.h"
#include "bootseal/vmgs/repair.h"
#include "site_access.h"
#include "vmgs_file.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kCopyChunk = std::size_t{1} << 20;

// "20261122T013000Z"
std::string time_in_names() {
  constexpr std::size_t kDateAndTime = 15;
  std::string text;
  for (const char c : format_time(Clock::system().now())) {
    if (c != '-' && c != ':') text += c;
  }
  return text.substr(0, kDateAndTime) + "Z";
}

// A whole copy beside the file, on stable storage.
Result<std::string> keep_copy(const VmgsOptions& options, vmgs::FileDevice& device) {
  const std::string path = fmt::format("{}.backup-{}", options.file_path, time_in_names());
  BOOTSEAL_TRY(const UniqueFd copy, open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  const auto fill = [&]() -> Status {
    Bytes chunk(kCopyChunk);
    for (std::uint64_t at = 0; at < device.size(); at += kCopyChunk) {
      const auto part = MutableByteSpan(chunk).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(kCopyChunk, device.size() - at)));
      BOOTSEAL_TRY_STATUS(device.read(at, part));
      BOOTSEAL_TRY_STATUS(write_all(copy.get(), part));
    }
    if (::fsync(copy.get()) != 0) return fail_errno(errno, fmt::format("flushing {}", path));
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    return sync_folder(folder.empty() ? "." : folder);
  };
  if (const Status filled = fill(); !filled) {
    ::unlink(path.c_str());
    return tl::unexpected(
        filled.error().wrap(fmt::format("keeping a copy as {}; nothing was changed", path)));
  }
  return path;
}

json::Array texts(const std::vector<std::string>& lines) {
  json::Array array;
  for (const std::string& line : lines) array.emplace_back(line);
  return array;
}

void print_plan(const VmgsOptions& options, const vmgs::RepairPlan& plan, FILE* out) {
  if (!plan.steps().empty()) fmt::print(out, "The repair of {}:\n", options.file_path);
  for (std::size_t i = 0; i < plan.steps().size(); ++i) fmt::print(out, "  {}. {}\n", i + 1, plan.steps()[i]);
  if (!plan.left_alone().empty())
    fmt::print(out, "{}:\n", plan.steps().empty() ? options.file_path : "This stays as it is");
  for (const std::string& line : plan.left_alone()) fmt::print(out, "  - {}\n", line);
}

}  // namespace

VmgsStatus vmgs_repair(const Global& global, const VmgsOptions& options) {
  BOOTSEAL_TRY(const std::optional<crypto::Secret> key, given_key(options));
  BOOTSEAL_TRY(auto device, open_device(options, Access::change));
  BOOTSEAL_TRY(const vmgs::Examination examined, vmgs::Store::examine(*device, container_of(options)));
  if (examined.condition == vmgs::Condition::empty || examined.condition == vmgs::Condition::version_1)
    return tl::unexpected(refused(options, examined));
  auto plan =
      vmgs::RepairPlan::make(*device, container_of(options), key ? std::optional(key->view()) : std::nullopt);
  if (!plan) return tl::unexpected(VmgsFailure(plan.error().wrap(options.file_path)));
  const bool as_json = global.format == cli::Format::json;
  const bool nothing = plan->steps().empty();
  std::string backup;
  if (!as_json && !(global.quiet && options.yes)) print_plan(options, *plan, stdout);
  if (!nothing) {
    static_cast<void>(std::fflush(stdout));  // the end of the program tells when it failed
    BOOTSEAL_TRY_STATUS(confirm(
        options.yes,
        fmt::format("Change {}{}?", options.file_path, options.no_backup ? " without keeping a copy" : "")));
    if (!options.no_backup) {
      BOOTSEAL_TRY(backup, keep_copy(options, *device));
    }
    if (device->size() != plan->device_size()) {
      if (::ftruncate(device->descriptor(), static_cast<off_t>(plan->device_size())) != 0)
        return tl::unexpected(VmgsFailure(fail_errno(errno, "making room for the footer").value()));
      // The lock belongs to the open file and goes with the last of its descriptors.
      UniqueFd again(::fcntl(device->descriptor(), F_DUPFD_CLOEXEC, 0));
      if (!again.valid())
        return tl::unexpected(VmgsFailure(fail_errno(errno, "opening the longer file").value()));
      BOOTSEAL_TRY(device, vmgs::FileDevice::open(std::move(again), options.sector_size));
    }
    BOOTSEAL_TRY_STATUS(plan->apply(*device));
  }
  BOOTSEAL_TRY(const vmgs::Inspection after, vmgs::inspect(*device, container_of(options),
                                                           key ? std::optional(key->view()) : std::nullopt));
  if (as_json) {
    json::Object object;
    object["path"] = options.file_path;
    object["steps"] = texts(plan->steps());
    object["leftAlone"] = texts(plan->left_alone());
    object["backup"] = backup.empty() ? json::Value() : json::Value(backup);
    object["opens"] = after.condition == vmgs::Condition::valid;
    object["damaged"] = after.damaged();
    print_json(object);
  } else if (!global.quiet) {
    if (!backup.empty()) fmt::print("The file as it was is kept as {}\n", backup);
    if (nothing && plan->left_alone().empty())
      fmt::print("{} is in order; there is nothing to repair\n", options.file_path);
    if (!nothing && !after.damaged()) fmt::print("{} is in order now\n", options.file_path);
  }
  if (!after.damaged() && after.condition == vmgs::Condition::valid) return {};
  return tl::unexpected(
      VmgsFailure({ErrorCode::corrupt,
                   fmt::format("{} {}; an undamaged copy is the way out", options.file_path,
                               after.condition == vmgs::Condition::valid ? "opens and is still damaged"
                                                                         : "cannot be repaired"),
                   nullptr}));
}

}  // namespace bootseal::app
