#include "generation.h"

#include <fmt/format.h>

#include "device_view.h"

namespace bootseal::vmgs {

Result<Generation> Generation::open(Device& device, std::uint64_t body_size, const Header& header,
                                    unsigned slot) {
  auto core = std::make_unique<Store::Core>();
  core->device = std::make_unique<DeviceView>(device);
  core->body_size = body_size;
  core->state.slot = slot;
  core->state.header = header;
  Generation generation(std::move(core));
  const std::uint64_t capacity = body_size / kBlockSize;
  State& state = generation.core_->state;
  if (header.file_table_block < kLowestBlock || header.file_table_block >= capacity) {
    generation.table_fault_ =
        fmt::format("the file table is at block {} of {}", std::uint32_t{header.file_table_block}, capacity);
    return generation;
  }
  auto table = read_table(device, header.file_table_block);
  if (!table && table.error().code != ErrorCode::corrupt) return tl::unexpected(table.error());
  if (!table) {
    generation.table_fault_ = table.error().message;
    return generation;
  }
  auto extents = check_table(*table, header.file_table_block, capacity);
  if (!extents) generation.table_fault_ = extents.error().message;
  // A block that does not even name itself is no table, and nothing in it means anything.
  if (extents || (table->front().block == header.file_table_block && table->front().blocks == 1))
    state.table = *table;
  return generation;
}

FileReport Generation::report_file(FileId id) const {
  const State& state = core_->state;
  const FileEntry& entry = state.entry(id);
  FileReport file{.info = {.id = id,
                           .size = entry.size,
                           .block = entry.block,
                           .blocks = entry.blocks,
                           .encrypted = state.is_sealed(id)},
                  .attributes = entry.attributes,
                  .nonce = to_bytes(entry.nonce),
                  .tag = to_bytes(entry.tag)};
  if (auto fault = entry_fault(entry, id, core_->body_size / kBlockSize)) {
    file.seal = Seal::failed;
    file.reason = *std::move(fault);
    return file;
  }
  if (!file.info.encrypted) return file;
  file.seal = Seal::locked;
  if (!core_->key) return file;
  if (file.info.size > kDefaultReadLimit) {
    file.reason = "too large to be checked";
    return file;
  }
  auto content = core_->read(id, kDefaultReadLimit);
  file.seal = content ? Seal::verified : Seal::failed;
  if (!content) file.reason = "its seal is broken: its bytes or its key are not those that were written";
  if (content) crypto::wipe(*content);
  return file;
}

GenerationReport Generation::report() const {
  const State& state = core_->state;
  GenerationReport report{.header = state.slot,
                          .sequence = state.header.sequence,
                          .table_fault = table_fault_,
                          .encrypted = state.header.algorithm != kAlgorithmNone,
                          .unlocked = core_->key.has_value()};
  if (core_->key) report.active_key_slot = core_->key->slot;
  report.rotation_unfinished = !state.header.key_slots[0].empty() && !state.header.key_slots[1].empty();
  report.zero_metadata_key = core_->zero_metadata_key;
  for (std::size_t i = 1; i + 1 < kFileCount; ++i) {
    const auto id = static_cast<FileId>(i);
    if (state.table[i].allocated()) {
      report.files.push_back(report_file(id));
    } else if (state.sealed && state.sealed->attributes(id) != 0) {
      report.removed_without_key.push_back(id);
    }
  }
  return report;
}

}  // namespace bootseal::vmgs
