#include "bootseal/host/disk_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "bootseal/base/fds.h"
#include "bootseal/log/log.h"
#include "disk_names.h"

namespace bootseal::host {
namespace {

constexpr std::size_t kRecordBytes = 65536;

std::string quoted(const DiskId& id) {
  return fmt::format("disk {}", id.to_string());
}

Status settle(const std::filesystem::path& file) {
  BOOTSEAL_TRY(const UniqueFd fd, open_file(file, O_RDONLY | O_NOFOLLOW));
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fmt::format("flushing {}", file.native()));
  return {};
}

}  // namespace

DiskStore::~DiskStore() {
  std::vector<std::jthread> jobs;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : entries_) {
      entry->cancelled = true;  // what is unfinished stays as it is written down
      if (entry->job) jobs.push_back(*std::move(entry->job));
    }
  }
  for (std::jthread& job : jobs) job.request_stop();
}

std::filesystem::path DiskStore::folder_of(const DiskId& id) const {
  return paths_.home / "disks" / id.to_string();
}

std::filesystem::path DiskStore::file_of(const DiskRecord& record) const {
  return folder_of(record.id) / (record.raw ? "disk.raw" : "disk.qcow2");
}

DiskFile DiskStore::file_with(const DiskRecord& record) const {
  return {file_of(record), record.raw, record.source.image};
}

Status DiskStore::write(const DiskRecord& record) const {
  return replace_file(folder_of(record.id) / "disk.json", as_bytes(json::serialize_pretty(to_json(record))));
}

Result<DiskStore::Entry*> DiskStore::find(const DiskId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end())
    return fail(ErrorCode::not_found, fmt::format("this host has no {}", quoted(id)));
  return found->second.get();
}

bool DiskStore::is_copied(const DiskId& id) const {
  return std::ranges::any_of(entries_, [&](const auto& pair) {
    const DiskRecord& record = pair.second->record;
    return record.state == DiskState::creating && record.source.disk == id;
  });
}

Status DiskStore::recover() {
  const std::filesystem::path folder = paths_.home / "disks";
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0711));
  const std::lock_guard lock(mutex_);
  std::error_code problem;
  for (const auto& file : std::filesystem::directory_iterator(folder, problem)) {
    const Result<DiskId> id = DiskId::parse(file.path().filename().native());
    if (!id) continue;
    Result<DiskRecord> record = [&]() -> Result<DiskRecord> {
      BOOTSEAL_TRY(const Bytes text, read_file(file.path() / "disk.json", kRecordBytes));
      BOOTSEAL_TRY(DiskRecord read, parse_disk_record(as_text(text)));
      if (read.id != *id) return fail(ErrorCode::corrupt, "the record names another disk");
      return read;
    }();
    if (!record && record.error().code == ErrorCode::not_found) {
      // Nobody was told of it: its creation ended before its record was written.
      std::filesystem::remove_all(file.path(), problem);
      continue;
    }
    if (!record) {
      log::error("disk.record_unreadable",
                 {{"file", (file.path() / "disk.json").native()}, {"reason", record.error().describe()}});
      continue;
    }
    auto entry = std::make_unique<Entry>();
    entry->record = *std::move(record);
    entries_[*id] = std::move(entry);
  }
  if (problem) return fail_errno(problem.value(), fmt::format("reading {}", folder.native()));
  for (auto& [id, entry] : entries_) {
    // An upload that was finished and still has its footer: hostd ended in between.
    const DiskRecord& record = entry->record;
    if (record.raw && record.state == DiskState::ready &&
        std::filesystem::file_size(file_of(record), problem) == record.size_bytes + 512)
      std::filesystem::resize_file(file_of(record), record.size_bytes, problem);
    if (entry->record.state != DiskState::creating) continue;
    const Status again = entry->record.live
                             ? Status(fail(ErrorCode::cancelled,
                                           "hostd was restarted while this disk of a running virtual machine "
                                           "was copied, and the moment is over; copy it again"))
                             : make(*entry);
    if (again) continue;
    entry->record.state = DiskState::failed;
    entry->record.error = again.error();
    BOOTSEAL_TRY_STATUS(write(entry->record));
  }
  return {};
}

