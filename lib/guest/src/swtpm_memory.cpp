// What is remembered beside the state in a directory: which TPM is here, and its generation.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <cerrno>

#include "bootseal/guest/swtpm_store.h"
#include "bootseal/json/json.h"

namespace bootseal::guest {
namespace {

constexpr std::size_t kMaximumMemorySize = 4096;
constexpr std::size_t kMemorySize = 128;  // as it is written

}  // namespace

Result<std::optional<SwtpmStore::Memory>> SwtpmStore::read_memory() const {
  if (!location_.in_directory) return std::nullopt;
  const std::filesystem::path path = location_.memory_file();
  auto fd = open_file(path, O_RDONLY | O_NONBLOCK);  // of a FIFO without waiting
  if (!fd && fd.error().code == ErrorCode::not_found) return std::nullopt;
  if (!fd) return tl::unexpected(fd.error());
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return fail_errno(errno, fmt::format("looking at {}", path.native()));
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::invalid_argument, fmt::format("{} is not a regular file", path.native()));
  Result<Bytes> text = read_to_end(fd->get(), kMaximumMemorySize);
  if (!text) return tl::unexpected(text.error());
  const auto parse = [&]() -> Result<Memory> {
    BOOTSEAL_TRY(const json::Value document, json::parse(as_text(*text)));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "it"));
    BOOTSEAL_TRY(const std::string id, reader.string("tpm"));
    BOOTSEAL_TRY(const VmId vm, VmId::parse(id));
    BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
    std::optional<std::uint64_t> bits;
    if (reader.has("keyBits")) {
      BOOTSEAL_TRY(bits, reader.unsigned_integer("keyBits"));
    }
    return Memory{vm, Generation{generation}, bits};
  };
  Result<Memory> memory = parse();
  if (!memory) {
    return fail(
        ErrorCode::guest_state_damaged,
        fmt::format("{} does not say which TPM was here ({}); put it back from a backup, or remove it "
                    "to take the state file as it is",
                    path.native(), memory.error().describe()));
  }
  return *memory;
}

std::string SwtpmStore::memory_text(Generation generation) const {
  std::string text =
      json::serialize({{"tpm", vm_->to_string()}, {"generation", generation.value}, {"keyBits", key_bits()}});
  text.resize(kMemorySize - 1, ' ');
  return text + "\n";
}

// All in one sector, so that a power cut leaves the old text or the new one.
bool SwtpmStore::write_memory_in_place(Generation generation) {
  if (!memory_.valid())
    memory_.reset(::open(location_.memory_file().c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  const std::string text = memory_text(generation);
  if (memory_.valid() && ::fstat(memory_.get(), &status) == 0 && S_ISREG(status.st_mode) &&
      status.st_nlink == 1 && status.st_size == static_cast<off_t>(text.size()) &&
      write_all_at(memory_.get(), as_bytes(text), 0))
    return true;
  memory_.reset();
  return false;
}

Status SwtpmStore::note(Generation generation) {
  if (!location_.in_directory || !vm_ || remembered_ == generation) return {};
  if (write_memory_in_place(generation)) return {};
  return remember(generation);
}

Status SwtpmStore::remember(Generation generation) {
  if (!location_.in_directory || !vm_ || remembered_ == generation) return {};
  if (write_memory_in_place(generation)) {
    if (::fdatasync(memory_.get()) != 0)
      return fail_errno(errno, fmt::format("flushing {}", location_.memory_file().native()));
  } else {
    BOOTSEAL_TRY_STATUS(
        replace_file(location_.memory_file(), as_bytes(memory_text(generation)), location_.mode));
  }
  remembered_ = generation;
  return {};
}

}  // namespace bootseal::guest
