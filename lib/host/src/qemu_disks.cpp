// Disks of a machine that runs: attached, detached, grown, copied. QEMU cannot open any of them by name, so
// it is given descriptors.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "bootseal/host/qemu_command.h"
#include "bootseal/log/log.h"
#include "qemu_machine.h"

namespace bootseal::host {
namespace {

constexpr std::string_view kDevicePrefix = "data-";
constexpr std::chrono::milliseconds kPoll{100};
constexpr int kDeleteTries = 100;  // of kPoll: requests of the guest that are under way end first

}  // namespace

Result<UniqueFd> open_disk(const std::filesystem::path& path, bool read_only) {
  return open_file(path, (read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW);
}

Result<std::uint64_t> QemuMachine::add_set(const std::filesystem::path& file, bool read_only) {
  BOOTSEAL_TRY(UniqueFd fd, open_disk(file, read_only));
  BOOTSEAL_TRY(const json::Value answer,
               qmp_->call_with_descriptor("add-fd", json::Object{{"opaque", "disk"}}, std::move(fd),
                                          std::chrono::seconds(10)));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "QEMU's answer to add-fd"));
  return reader.unsigned_integer("fdset-id");
}

void QemuMachine::drop_set(std::uint64_t set) {
  const Result<json::Value> dropped = execute("remove-fd", json::Object{{"fdset-id", set}});
  if (!dropped)
    log::warning("machine.descriptor_not_dropped",
                 {{"vm", config_.vm.to_string()}, {"reason", dropped.error().describe()}});
}

void QemuMachine::drop_first_sets() {
  auto set = static_cast<std::uint64_t>(QemuDescriptors().first_disk);
  for (const MachineDisk& disk : store_disks(config_)) {
    drop_set(set);
    if (!disk.file.image.empty()) drop_set(set + 1);
    set += 2;
  }
}

Result<std::vector<DiskId>> QemuMachine::disks() {
  BOOTSEAL_TRY(const json::Value answer, execute("qom-list", json::Object{{"path", "/machine/peripheral"}}));
  std::vector<DiskId> disks;
  const json::Array* properties = answer.if_array();
  if (properties == nullptr) return fail(ErrorCode::corrupt, "QEMU's answer to qom-list is no list");
  for (const json::Value& property : *properties) {
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(property, "a device of QEMU"));
    BOOTSEAL_TRY(const std::string name, reader.string("name"));
    if (!name.starts_with(kDevicePrefix)) continue;
    if (const Result<DiskId> id = DiskId::parse(name.substr(kDevicePrefix.size()))) disks.push_back(*id);
  }
  return disks;
}

Result<std::string> QemuMachine::node_of(const DiskId& disk) {
  if (config_.os_disk_id == disk) return "disk";
  BOOTSEAL_TRY(const json::Value answer,
               execute("qom-get", json::Object{{"path", "/machine/peripheral/" + disk_device_id(disk)},
                                               {"property", "drive"}}));
  if (!answer.is_string()) return fail(ErrorCode::corrupt, "QEMU's answer to qom-get is no text");
  return std::string(answer.get_string());
}

Status QemuMachine::attach_disk(const MachineDisk& disk) {
  BOOTSEAL_TRY(const std::vector<DiskId> present, disks());
  if (std::ranges::find(present, disk.id) != present.end()) return {};
  BOOTSEAL_TRY(const std::uint64_t set, add_set(disk.file.path, disk.read_only));
  std::uint64_t image_set = 0;
  if (!disk.file.image.empty()) {
    const Result<std::uint64_t> image = add_set(disk.file.image, true);
    if (!image) drop_set(set);
    BOOTSEAL_TRY(image_set, image);
  }
  const std::string node = fmt::format("lun{}", disk.lun);
  const Result<json::Value> opened = execute(
      "blockdev-add",
      disk_node(disk, node, fmt::format("/dev/fdset/{}", set), fmt::format("/dev/fdset/{}", image_set)));
  drop_set(set);
  if (image_set != 0) drop_set(image_set);
  if (!opened) return tl::unexpected(opened.error());
  const Result<json::Value> plugged = execute("device_add", disk_device(disk, node));
  if (plugged) return {};
  static_cast<void>(delete_node(node));
  return tl::unexpected(plugged.error());
}

