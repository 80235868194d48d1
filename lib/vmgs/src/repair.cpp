#include "bootseal/vmgs/repair.h"

#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "device_view.h"
#include "generation.h"

namespace bootseal::vmgs {
namespace {

constexpr int kMaximumRounds = 4;  // each puts one header right

// What is known of the state that a damaged header may lead to.
enum class Proof : std::uint8_t {
  none,     // it leads nowhere: there is nothing to keep
  proven,   // the key opens it and every seal is right
  locked,   // in order as far as can be seen; the key would tell
  unsealed  // in order as far as can be seen, and nothing seals it
};

class Repairer {
 public:
  Repairer(OverlayDevice& device, Container container, std::optional<ByteSpan> key)
      : device_(&device), container_(container), key_(key) {}

  // Errors: io_error, permission_denied (the key).
  Status run();

  std::vector<std::string> steps;
  std::vector<std::string> left_alone;

 private:
  Status mend_footer();
  // permission_denied when the key opens none of the valid headers.
  Status check_key();
  // True when a header was put right and the others are to be looked at again.
  Result<bool> mend_headers();
  Result<bool> mend_both_damaged(const std::array<Header, 2>& headers);
  Result<bool> mend_damaged(const std::array<Header, 2>& headers, unsigned damaged, std::string_view fault);
  Result<bool> mend_order(const std::array<Header, 2>& headers);
  Status mend_table();
  Status drop_lost_files(const GenerationReport& generation, const Header& header);
  Status mend_zero_key();
  // `may_be_newer`: than what the key is known to open.
  Result<Proof> prove(const Header& candidate, unsigned slot, bool may_be_newer);
  Result<GenerationReport> look(const Header& header, unsigned slot, bool use_key);
  Status put_header(unsigned slot, Header header);
  void leave(std::string text) { left_alone.push_back(std::move(text)); }
  void step(std::string text) { steps.push_back(std::move(text)); }

  OverlayDevice* device_;
  Container container_;
  std::optional<ByteSpan> key_;
  std::uint64_t body_size_ = 0;
};

// The header as it would be with right fixed fields and checksum.
Header restored(Header header) {
  header.signature = kSignature;
  header.version = kVersion3;
  header.header_size = sizeof(Header);
  header.file_table_blocks = 1;
  header.checksum = header_checksum(header);
  return header;
}

bool is_blank(const Header& header) {
  return is_zero(wire_bytes(header));
}

bool is_next(std::uint32_t sequence, std::uint32_t before) {
  return sequence == static_cast<std::uint32_t>(before + 1);
}

// The newer of two numbers that wrap.
bool is_newer(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a - b) > 0;
}

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

// No header counts: those that lead to something in order are restored, so that a generation is never given
// up for the other.
Result<bool> Repairer::mend_both_damaged(const std::array<Header, 2>& headers) {
  std::array<std::optional<Header>, 2> candidates;
  bool locked = false;
  for (unsigned slot = 0; slot < 2; ++slot) {
    if (is_blank(headers[slot])) continue;
    const Header candidate = restored(headers[slot]);
    BOOTSEAL_TRY(const Proof proof, prove(candidate, slot, true));
    locked = locked || proof == Proof::locked;
    if (proof == Proof::proven || proof == Proof::unsealed) candidates[slot] = candidate;
  }
  if (!candidates[0] && !candidates[1]) {
    leave(
        locked
            ? "neither header is valid; the store is sealed, and only its key can tell which header leads to "
              "something whole: give it with --key-path"
            : "neither header is valid, and neither leads to a file table that is in order");
    return false;
  }
  // The newer one first: after a crash between the two the store opens with its last state.
  const bool second_first =
      candidates[0] && candidates[1] && is_newer(candidates[1]->sequence, candidates[0]->sequence);
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned slot = second_first ? 1 - i : i;
    if (!candidates[slot]) continue;
    BOOTSEAL_TRY_STATUS(put_header(slot, *candidates[slot]));
    step(fmt::format(
        "restore header {} (sequence {}): its own fields are wrong, the file table it leads to is in order",
        slot + 1, std::uint32_t{candidates[slot]->sequence}));
  }
  return true;
}

