// A crash model. What was written before a flush that returned is on the disk; of what was written since, any
// subset of the 512-byte sectors may be, and one header sector may be torn at any byte.
#pragma once

#include <functional>
#include <span>

#include "support.h"

namespace bootseal::vmgs::test {

inline constexpr std::size_t kSector = 512;
// The files of prepared_device().
inline constexpr FileId kFile{40};
inline constexpr FileId kOther{41};

// Calls `check` with each disk content that a crash during `operations`, begun on `disk`, may leave;
// `acknowledged` when all of them had returned. Returns the number of states.
std::size_t for_each_crash_state(Bytes disk, std::span<const MemoryDevice::Operation> operations,
                                 const std::function<void(const Bytes& state, bool acknowledged)>& check);

// What the store in this state holds; nullopt for an empty one. An error when it opens with none of the keys,
// or takes no further change.
Result<std::optional<Content>> content_after_crash(const Bytes& state, const std::vector<Bytes>& keys);

struct RecordedChange {
  Bytes disk;
  std::vector<MemoryDevice::Operation> operations;
  std::optional<Content> before;
  std::optional<Content> after;
  std::vector<Bytes> keys;
};

// The number of states in which the store is not what it must be.
std::size_t count_violations(const RecordedChange& run, const std::string& name);
// Says how many states were looked at, and how many by this program so far.
void print_states(const std::string& name, std::size_t states);

using Change = std::function<Status(Store&)>;

// A store with two files and some history.
MemoryDevice prepared_device(bool encrypted);
// Carries the change out; `settled`: not as the first one after opening.
RecordedChange record(MemoryDevice& device, bool encrypted, bool settled, const Change& change);
// In every state that a crash during the change can leave, the store opens with its content before or after
// it.
void expect_crash_safe(const std::string& name, bool encrypted, const Change& change);

}  // namespace bootseal::vmgs::test