json::Value DiskStore::status_of(const Entry& entry) const {
  const DiskRecord& record = entry.record;
  const bool creating = record.state == DiskState::creating;
  const std::filesystem::path file = file_of(record);
  const std::uint64_t allocated =
      allocated_bytes(creating ? std::filesystem::path(file.native() + ".new") : file);
  // A copy allocates what its source did.
  const std::uint64_t expected = std::max<std::uint64_t>(entry.copied_bytes, 1);
  const std::uint64_t progress = creating ? std::min<std::uint64_t>(allocated * 100 / expected, 99) : 100;
  json::Object object{{"diskId", record.id.to_string()},
                      {"state", disk_state_name(record.state)},
                      {"sizeBytes", record.size_bytes},
                      {"allocatedBytes", allocated},
                      {"progressPercent", progress}};
  if (record.attached_to) object["attachedTo"] = record.attached_to->to_string();
  if (record.error) object["error"] = error_json(*record.error);
  return object;
}

Result<json::Value> DiskStore::status(const DiskId& id) const {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const Entry* entry, const_cast<DiskStore*>(this)->find(id));
  return status_of(*entry);
}

json::Value DiskStore::list() const {
  const std::lock_guard lock(mutex_);
  json::Array values;
  for (const auto& [id, entry] : entries_) values.push_back(status_of(*entry));
  return json::Object{{"value", std::move(values)}};
}

Result<json::Value> DiskStore::put(const DiskId& id, const DiskRequest& request) {
  const std::lock_guard lock(mutex_);
  if (const Result<Entry*> known = find(id)) {
    Entry& entry = **known;
    if (request.source && *request.source != entry.record.source)
      return fail(ErrorCode::conflict,
                  fmt::format("{} is there and was made otherwise; delete it first", quoted(id)));
    if (request.size_bytes) BOOTSEAL_TRY_STATUS(grow(entry, *request.size_bytes));
    return status_of(entry);
  }
  if (!request.source)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not there yet: 'source' says what it is made of, "
                            "one of empty, image, disk, upload",
                            quoted(id)));
  auto entry = std::make_unique<Entry>();
  DiskRecord& record = entry->record;
  record.id = id;
  record.source = *request.source;
  record.raw = record.source.origin == DiskOrigin::upload;
  BOOTSEAL_TRY(const std::uint64_t least, size_from_image(record.source));
  record.size_bytes = request.size_bytes.value_or(least);
  if (record.size_bytes == 0)
    return fail(ErrorCode::invalid_argument, "sizeBytes: a disk that is made of nothing needs a size");
  if (record.size_bytes < least)
    return fail(ErrorCode::invalid_argument,
                fmt::format("sizeBytes: {} is smaller than what the disk is made of ({} bytes)",
                            record.size_bytes, least));
  BOOTSEAL_TRY_STATUS(make_folder(folder_of(id), 0711));
  const Status made = make(*entry);
  if (!made) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_of(id), ignored);
    return tl::unexpected(made.error());
  }
  json::Value status = status_of(*entry);
  entries_[id] = std::move(entry);
  log::info("disk.made", {{"disk", id.to_string()}, {"bytes", record.size_bytes}});
  return status;
}