Result<bool> Repairer::mend_damaged(const std::array<Header, 2>& headers, unsigned damaged,
                                    std::string_view fault) {
  const unsigned valid = 1 - damaged;
  const std::uint32_t sequence = headers[valid].sequence;
  Header candidate = restored(headers[damaged]);
  const bool newer = is_next(candidate.sequence, sequence);
  const bool older = is_next(sequence, candidate.sequence);
  BOOTSEAL_TRY(Proof proof, prove(candidate, damaged, newer));
  if (proof != Proof::proven && key_ && headers[valid].algorithm != kAlgorithmNone) {
    // Torn inside of its key slots: those of the other header may open the same table.
    Header with_slots = candidate;
    with_slots.algorithm = headers[valid].algorithm;
    with_slots.key_slots = headers[valid].key_slots;
    with_slots = restored(with_slots);
    BOOTSEAL_TRY(const Proof with_others, prove(with_slots, damaged, false));
    if (with_others == Proof::proven) {
      candidate = with_slots;
      proof = with_others;
    }
  }
  const std::string name = fmt::format("header {} ({})", damaged + 1, fault);
  BOOTSEAL_TRY(const GenerationReport counts, look(headers[valid], valid, true));
  if (!counts.table_fault.empty() && proof != Proof::none) {
    Header first = candidate;
    first.sequence = sequence + 1;
    BOOTSEAL_TRY_STATUS(put_header(damaged, first));
    step(fmt::format("restore {} and put it in front of header {}, whose file table is damaged ({})", name,
                     valid + 1, counts.table_fault));
    return true;
  }
  if (proof == Proof::proven && (newer || older)) {
    BOOTSEAL_TRY_STATUS(put_header(damaged, candidate));
    step(fmt::format(
        "restore {}: the key proves the state it leads to (sequence {}), which is {} header {}'s", name,
        std::uint32_t{candidate.sequence}, newer ? "newer than" : "the one before", valid + 1));
    return true;
  }
  if (proof == Proof::locked) {
    leave(fmt::format("{} may lead to a whole state, which only the key can tell: give it with --key-path",
                      name));
    return false;
  }
  if (proof == Proof::proven || (proof == Proof::unsealed && newer)) {
    leave(fmt::format(
        "{} leads to a state that is in order, and nothing tells whether it is newer than that of header {}; "
        "the next change of the store replaces it",
        name, valid + 1));
    return false;
  }
  Header copy = headers[valid];
  copy.sequence = sequence + 1;
  BOOTSEAL_TRY_STATUS(put_header(damaged, copy));
  step(fmt::format("replace {} by one that leads to the same state as header {} (sequence {})", name,
                   valid + 1, std::uint32_t{copy.sequence}));
  return true;
}

Result<bool> Repairer::mend_order(const std::array<Header, 2>& headers) {
  const std::uint32_t first = headers[0].sequence;
  const std::uint32_t second = headers[1].sequence;
  if (is_next(first, second) || is_next(second, first)) return false;
  if (first == second && headers[0].file_table_block != headers[1].file_table_block) {
    leave(fmt::format(
        "both headers have the sequence number {} and lead to different states: nothing tells which is newer",
        first));
    return false;
  }
  const unsigned older = is_newer(first, second) ? 1 : 0;
  Header header = headers[older];
  header.sequence = (older == 1 ? first : second) - 1;
  BOOTSEAL_TRY_STATUS(put_header(older, header));
  step(fmt::format(
      "give header {} the sequence number {} instead of {}, so that it is the one before header {}",
      older + 1, std::uint32_t{header.sequence}, std::uint32_t{headers[older].sequence}, 2 - older));
  return true;
}

Result<bool> Repairer::mend_headers() {
  BOOTSEAL_TRY(const auto headers, read_headers(*device_));
  const std::array<std::optional<HeaderFault>, 2> faults{find_fault(headers[0]), find_fault(headers[1])};
  if (faults[0] && faults[1]) return mend_both_damaged(headers);
  if (!faults[0] && !faults[1]) return mend_order(headers);
  const unsigned damaged = faults[0] ? 0 : 1;
  if (is_blank(headers[damaged])) return false;  // a store that was just formatted
  return mend_damaged(headers, damaged, faults[damaged]->reason);
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

}  // namespace

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
