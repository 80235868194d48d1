#include "bootseal/vmgs/inspection.h"

#include <fmt/format.h>

#include "generation.h"

namespace bootseal::vmgs {
namespace {

HeaderReport report_of(const Header& header) {
  HeaderReport report{.signature = header.signature,
                      .version = header.version,
                      .checksum = header.checksum,
                      .computed_checksum = header_checksum(header),
                      .sequence = header.sequence,
                      .header_size = header.header_size,
                      .file_table_block = header.file_table_block,
                      .file_table_blocks = header.file_table_blocks,
                      .algorithm = header.algorithm,
                      .markers = header.markers};
  for (std::size_t i = 0; i < header.key_slots.size(); ++i) {
    const KeySlot& slot = header.key_slots[i];
    report.key_slots[i] = {.empty = slot.empty(),
                           .nonce = to_bytes(slot.nonce),
                           .tag = to_bytes(slot.tag),
                           .wrapped_key = to_bytes(slot.wrapped_key)};
  }
  if (is_zero(wire_bytes(header))) return report;
  const auto fault = find_fault(header);
  report.state = fault ? HeaderReport::State::damaged : HeaderReport::State::valid;
  if (fault) report.reason = fault->reason;
  return report;
}

// Fills in the footer's part; what the body is when the footer does not say.
Status look_at_footer(Device& device, Container container, Inspection& found) {
  found.body_size = found.device_size / found.sector_size * found.sector_size;
  if (container != Container::fixed_vhd) return {};
  if (found.device_size < kFooterSize) {
    found.footer_fault = "there is no room for one";
    return {};
  }
  Field<kFooterSize> last;
  BOOTSEAL_TRY_STATUS(device.read(found.device_size - kFooterSize, last));
  const auto body = body_size_of(from_wire<VhdFooter>(last), found.device_size);
  if (body) {
    found.body_size = *body;
    return {};
  }
  found.footer_fault = body.error().message;
  // Damaged in its place, or missing.
  if (found.device_size % kBlockSize == kFooterSize) found.body_size = found.device_size - kFooterSize;
  return {};
}

class Findings {
 public:
  explicit Findings(std::vector<Finding>& list) : list_(&list) {}
  void add(Severity severity, std::string where, std::string text) {
    list_->push_back({severity, std::move(where), std::move(text)});
  }

 private:
  std::vector<Finding>* list_;
};

void describe_headers(const Inspection& found, Findings& list) {
  for (unsigned i = 0; i < 2; ++i) {
    const HeaderReport& header = found.headers[i];
    const std::string where = fmt::format("header {}", i + 1);
    switch (header.state) {
      case HeaderReport::State::blank:
        list.add(Severity::note, where, "blank: nothing was written there yet");
        break;
      case HeaderReport::State::damaged:
        list.add(Severity::damage, where, header.reason);
        break;
      case HeaderReport::State::valid: {
        const bool active = !found.generations.empty() && found.generations.front().active &&
                            found.generations.front().header == i;
        list.add(Severity::ok, where,
                 fmt::format("valid, sequence {}{}", header.sequence, active ? ", active" : ""));
        if (header.algorithm != kAlgorithmNone && header.key_slots[0].empty && header.key_slots[1].empty)
          list.add(Severity::damage, where,
                   "the store is encrypted and both key slots are empty: no key opens it");
        break;
      }
    }
  }
}

void describe_file(const FileReport& file, const std::string& where, Findings& list) {
  const std::string place = fmt::format("{}, file {}", where, describe(file.info.id));
  switch (file.seal) {
    case Seal::plain:
      list.add(Severity::ok, place,
               fmt::format("{} bytes, not sealed: nothing tells whether they were changed", file.info.size));
      break;
    case Seal::locked:
      list.add(Severity::note, place,
               fmt::format("{} bytes, sealed, not checked: {}", file.info.size,
                           file.reason.empty() ? "the store is locked" : file.reason));
      break;
    case Seal::verified:
      list.add(Severity::ok, place, fmt::format("{} bytes, sealed, authentic", file.info.size));
      break;
    case Seal::failed:
      list.add(Severity::damage, place, file.reason);
      break;
  }
}

void describe_generation(const GenerationReport& generation, bool key_given, Findings& list) {
  const std::string where = fmt::format("header {}", generation.header + 1);
  // What only the older header leads to is of no use to a reader: damage of it is no more than a warning.
  const Severity damage = generation.active ? Severity::damage : Severity::warning;
  if (!generation.table_fault.empty()) {
    list.add(damage, where + ", file table", generation.table_fault);
  } else {
    list.add(Severity::ok, where + ", file table", fmt::format("{} files", generation.files.size()));
  }
  if (generation.encrypted && generation.unlocked) {
    list.add(Severity::ok, where + ", extended file table",
             fmt::format("authentic, opened by key slot {}", *generation.active_key_slot));
  } else if (generation.encrypted && key_given) {
    list.add(damage, where + ", extended file table", generation.key_fault);
  } else if (generation.encrypted) {
    list.add(Severity::note, where + ", extended file table", "sealed, not checked: no key was given");
  }
  if (generation.zero_metadata_key)
    list.add(Severity::warning, where + ", extended file table",
             "its key is all zero: the sealed files can be read by anybody. The next change of the store "
             "seals everything "
             "again");
  if (generation.encrypted && generation.rotation_unfinished)
    list.add(
        Severity::warning, where,
        "both key slots are filled: a change of the key was not finished, and both keys may open the store");
  for (const FileReport& file : generation.files) {
    std::vector<Finding> one;
    Findings collected(one);
    describe_file(file, where, collected);
    for (Finding& finding : one) {
      if (finding.severity == Severity::damage) finding.severity = damage;
      list.add(finding.severity, std::move(finding.where), std::move(finding.text));
    }
  }
  for (const FileId id : generation.removed_without_key)
    list.add(damage, fmt::format("{}, file {}", where, describe(id)),
             "it is sealed and somebody took it out of the file table without the key");
}

}  // namespace

bool GenerationReport::whole() const {
  return table_fault.empty() && key_fault.empty() && removed_without_key.empty() &&
         std::none_of(files.begin(), files.end(),
                      [](const FileReport& file) { return file.seal == Seal::failed; });
}

bool Inspection::damaged() const {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::damage; });
}