// The smallest size that a disk of this source may have; 0 = any.
Result<std::uint64_t> DiskStore::size_from_image(const DiskSource& source) const {
  if (source.origin == DiskOrigin::disk) {
    BOOTSEAL_TRY(const Entry* from, const_cast<DiskStore*>(this)->find(*source.disk));
    if (from->record.state != DiskState::ready)
      return fail(ErrorCode::conflict,
                  fmt::format("{} is {}, only a Ready one is copied", quoted(*source.disk),
                              disk_state_name(from->record.state)));
    return from->record.size_bytes;
  }
  if (source.origin != DiskOrigin::image) return 0;
  // The control plane says which image; it may not make one VM read what belongs to another.
  std::error_code problem;
  const std::filesystem::path real = std::filesystem::weakly_canonical(source.image, problem);
  const std::filesystem::path images = std::filesystem::weakly_canonical(paths_.images(), problem);
  if (problem || std::ranges::mismatch(images, real).in1 != images.end())
    return fail(
        ErrorCode::permission_denied,
        fmt::format("the image's disk {} does not lie in {}: it is not used", source.image, images.native()));
  BOOTSEAL_TRY(const UniqueFd fd, open_file(source.image, O_RDONLY | O_NOFOLLOW));
  Bytes header(104);
  BOOTSEAL_TRY_STATUS(read_exactly_at(fd.get(), header, 0));
  BOOTSEAL_TRY_STATUS(check_qcow2_header(header));
  return load_be64(header, 24);
}

