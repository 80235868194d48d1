#include "bootseal/log/audit.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bootseal/json/json.h"
#include "bootseal/log/log.h"

namespace bootseal::log {
namespace {

constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kHashDigits = 64;
// Four texts, each byte of which may take six in JSON, and the rest of the line.
constexpr std::size_t kMaxLine = kMaxText * 4 * 6 + 1024;
constexpr std::size_t kReadSize = 256 << 10;
constexpr std::string_view kSealName = ",\"sha256\":\"";
constexpr std::string_view kSealEnd = "\"}";

std::string no_hash() {
  return std::string(kHashDigits, '0');
}

// The hash that stands in the line, and that of what stands before it.
struct Seal {
  std::string said;
  std::string computed;
};

Result<Seal> seal_of(std::string_view line, const AuditHash& hash) {
  const std::size_t seal_size = kSealName.size() + kHashDigits + kSealEnd.size();
  if (line.size() <= seal_size || !line.ends_with(kSealEnd)) {
    return fail(ErrorCode::corrupt, "it has no hash at its end");
  }
  const std::string_view content = line.substr(0, line.size() - seal_size);
  const std::string_view seal = line.substr(content.size());
  if (!seal.starts_with(kSealName)) return fail(ErrorCode::corrupt, "it has no hash at its end");
  return Seal{std::string(seal.substr(kSealName.size(), kHashDigits)),
              hash(as_bytes(std::string(content) + "}"))};
}

// Checks one line against the entry before it, and makes it the head.
Status follow(std::string_view line, const AuditHash& hash, AuditHead& head) {
  BOOTSEAL_TRY(const Seal seal, seal_of(line, hash));
  if (seal.said != seal.computed)
    return fail(ErrorCode::corrupt, "it was changed: its hash does not fit its content");
  BOOTSEAL_TRY(const json::Value value, json::parse(line));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the entry"));
  BOOTSEAL_TRY(const std::uint64_t sequence, reader.unsigned_integer("sequence"));
  BOOTSEAL_TRY(const std::string previous, reader.string("previous"));
  if (sequence != head.sequence + 1) {
    return fail(
        ErrorCode::corrupt,
        fmt::format("it has the sequence number {}: entries are missing or in another order", sequence));
  }
  if (previous != head.sha256) {
    return fail(ErrorCode::corrupt, "it does not follow the entry before it: that one was replaced");
  }
  head = {sequence, seal.said};
  return {};
}

struct Walk {
  AuditHead head{0, no_hash()};
  std::uint64_t lines = 0;
  std::uint64_t size = 0;       // of the whole entries
  std::uint64_t torn_size = 0;  // after them: a last line without its end
};

// Checks the whole file.
Result<Walk> walk_through(int file, const std::filesystem::path& path, const AuditHash& hash,
                          const std::optional<AuditHead>& remembered) {
  Walk walk;
  std::string pending;
  Bytes buffer(kReadSize);
  for (;;) {
    const ssize_t count =
        ::pread(file, buffer.data(), buffer.size(), static_cast<off_t>(walk.size + pending.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, fmt::format("reading {}", path.string()));
    if (count == 0) break;
    pending.append(as_text(ByteSpan(buffer).first(static_cast<std::size_t>(count))));
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1) {
      ++walk.lines;
      const Status followed = follow(std::string_view(pending).substr(begin, end - begin), hash, walk.head);
      if (!followed) {
        return fail(ErrorCode::corrupt,
                    fmt::format("{}: entry {} (line {}) is broken: {}", path.string(), walk.head.sequence + 1,
                                walk.lines, followed.error().message));
      }
      if (remembered && walk.head.sequence == remembered->sequence && walk.head != *remembered) {
        return fail(ErrorCode::corrupt,
                    fmt::format("{}: entry {} is not the one that was remembered: the chain was replaced",
                                path.string(), walk.head.sequence));
      }
      walk.size += end + 1 - begin;
    }
    pending.erase(0, begin);
    if (pending.size() > kMaxLine) {
      return fail(ErrorCode::corrupt,
                  fmt::format("{}: entry {} (line {}) is broken: it is longer than an entry can be",
                              path.string(), walk.head.sequence + 1, walk.lines + 1));
    }
  }
  walk.torn_size = pending.size();
  if (remembered && walk.head.sequence < remembered->sequence) {
    return fail(ErrorCode::corrupt,
                fmt::format("{}: entry {} is missing: the chain was cut off after {} of {} entries",
                            path.string(), walk.head.sequence + 1, walk.head.sequence, remembered->sequence));
  }
  return walk;
}

Status check_text(std::string_view name, std::string_view text) {
  if (text.size() <= kMaxText && is_utf8(text)) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("the {} of an audit entry is at most {} bytes of UTF-8", name, kMaxText));
}

}  // namespace