Status QemuMachine::detach_disk(const DiskId& disk) {
  BOOTSEAL_TRY(const std::vector<DiskId> present, disks());
  if (std::ranges::find(present, disk) == present.end()) return {};
  BOOTSEAL_TRY(const std::string node, node_of(disk));
  BOOTSEAL_TRY_STATUS(execute("device_del", json::Object{{"id", disk_device_id(disk)}}));
  return delete_node(node);
}

// A device that was unplugged keeps its node until its last request has ended, which QEMU does not announce.
Status QemuMachine::delete_node(const std::string& node) {
  for (int i = 1;; ++i) {
    const Result<json::Value> deleted = execute("blockdev-del", json::Object{{"node-name", node}});
    if (deleted) return {};
    if (i == kDeleteTries || deleted.error().code != ErrorCode::conflict || ended_)
      return tl::unexpected(deleted.error());
    std::this_thread::sleep_for(kPoll);
  }
}

Status QemuMachine::grow_disk(const DiskId& disk, std::uint64_t size) {
  BOOTSEAL_TRY(const std::string node, node_of(disk));
  BOOTSEAL_TRY_STATUS(execute("block_resize", json::Object{{"node-name", node}, {"size", size}}));
  return {};
}

Result<Machine::CopyWait> QemuMachine::begin_copy(const DiskId& disk, const std::filesystem::path& target) {
  BOOTSEAL_TRY(const std::string source, node_of(disk));
  BOOTSEAL_TRY(const std::uint64_t set, add_set(target, false));
  // Names of nodes have at most 31 characters.
  const std::string node = "copy-" + Guid::random().to_string().substr(0, 18);
  const MachineDisk copy{disk, 0, false, {target, false, {}}};
  const Result<json::Value> opened =
      execute("blockdev-add", disk_node(copy, node, fmt::format("/dev/fdset/{}", set), ""));
  drop_set(set);
  if (!opened) return tl::unexpected(opened.error());
  const Result<json::Value> begun = execute(
      "blockdev-backup",
      json::Object{
          {"job-id", node}, {"device", source}, {"target", node}, {"sync", "full"}, {"auto-dismiss", false}});
  if (!begun) {
    static_cast<void>(delete_node(node));
    return tl::unexpected(begun.error());
  }
  return CopyWait([self = shared_from_this(), node](const std::function<bool()>& cancelled) {
    const Status copied = self->wait_for_copy(node, node, cancelled);
    static_cast<void>(self->execute("job-dismiss", json::Object{{"id", node}}));
    const Status closed = self->delete_node(node);
    return copied ? closed : copied;
  });
}

Status QemuMachine::wait_for_copy(const std::string& job, const std::string& node,
                                  const std::function<bool()>& cancelled) {
  bool told = false;
  for (;; std::this_thread::sleep_for(kPoll)) {
    if (ended_)
      return fail(ErrorCode::unavailable,
                  "the virtual machine ended while its disk was copied; copy it again");
    if (!told && cancelled()) {
      told = true;
      static_cast<void>(execute("job-cancel", json::Object{{"id", job}}));
    }
    BOOTSEAL_TRY(const json::Value answer, execute("query-jobs", nullptr));
    const json::Array* jobs = answer.if_array();
    if (jobs == nullptr) return fail(ErrorCode::corrupt, "QEMU's answer to query-jobs is no list");
    for (const json::Value& each : *jobs) {
      BOOTSEAL_TRY(json::Reader reader, json::Reader::object(each, "a job of QEMU"));
      BOOTSEAL_TRY(const std::string id, reader.string("id"));
      BOOTSEAL_TRY(const std::string state, reader.string("status"));
      if (id != job || state != "concluded") continue;
      BOOTSEAL_TRY(const auto problem, reader.optional_string("error"));
      if (told) return fail(ErrorCode::cancelled, fmt::format("the copy {} was cancelled", node));
      if (problem)
        return fail(ErrorCode::io_error, fmt::format("QEMU could not copy the disk: {}", *problem));
      return {};
    }
  }
}

}  // namespace bootseal::host
