// The rules for headers.
#include <fmt/format.h>

#include "header_correction.h"
#include "repairer.h"

namespace bootseal::vmgs {
namespace {

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

}  // namespace

Result<bool> Repairer::mend_single_bytes(const std::array<Header, 2>& headers) {
  std::array<std::optional<Header>, 2> right;
  for (unsigned slot = 0; slot < 2; ++slot) {
    if (!is_blank(headers[slot]) && find_fault(headers[slot])) right[slot] = corrected(headers[slot]);
  }
  if (!right[0] && !right[1]) return false;
  // The newer one first: after a crash between the two the store opens with its last state.
  const bool second = !right[0] || (right[1] && is_newer(right[1]->sequence, right[0]->sequence));
  const unsigned slot = second ? 1 : 0;
  BOOTSEAL_TRY_STATUS(put_header(slot, *right[slot]));
  step(fmt::format("restore header {} (sequence {}): one byte of it is wrong, and its checksum tells which",
                   slot + 1, std::uint32_t{right[slot]->sequence}));
  return true;
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
  BOOTSEAL_TRY(const bool single, mend_single_bytes(headers));
  if (single) return true;
  const std::array<std::optional<HeaderFault>, 2> faults{find_fault(headers[0]), find_fault(headers[1])};
  if (faults[0] && faults[1]) return mend_both_damaged(headers);
  if (!faults[0] && !faults[1]) return mend_order(headers);
  const unsigned damaged = faults[0] ? 0 : 1;
  if (is_blank(headers[damaged])) return false;  // a store that was just formatted
  return mend_damaged(headers, damaged, faults[damaged]->reason);
}

}  // namespace bootseal::vmgs