Result<Inspection> inspect(Device& device, Container container, std::optional<ByteSpan> key) {
  if (key && key->size() != kKeySize)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the key of a guest state store has {} bytes, not {}", kKeySize, key->size()));
  Inspection found{.device_size = device.size(), .sector_size = device.sector_size()};
  const auto loaded = load(device, container);
  if (!loaded && !loaded.error().condition) return tl::unexpected(loaded.error().error);
  if (!loaded) {
    found.condition = *loaded.error().condition;
    found.reason = loaded.error().error.message;
  }
  Findings list(found.findings);
  const bool has_headers = found.device_size >= 2 * std::uint64_t{found.sector_size};
  if (found.condition == Condition::empty || found.condition == Condition::version_1 || !has_headers) {
    list.add(found.condition == Condition::corrupt ? Severity::damage : Severity::note, "store",
             found.reason);
    return found;
  }
  BOOTSEAL_TRY_STATUS(look_at_footer(device, container, found));
  BOOTSEAL_TRY(const auto headers, read_headers(device));
  std::array<std::optional<HeaderFault>, 2> faults;
  for (unsigned i = 0; i < 2; ++i) {
    found.headers[i] = report_of(headers[i]);
    faults[i] = find_fault(headers[i]);
  }
  const auto active = choose_header(headers, faults);
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned slot = active && *active == 1 ? 1 - i : i;
    if (faults[slot]) continue;
    BOOTSEAL_TRY(Generation generation, Generation::open(device, found.body_size, headers[slot], slot));
    std::string key_fault;
    if (key && headers[slot].algorithm != kAlgorithmNone) {
      if (const Status unlocked = generation.unlock(*key); !unlocked) key_fault = unlocked.error().message;
    }
    GenerationReport report = generation.report();
    report.active = active && *active == slot;
    report.key_fault = std::move(key_fault);
    found.generations.push_back(std::move(report));
  }

  if (container == Container::fixed_vhd) {
    if (found.footer_fault) {
      list.add(Severity::damage, "footer", *found.footer_fault);
    } else {
      list.add(Severity::ok, "footer", fmt::format("a fixed VHD of {} bytes", found.body_size));
    }
  }
  describe_headers(found, list);
  if (!active && !faults[0] && !faults[1])
    list.add(Severity::damage, "headers", active.error().error.message);
  for (const GenerationReport& generation : found.generations)
    describe_generation(generation, key.has_value(), list);
  if (found.condition != Condition::valid && !found.damaged())
    list.add(Severity::damage, "store", found.reason);
  return found;
}

}  // namespace bootseal::vmgs
