// What fills disks and reads them: copies, uploads, downloads.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "bootseal/base/fds.h"
#include "bootseal/host/disk_store.h"
#include "bootseal/host/vhd.h"
#include "bootseal/log/log.h"
#include "disk_names.h"

namespace bootseal::host {
namespace {

constexpr std::uint64_t kLargestPiece = std::uint64_t{8} << 20;
constexpr std::string_view kReadName = "read.tmp";

json::Value chain(const DiskFile& file) {
  json::Object data{{"driver", "file"}, {"filename", file.path.native()}};
  if (file.raw) return json::Object{{"driver", "raw"}, {"file", std::move(data)}};
  json::Value below = nullptr;
  if (!file.image.empty()) {
    below = json::Object{{"driver", "qcow2"},
                         {"file", json::Object{{"driver", "file"}, {"filename", file.image.native()}}},
                         {"backing", nullptr}};
  }
  return json::Object{{"driver", "qcow2"}, {"file", std::move(data)}, {"backing", std::move(below)}};
}

Status check_header(const DiskFile& file) {
  if (file.raw) return {};
  BOOTSEAL_TRY(const UniqueFd fd, open_file(file.path, O_RDONLY | O_NOFOLLOW));
  Bytes header(104);
  BOOTSEAL_TRY_STATUS(read_exactly_at(fd.get(), header, 0));
  return check_qcow2_header(header);
}

}  // namespace

Result<std::string> image_name(const DiskFile& file) {
  BOOTSEAL_TRY_STATUS(check_header(file));
  return "json:" + json::serialize(chain(file));
}

Status run_qemu_img(std::vector<std::string> arguments, std::stop_token stop) {
  Command command;
  command.arguments = std::move(arguments);
  command.arguments.insert(command.arguments.begin(), "qemu-img");
  BOOTSEAL_TRY_STATUS(run_checked(command, {}, std::nullopt, std::move(stop)));
  return {};
}

std::uint64_t allocated_bytes(const std::filesystem::path& file) {
  struct stat status {};
  return ::stat(file.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
}

// With mutex_ held. A copy of a disk that a running VM has is made by its QEMU, of this very moment.
Status DiskStore::begin_copy(Entry& entry) {
  DiskRecord& record = entry.record;
  BOOTSEAL_TRY(const Entry* source, find(*record.source.disk));
  const DiskRecord from = source->record;
  const std::filesystem::path target = file_of(record).native() + ".new";
  ::unlink(target.c_str());
  const bool running =
      from.attached_to && running_ != nullptr && running_->is_running(*from.attached_to, from.id);
  entry.copied_bytes = allocated_bytes(file_of(from)) + allocated_bytes(from.source.image);
  record.state = DiskState::creating;
  record.live = running;
  if (!running) {
    BOOTSEAL_TRY_STATUS(write(record));
    entry.job.emplace([this, id = record.id, file = file_with(from)](const std::stop_token& stop) {
      run_copy(id, file, stop);
    });
    return {};
  }
  BOOTSEAL_TRY_STATUS(
      run_qemu_img({"create", "-q", "-f", "qcow2", target.native(), std::to_string(from.size_bytes)}));
  if (::chmod(target.c_str(), 0600) != 0)
    return fail_errno(errno, fmt::format("protecting {}", target.native()));
  BOOTSEAL_TRY(const auto wait, running_->begin_copy(*from.attached_to, from.id, target));
  BOOTSEAL_TRY_STATUS(write(record));
  entry.job.emplace([this, id = record.id, wait](const std::stop_token& stop) {
    finish_copy(id, wait([&stop]() { return stop.stop_requested(); }));
  });
  return {};
}

void DiskStore::run_copy(const DiskId& id, const DiskFile& from, const std::stop_token& stop) {
  const std::filesystem::path target = folder_of(id) / "disk.qcow2.new";
  finish_copy(id, [&]() -> Status {
    BOOTSEAL_TRY(const std::string name, image_name(from));
    return run_qemu_img({"convert", "-q", "-O", "qcow2", name, target.native()}, stop);
  }());
}

void DiskStore::finish_copy(const DiskId& id, const Status& copied) {
  const std::filesystem::path file = folder_of(id) / "disk.qcow2";
  const std::filesystem::path made = file.native() + ".new";
  const std::lock_guard lock(mutex_);
  const Result<Entry*> found = find(id);
  if (!found || (*found)->cancelled) return;
  DiskRecord& record = (*found)->record;
  const Status done = [&]() -> Status {
    BOOTSEAL_TRY_STATUS(copied);
    // Asked for larger than its source.
    BOOTSEAL_TRY(const std::string name, image_name({made, false, {}}));
    BOOTSEAL_TRY_STATUS(run_qemu_img({"resize", "-q", name, std::to_string(record.size_bytes)}));
    BOOTSEAL_TRY(const UniqueFd fd, open_file(made, O_RDONLY | O_NOFOLLOW));
    if (::fchmod(fd.get(), 0600) != 0 || ::fsync(fd.get()) != 0)
      return fail_errno(errno, fmt::format("flushing {}", made.native()));
    if (::rename(made.c_str(), file.c_str()) != 0)
      return fail_errno(errno, fmt::format("renaming {}", made.native()));
    return sync_folder(file.parent_path());
  }();
  record.state = done ? DiskState::ready : DiskState::failed;
  if (!done) {
    record.error = done.error();
    ::unlink(made.c_str());
    log::error("disk.copy_failed", {{"disk", id.to_string()}, {"reason", done.error().describe()}});
  }
  if (const Status written = write(record); !written)
    log::error("disk.record_not_written", {{"disk", id.to_string()}, {"reason", written.error().describe()}});
}

Status DiskStore::write_content(const DiskId& id, std::uint64_t offset, ByteSpan content) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const Entry* entry, find(id));
  const DiskRecord& record = entry->record;
  if (record.state != DiskState::active_upload)
    return fail(ErrorCode::conflict, fmt::format("disk {} is {}: nothing is uploaded into it", id.to_string(),
                                                 disk_state_name(record.state)));
  const std::uint64_t end = record.size_bytes + kVhdFooterBytes;
  if (content.size() > kLargestPiece || offset > end || content.size() > end - offset)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} do not fit: at most {} at once, and {} with the footer",
                            content.size(), offset, kLargestPiece, end));
  BOOTSEAL_TRY(const UniqueFd fd, open_file(file_of(record), O_WRONLY | O_NOFOLLOW));
  return write_all_at(fd.get(), content, offset);
}