// Makes the file of a new disk, or begins to. With mutex_ held.
Status DiskStore::make(Entry& entry) {
  DiskRecord& record = entry.record;
  if (record.source.origin == DiskOrigin::disk) return begin_copy(entry);
  const std::filesystem::path file = file_of(record);
  if (record.source.origin == DiskOrigin::upload) {
    BOOTSEAL_TRY(const UniqueFd fd, open_file(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    // With room for the footer.
    if (::ftruncate(fd.get(), static_cast<off_t>(record.size_bytes + 512)) != 0)
      return fail_errno(errno, fmt::format("making {}", file.native()));
  } else {
    BOOTSEAL_TRY_STATUS(make_layer(record));
  }
  BOOTSEAL_TRY_STATUS(settle(file));
  BOOTSEAL_TRY_STATUS(sync_folder(folder_of(record.id)));
  record.state = record.source.origin == DiskOrigin::upload ? DiskState::active_upload : DiskState::ready;
  return write(record);
}

Status DiskStore::make_layer(const DiskRecord& record) {
  const std::filesystem::path file = file_of(record);
  std::vector<std::string> arguments{"create", "-q", "-f",
                                     "qcow2",  "-o", "lazy_refcounts=off,cluster_size=65536"};
  if (!record.source.image.empty())
    arguments.insert(arguments.end(), {"-F", "qcow2", "-b", record.source.image});
  arguments.push_back(file.native());
  arguments.push_back(std::to_string(record.size_bytes));
  BOOTSEAL_TRY_STATUS(run_qemu_img(std::move(arguments)));
  if (::chmod(file.c_str(), 0600) != 0) return fail_errno(errno, fmt::format("protecting {}", file.native()));
  return {};
}

// With mutex_ held.
Status DiskStore::grow(Entry& entry, std::uint64_t size) {
  DiskRecord& record = entry.record;
  if (size == record.size_bytes) return {};
  if (size < record.size_bytes)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("sizeBytes: {} has {} bytes and is not made smaller ({} were asked for): that would cut "
                    "off what lies behind",
                    quoted(record.id), record.size_bytes, size));
  if (record.state != DiskState::ready || is_copied(record.id))
    return fail(ErrorCode::conflict, fmt::format("{} is {}; it grows when it is Ready and not being copied",
                                                 quoted(record.id), disk_state_name(record.state)));
  const bool running =
      record.attached_to && running_ != nullptr && running_->is_running(*record.attached_to, record.id);
  if (running) {
    BOOTSEAL_TRY_STATUS(running_->grow(*record.attached_to, record.id, size));
  } else {
    BOOTSEAL_TRY(const std::string name, image_name(file_with(record)));
    BOOTSEAL_TRY_STATUS(run_qemu_img({"resize", "-q", name, std::to_string(size)}));
  }
  record.size_bytes = size;
  return write(record);
}

Status DiskStore::remove(const DiskId& id) {
  std::optional<std::jthread> job;
  {
    const std::lock_guard lock(mutex_);
    const Result<Entry*> known = find(id);
    if (!known) return {};
    Entry& entry = **known;
    if (entry.record.attached_to)
      return fail(ErrorCode::conflict,
                  fmt::format("{} is attached to the virtual machine {}; detach it first", quoted(id),
                              entry.record.attached_to->to_string()));
    if (is_copied(id))
      return fail(ErrorCode::conflict,
                  fmt::format("{} is being copied; delete the copy first, or wait for it", quoted(id)));
    entry.cancelled = true;
    job = std::exchange(entry.job, std::nullopt);
  }
  if (job) {
    job->request_stop();
    job->join();
  }
  const std::lock_guard lock(mutex_);
  // The record first: a folder without one is nobody's.
  ::unlink((folder_of(id) / "disk.json").c_str());
  std::error_code problem;
  std::filesystem::remove_all(folder_of(id), problem);
  if (problem) return fail_errno(problem.value(), fmt::format("removing {}", folder_of(id).native()));
  entries_.erase(id);
  log::info("disk.removed", {{"disk", id.to_string()}});
  return {};
}

Status DiskStore::claim(const VmId& vm, const std::vector<DiskId>& disks) {
  const std::lock_guard lock(mutex_);
  for (const DiskId& id : disks) {
    BOOTSEAL_TRY(const Entry* entry, find(id));
    const DiskRecord& record = entry->record;
    if (record.attached_to && *record.attached_to != vm)
      return fail(ErrorCode::conflict, fmt::format("{} is attached to the virtual machine {}", quoted(id),
                                                   record.attached_to->to_string()));
    if (record.state != DiskState::ready)
      return fail(ErrorCode::conflict, fmt::format("{} is {}; only a Ready disk is attached", quoted(id),
                                                   disk_state_name(record.state)));
    if (!record.attached_to && is_copied(id))
      return fail(ErrorCode::conflict,
                  fmt::format("{} is being copied; wait until that is done", quoted(id)));
  }
  for (const DiskId& id : disks) {
    DiskRecord& record = (*find(id))->record;
    if (record.attached_to) continue;
    record.attached_to = vm;
    const Status written = write(record);
    if (!written) {
      record.attached_to.reset();
      return written;
    }
  }
  return {};
}

void DiskStore::release(const VmId& vm, const DiskId& id) {
  const std::lock_guard lock(mutex_);
  const Result<Entry*> entry = find(id);
  if (!entry || (*entry)->record.attached_to != vm) return;
  DiskRecord& record = (*entry)->record;
  record.attached_to.reset();
  if (const Status written = write(record); !written) {
    // It is asked for again at the next change, or when hostd starts.
    record.attached_to = vm;
    log::error("disk.record_not_written", {{"disk", id.to_string()}, {"reason", written.error().describe()}});
  }
}

std::vector<DiskId> DiskStore::disks_of(const VmId& vm) const {
  const std::lock_guard lock(mutex_);
  std::vector<DiskId> disks;
  for (const auto& [id, entry] : entries_) {
    if (entry->record.attached_to == vm) disks.push_back(id);
  }
  return disks;
}

std::vector<std::pair<VmId, DiskId>> DiskStore::claims() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<VmId, DiskId>> claims;
  for (const auto& [id, entry] : entries_) {
    if (entry->record.attached_to) claims.emplace_back(*entry->record.attached_to, id);
  }
  return claims;
}

Result<DiskFile> DiskStore::file(const DiskId& id) const {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const Entry* entry, const_cast<DiskStore*>(this)->find(id));
  if (entry->record.state != DiskState::ready)
    return fail(ErrorCode::conflict,
                fmt::format("{} is {}", quoted(id), disk_state_name(entry->record.state)));
  const bool at_rest_copy = std::ranges::any_of(entries_, [&](const auto& pair) {
    const DiskRecord& record = pair.second->record;
    return record.state == DiskState::creating && record.source.disk == id && !record.live;
  });
  if (at_rest_copy)
    return fail(ErrorCode::conflict, fmt::format("{} is being copied; wait until that is done", quoted(id)));
  return file_with(entry->record);
}

}  // namespace bootseal::host
