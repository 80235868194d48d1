#include "bootseal/vmgs/repair.h"

#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "repairer.h"

namespace bootseal::vmgs {
namespace {

constexpr int kMaximumRounds = 6;  // each puts one header right
// A plan holds all that it writes in memory, and sealing again overwrites every free block.
constexpr std::uint64_t kLargestSealedAgain = std::uint64_t{256} << 20;

}  // namespace

Status Repairer::put_header(unsigned slot, Header header) {
  header.checksum = header_checksum(header);
  Bytes bytes(device_->sector_size());
  std::ranges::copy(wire_bytes(header), bytes.begin());
  BOOTSEAL_TRY_STATUS(device_->write(std::uint64_t{slot} * device_->sector_size(), bytes));
  return device_->flush();
}

Result<GenerationReport> Repairer::look(const Header& header, unsigned slot, bool use_key) {
  BOOTSEAL_TRY(Generation generation, Generation::open(*device_, body_size_, header, slot));
  std::string key_fault;
  if (use_key && key_ && header.algorithm != kAlgorithmNone) {
    if (const Status unlocked = generation.unlock(*key_); !unlocked) key_fault = unlocked.error().message;
  }
  GenerationReport report = generation.report();
  report.key_fault = std::move(key_fault);
  return report;
}

Result<Proof> Repairer::prove(const Header& candidate, unsigned slot, bool may_be_newer) {
  if (find_fault(candidate)) return Proof::none;
  BOOTSEAL_TRY(Generation generation, Generation::open(*device_, body_size_, candidate, slot));
  if (!generation.table_fault().empty()) return Proof::none;
  const bool encrypted = candidate.algorithm != kAlgorithmNone;
  if (encrypted && !key_) return Proof::locked;
  if (encrypted) {
    const Status unlocked = generation.unlock(*key_);
    if (!unlocked && unlocked.error().code == ErrorCode::io_error) return tl::unexpected(unlocked.error());
    // A key that opens the valid header opens the one before it too, for a change of the key takes more than
    // one commit. It need not open a newer one.
    if (!unlocked)
      return unlocked.error().code == ErrorCode::permission_denied && may_be_newer ? Proof::locked
                                                                                   : Proof::none;
  }
  const GenerationReport report = generation.report();
  // A file that is missing is no reason to give up those that are there.
  if (std::any_of(report.files.begin(), report.files.end(),
                  [](const FileReport& file) { return file.seal == Seal::failed; }))
    return Proof::none;
  return encrypted ? Proof::proven : Proof::unsealed;
}

Status Repairer::check_key() {
  if (!key_) return {};
  BOOTSEAL_TRY(const auto headers, read_headers(*device_));
  bool wrong = false;
  for (unsigned slot = 0; slot < 2; ++slot) {
    if (find_fault(headers[slot]) || headers[slot].algorithm == kAlgorithmNone) continue;
    BOOTSEAL_TRY(Generation generation, Generation::open(*device_, body_size_, headers[slot], slot));
    const Status unlocked = generation.unlock(*key_);
    if (unlocked || unlocked.error().code != ErrorCode::permission_denied) return {};
    wrong = true;
  }
  if (!wrong) return {};
  return fail(ErrorCode::permission_denied, "the key opens no key slot of the guest state store");
}

Status Repairer::mend_footer() {
  BOOTSEAL_TRY(const Inspection found, inspect(*device_, container_));
  body_size_ = found.body_size;
  if (container_ != Container::fixed_vhd || !found.footer_fault) return {};
  body_size_ = device_->size() - kFooterSize;
  const VhdFooter footer = make_vhd_footer(body_size_, Guid::random().bytes);
  BOOTSEAL_TRY_STATUS(device_->write(body_size_, wire_bytes(footer)));
  BOOTSEAL_TRY_STATUS(device_->flush());
  step(fmt::format("write a new footer for a body of {} bytes", body_size_));
  return {};
}

// The table of the active state, when the store does not open because of it.
Status Repairer::mend_table() {
  BOOTSEAL_TRY(const auto headers, read_headers(*device_));
  const std::array<std::optional<HeaderFault>, 2> faults{find_fault(headers[0]), find_fault(headers[1])};
  const auto active = choose_header(headers, faults);
  if (!active) return {};
  BOOTSEAL_TRY(const GenerationReport damaged, look(headers[*active], *active, true));
  if (damaged.table_fault.empty()) return {};
  const unsigned other = 1 - *active;
  if (!faults[other]) {
    BOOTSEAL_TRY(const Proof proof, prove(headers[other], other, false));
    if (proof != Proof::none) {
      Header header = headers[other];
      header.sequence = headers[*active].sequence + 1;
      BOOTSEAL_TRY_STATUS(put_header(other, header));
      step(fmt::format(
          "put header {} (sequence {}) in front of header {}, whose file table is damaged ({}): the last "
          "change of the store is undone, and stays on the disk until the next one",
          other + 1, std::uint32_t{headers[other].sequence}, *active + 1, damaged.table_fault));
      return {};
    }
  }
  return drop_lost_files(damaged, headers[*active]);
}

// A table without the entries that lie nowhere, on a free block; everything else as it is.
Status Repairer::drop_lost_files(const GenerationReport& generation, const Header& header) {
  const std::uint64_t capacity = body_size_ / kBlockSize;
  if (header.file_table_block >= capacity) {
    leave("the file table that the header leads to is not there");
    return {};
  }
  BOOTSEAL_TRY(FileTable table, read_table(*device_, header.file_table_block));
  std::string dropped;
  for (std::size_t i = 1; i < kFileCount; ++i) {
    const auto id = static_cast<FileId>(i);
    if (!table[i].allocated() || !entry_fault(table[i], id, capacity)) continue;
    if (id == FileId::extended_file_table && header.algorithm != kAlgorithmNone) {
      leave("the extended file table, which has the keys of all sealed files, is not there");
      return {};
    }
    table[i] = FileEntry{};
    dropped += (dropped.empty() ? "" : ", ") + describe(id);
  }
  const auto extents = check_table(table, header.file_table_block, capacity);
  if (dropped.empty() || !extents) {
    leave(fmt::format("the file table of header {}: {}", generation.header + 1,
                      extents ? generation.table_fault : extents.error().message));
    return {};
  }
  Allocator allocator(capacity);
  allocator.reserve(*extents);
  const auto block = allocator.take(1);
  if (!block) {
    leave(fmt::format("the file table of header {}: {}; there is no free block for another one",
                      generation.header + 1, generation.table_fault));
    return {};
  }
  table[0].block = *block;
  Header next = header;
  next.file_table_block = *block;
  next.sequence = header.sequence + 1;
  BOOTSEAL_TRY_STATUS(device_->write(std::uint64_t{*block} * kBlockSize, wire_bytes(table)));
  BOOTSEAL_TRY_STATUS(device_->flush());
  BOOTSEAL_TRY_STATUS(put_header(1 - generation.header, next));
  step(fmt::format("drop {} from the file table: {}", dropped, generation.table_fault));
  return {};
}

Status Repairer::mend_zero_key() {
  auto store = Store::open(std::make_unique<DeviceView>(*device_), container_);
  if (!store || !key_ || !store->info().encrypted || !store->unlock(*key_)) return {};
  if (!store->info().zero_metadata_key) return {};
  if (store->info().body_size > kLargestSealedAgain) {
    leave(
        "the sealed files can be read by anybody; the store is too large to seal them again in a repair, and "
        "any change of "
        "it does so");
    return {};
  }
  const Status sealed = store->touch();
  if (!sealed) {
    leave(fmt::format("the sealed files can be read by anybody, and cannot be sealed again: {}",
                      sealed.error().describe()));
    return {};
  }
  step(
      "seal every file again under new keys, and overwrite what the old ones open: they could be read by "
      "anybody");
  return {};
}

Status Repairer::run() {
  BOOTSEAL_TRY_STATUS(mend_footer());
  BOOTSEAL_TRY_STATUS(check_key());
  for (int round = 0; round < kMaximumRounds; ++round) {
    BOOTSEAL_TRY(const bool again, mend_headers());
    if (!again) break;
    left_alone.clear();
  }
  BOOTSEAL_TRY_STATUS(mend_table());
  return mend_zero_key();
}

Result<RepairPlan> RepairPlan::make(Device& device, Container container, std::optional<ByteSpan> key) {
  RepairPlan plan;
  plan.device_size_ = device.size();
  BOOTSEAL_TRY(const Inspection before, inspect(device, container, key));
  if (before.condition == Condition::empty || before.condition == Condition::version_1) {
    plan.left_alone_.push_back(before.reason);
    return plan;
  }
  const std::uint64_t needed =
      before.body_size + (container == Container::fixed_vhd && before.footer_fault ? kFooterSize : 0);
  if (needed < kMinimumBodySize || std::max(needed, device.size()) > kMaximumDeviceSize) {
    plan.left_alone_.push_back(before.reason);
    return plan;
  }
  OverlayDevice tried(device, std::max(device.size(), needed));
  Repairer repairer(tried, container, key);
  BOOTSEAL_TRY_STATUS(repairer.run());
  plan.left_alone_ = std::move(repairer.left_alone);
  BOOTSEAL_TRY(const Inspection after, inspect(tried, container, key));
  for (const Finding& finding : after.findings) {
    if (finding.severity == Severity::damage && plan.left_alone_.empty())
      plan.left_alone_.push_back(finding.where + ": " + finding.text);
  }
  if (after.condition != Condition::valid) return plan;  // it would not open: nothing is touched
  plan.steps_ = std::move(repairer.steps);
  plan.operations_ = tried.operations();
  plan.device_size_ = tried.size();
  return plan;
}

Status RepairPlan::apply(Device& device) const {
  if (device.size() != device_size_)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the device has {} bytes, the repair was made for {}", device.size(), device_size_));
  for (const auto& operation : operations_) {
    BOOTSEAL_TRY_STATUS(operation.flush ? device.flush() : device.write(operation.offset, operation.data));
  }
  return {};
}

}  // namespace bootseal::vmgs