Result<json::Value> DiskStore::finish_upload(const DiskId& id) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(Entry * entry, find(id));
  DiskRecord& record = entry->record;
  if (record.state == DiskState::ready && record.source.origin == DiskOrigin::upload)
    return status_of(*entry);
  if (record.state != DiskState::active_upload)
    return fail(ErrorCode::conflict, fmt::format("disk {} is {}: there is no upload to finish",
                                                 id.to_string(), disk_state_name(record.state)));
  const std::filesystem::path file = file_of(record);
  BOOTSEAL_TRY(const UniqueFd fd, open_file(file, O_RDWR | O_NOFOLLOW));
  Bytes footer(kVhdFooterBytes);
  BOOTSEAL_TRY_STATUS(read_exactly_at(fd.get(), footer, record.size_bytes));
  BOOTSEAL_TRY_STATUS(check_vhd_footer(footer, record.size_bytes));
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fmt::format("flushing {}", file.native()));
  record.state = DiskState::ready;
  const Status written = write(record);
  if (!written) {
    record.state = DiskState::active_upload;
    return tl::unexpected(written.error());
  }
  // recover() does it when hostd ends here.
  if (::ftruncate(fd.get(), static_cast<off_t>(record.size_bytes)) != 0)
    return fail_errno(errno, fmt::format("cutting the footer off {}", file.native()));
  return status_of(*entry);
}

Result<Bytes> DiskStore::read_content(const DiskId& id, std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const Entry* entry, find(id));
  const DiskRecord& record = entry->record;
  const bool running =
      record.attached_to && running_ != nullptr && running_->is_running(*record.attached_to, id);
  if (record.state != DiskState::ready || running)
    return fail(ErrorCode::conflict,
                running
                    ? fmt::format("disk {} is in use by a virtual machine that runs; stop it, or copy the "
                                  "disk and read the copy",
                                  id.to_string())
                    : fmt::format("disk {} is {}", id.to_string(), disk_state_name(record.state)));
  const std::uint64_t end = record.size_bytes + kVhdFooterBytes;
  if (length == 0 || length > kLargestPiece || offset > end || length > end - offset)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} are not there: at most {} at once, and {} with the footer",
                            length, offset, kLargestPiece, end));
  // In whole sectors, which is what disks are read in.
  const std::uint64_t first = offset / 512 * 512;
  const std::uint64_t last = std::min((offset + length + 511) / 512 * 512, record.size_bytes);
  Bytes content;
  if (first < last) {
    const json::Object part{
        {"driver", "raw"}, {"offset", first}, {"size", last - first}, {"file", chain(file_with(record))}};
    BOOTSEAL_TRY_STATUS(check_header(file_with(record)));
    const std::filesystem::path piece = folder_of(id) / kReadName;
    BOOTSEAL_TRY_STATUS(
        run_qemu_img({"convert", "-q", "-O", "raw", "json:" + json::serialize(part), piece.native()}));
    Result<Bytes> read = read_file(piece, last - first);
    ::unlink(piece.c_str());
    BOOTSEAL_TRY(content, std::move(read));
    if (content.size() != last - first)
      return fail(ErrorCode::io_error, fmt::format("disk {} was read in part only", id.to_string()));
  }
  if (offset + length > record.size_bytes)
    append(content, make_vhd_footer(record.size_bytes, id.guid, TimePoint{}));
  const auto skipped = static_cast<std::ptrdiff_t>(offset - std::min(first, record.size_bytes));
  return Bytes(content.begin() + skipped, content.begin() + skipped + static_cast<std::ptrdiff_t>(length));
}

}  // namespace bootseal::host
