// The disks of this host that are not a part of one VM's folder: HOME/disks/ID (docs/architecture.md, Disks).
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "bootseal/base/paths.h"
#include "bootseal/host/assignment.h"
#include "bootseal/host/disk_file.h"

namespace bootseal::host {

enum class DiskState : std::uint8_t { creating, ready, active_upload, failed };
enum class DiskOrigin : std::uint8_t { empty, image, disk, upload };

struct DiskSource {
  DiskOrigin origin = DiskOrigin::empty;
  std::string image;           // of origin image
  std::optional<DiskId> disk;  // of origin disk
  bool operator==(const DiskSource&) const = default;
};

struct DiskRequest {
  std::optional<std::uint64_t> size_bytes;
  std::optional<DiskSource> source;
};

// Errors: invalid_argument with the path of the field.
Result<DiskRequest> parse_disk_request(const json::Value& value);

struct DiskRecord {
  DiskId id;
  DiskState state = DiskState::creating;
  DiskSource source;
  std::uint64_t size_bytes = 0;
  bool raw = false;   // disk.raw, otherwise disk.qcow2
  bool live = false;  // a copy that the QEMU of a running VM makes
  std::optional<VmId> attached_to;
  std::optional<Error> error;
};

json::Value to_json(const DiskRecord& record);
// corrupt when the text is not a record.
Result<DiskRecord> parse_disk_record(std::string_view text);

// invalid_argument (corrupt when it is no qcow2 at all) for a qcow2 whose header makes its readers open a
// file for its data: no disk of the store has one, whoever wrote its header. Pure.
Status check_qcow2_header(ByteSpan header);

// How the store reaches disks of VMs that run. Calls block.
class RunningDisks {
 public:
  virtual ~RunningDisks() = default;
  // True when this disk is open in a QEMU.
  [[nodiscard]] virtual bool is_running(const VmId& vm, const DiskId& disk) = 0;
  // The new size in bytes.
  virtual Status grow(const VmId& vm, const DiskId& disk, std::uint64_t size) = 0;
  // Begins a copy of what the disk holds at this moment into the qcow2 `target`, which is as large; then
  // `wait` until it is done, `cancelled` (asked now and then), or fails.
  virtual Result<std::function<Status(const std::function<bool()>& cancelled)>> begin_copy(
      const VmId& vm, const DiskId& disk, const std::filesystem::path& target) = 0;
};

// Thread safe.
class DiskStore {
 public:
  explicit DiskStore(Paths paths) : paths_(std::move(paths)) {}
  ~DiskStore();
  DiskStore(const DiskStore&) = delete;
  DiskStore& operator=(const DiskStore&) = delete;

  // Before anything else; outlives the store's work.
  void set_running_disks(RunningDisks* running) { running_ = running; }
  // Reads the records and goes on with copies. Errors: io_error when the folder cannot be read; a damaged
  // record is logged and its disk left as it is.
  Status recover();

  // Makes the disk, or changes its size; the status then. Errors: invalid_argument, not_found (image,
  // source), permission_denied (an image elsewhere than in HOME/images), conflict.
  Result<json::Value> put(const DiskId& id, const DiskRequest& request);
  [[nodiscard]] Result<json::Value> status(const DiskId& id) const;  // not_found
  [[nodiscard]] json::Value list() const;
  // Idempotent. conflict while a VM has it or a copy is made of it.
  Status remove(const DiskId& id);

  // Bytes of a fixed VHD. Errors: conflict, invalid_argument (beyond the footer, more than 8 MiB).
  Status write_content(const DiskId& id, std::uint64_t offset, ByteSpan content);
  Result<json::Value> finish_upload(const DiskId& id);
  Result<Bytes> read_content(const DiskId& id, std::uint64_t offset, std::uint64_t length);

  // Gives the disks to the VM: all of them or none. Idempotent. Errors: not_found, conflict.
  Status claim(const VmId& vm, const std::vector<DiskId>& disks);
  // Takes it from the VM, whose QEMU must have closed it. Nothing happens when it is not this VM's.
  void release(const VmId& vm, const DiskId& disk);
  [[nodiscard]] std::vector<DiskId> disks_of(const VmId& vm) const;
  [[nodiscard]] std::vector<std::pair<VmId, DiskId>> claims() const;
  // For a start or an attachment. conflict while the disk is not Ready or is being copied.
  [[nodiscard]] Result<DiskFile> file(const DiskId& id) const;

 private:
  struct Entry {
    DiskRecord record;
    bool cancelled = false;          // what fills it is to end
    std::uint64_t copied_bytes = 0;  // of the source, for progress
    std::optional<std::jthread> job;
  };

  [[nodiscard]] std::filesystem::path folder_of(const DiskId& id) const;
  [[nodiscard]] std::filesystem::path file_of(const DiskRecord& record) const;
  Status write(const DiskRecord& record) const;
  Result<Entry*> find(const DiskId& id);  // with mutex_ held
  [[nodiscard]] json::Value status_of(const Entry& entry) const;
  [[nodiscard]] bool is_copied(const DiskId& id) const;  // with mutex_ held
  Status make(Entry& entry);
  Status make_layer(const DiskRecord& record);
  Result<std::uint64_t> size_from_image(const DiskSource& source) const;
  Status grow(Entry& entry, std::uint64_t size);
  Status begin_copy(Entry& entry);
  void run_copy(const DiskId& id, const DiskFile& from, const std::stop_token& stop);
  void finish_copy(const DiskId& id, const Status& copied);
  [[nodiscard]] DiskFile file_with(const DiskRecord& record) const;

  Paths paths_;
  RunningDisks* running_ = nullptr;
  // One change at a time; the long work of a copy is done without it.
  mutable std::mutex mutex_;
  std::map<DiskId, std::unique_ptr<Entry>> entries_;  // guarded by mutex_
};

}  // namespace bootseal::host