AuditChain::AuditChain(UniqueFd file, std::filesystem::path path, AuditHash hash, const Clock& clock,
                       AuditHead head, std::uint64_t size)
    : file_(std::move(file)),
      path_(std::move(path)),
      hash_(std::move(hash)),
      clock_(clock),
      head_(std::move(head)),
      size_(size) {}

Result<std::unique_ptr<AuditChain>> AuditChain::open(const std::filesystem::path& path, AuditHash hash,
                                                     const Clock& clock,
                                                     const std::optional<AuditHead>& remembered) {
  BOOTSEAL_TRY(UniqueFd file, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(errno, fmt::format("locking {}", path.string()));
    return fail(ErrorCode::conflict,
                fmt::format("{} is in use by another process; stop that one first", path.string()));
  }
  BOOTSEAL_TRY(const Walk whole, walk_through(file.get(), path, hash, remembered));
  if (whole.torn_size > 0) {
    log::warning("audit.torn_entry_removed",
                 {{"path", path.string()}, {"after", whole.head.sequence}, {"bytes", whole.torn_size}});
    if (::ftruncate(file.get(), static_cast<off_t>(whole.size)) != 0 || ::fsync(file.get()) != 0) {
      return fail_errno(errno, fmt::format("removing an unfinished entry from {}", path.string()));
    }
  }
  BOOTSEAL_TRY_STATUS(sync_folder(path.has_parent_path() ? path.parent_path() : "."));
  return std::unique_ptr<AuditChain>(
      new AuditChain(std::move(file), path, std::move(hash), clock, whole.head, whole.size));
}

AuditHead AuditChain::head() const {
  const std::lock_guard lock(mutex_);
  return head_;
}

Result<AuditHead> AuditChain::append(const AuditRecord& record) {
  BOOTSEAL_TRY_STATUS(check_text("actor", record.actor));
  BOOTSEAL_TRY_STATUS(check_text("action", record.action));
  BOOTSEAL_TRY_STATUS(check_text("object", record.object));
  BOOTSEAL_TRY_STATUS(check_text("result", record.result));
  const std::lock_guard lock(mutex_);
  if (failed_) {
    return fail(
        ErrorCode::io_error,
        fmt::format("{} takes no entries since the disk failed; start the daemon anew", path_.string()));
  }
  std::string line = json::serialize(json::Object{{"sequence", head_.sequence + 1},
                                                  {"time", format_time(clock_.now())},
                                                  {"actor", record.actor},
                                                  {"action", record.action},
                                                  {"object", record.object},
                                                  {"result", record.result},
                                                  {"previous", head_.sha256}});
  const AuditHead next{head_.sequence + 1, hash_(as_bytes(line))};
  BOOTSEAL_CHECK(next.sha256.size() == kHashDigits);
  line.pop_back();
  line.append(kSealName).append(next.sha256).append(kSealEnd).append("\n");

  if (const Status written = write_all_at(file_.get(), as_bytes(line), size_); !written) {
    // Nobody was told of this entry: it must not be there.
    failed_ = ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0;
    return tl::unexpected(written.error().wrap(path_.string()));
  }
  if (::fdatasync(file_.get()) != 0) {
    // What is on the disk now, nobody knows; the next open() finds out.
    failed_ = true;
    return fail_errno(errno, fmt::format("flushing {}", path_.string()));
  }
  head_ = next;
  size_ += line.size();
  return head_;
}

Result<AuditHead> AuditChain::verify(const std::filesystem::path& path, const AuditHash& hash,
                                     const std::optional<AuditHead>& remembered) {
  BOOTSEAL_TRY(const UniqueFd file, open_file(path, O_RDONLY));
  BOOTSEAL_TRY(const Walk whole, walk_through(file.get(), path, hash, remembered));
  if (whole.torn_size > 0) {
    return fail(ErrorCode::corrupt, fmt::format("{}: entry {} (line {}) is broken: it has no end",
                                                path.string(), whole.head.sequence + 1, whole.lines + 1));
  }
  return whole.head;
}

}  // namespace bootseal::log
