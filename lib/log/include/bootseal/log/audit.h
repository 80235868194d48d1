// A journal that shows when somebody changed it: one JSON object a line, each with the hash of the line
// before.
//
//   {"sequence":7,"time":"…","actor":"host:rack-1","action":"key.release","object":"vm:…","result":"ok","previous":"…","sha256":"…"}
//
// `sha256` is the hash of the line's bytes up to (not including) `,"sha256":`, closed with `}`; `previous` is
// the `sha256` of the line before, 64 zeros in the first. A chain cannot show by itself that its end was cut
// off: keep head() somewhere else and hand it to open() or verify().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/base/fds.h"

namespace bootseal::log {

// SHA-256 of the bytes as 64 lower-case hex digits.
using AuditHash = std::function<std::string(ByteSpan)>;

// What happened, in the words of the caller. Each text is at most 4096 bytes of UTF-8.
struct AuditRecord {
  std::string actor;   // who: "host:rack-1"
  std::string action;  // did what: "key.release"
  std::string object;  // to what: "vm:6ba7b810-…"
  std::string result;  // with what end: "ok", "PermissionDenied: …"
};

struct AuditHead {
  std::uint64_t sequence = 0;  // of the last entry; 0 = none yet
  std::string sha256;          // of the last entry; 64 zeros when there is none
  bool operator==(const AuditHead&) const = default;
};

// Thread safe.
class AuditChain {
 public:
  // Opens or makes the file (mode 0600) and verifies all of it, as verify() does. What a crash left of an
  // entry that was never acknowledged (a last line without its end) is removed and logged. Errors: conflict
  // (another process has it open), corrupt (names the first broken entry), as fail_errno.
  static Result<std::unique_ptr<AuditChain>> open(const std::filesystem::path& path, AuditHash hash,
                                                  const Clock& clock = Clock::system(),
                                                  const std::optional<AuditHead>& remembered = std::nullopt);

  // Returns the new head when the entry is on the disk. invalid_argument for a text that is too long or no
  // UTF-8; an error of the disk leaves the chain as it was, or, where the disk does not allow that, refuses
  // every later append() (io_error).
  Result<AuditHead> append(const AuditRecord& record);
  [[nodiscard]] AuditHead head() const;

  // Checks every entry. corrupt with the number and line of the first broken entry; with `remembered`, also
  // when the chain is shorter than that head or holds another entry in its place. not_found when there is no
  // file. Returns the head.
  static Result<AuditHead> verify(const std::filesystem::path& path, const AuditHash& hash,
                                  const std::optional<AuditHead>& remembered = std::nullopt);

 private:
  AuditChain(UniqueFd file, std::filesystem::path path, AuditHash hash, const Clock& clock, AuditHead head,
             std::uint64_t size);

  mutable std::mutex mutex_;
  UniqueFd file_;
  std::filesystem::path path_;
  AuditHash hash_;
  const Clock& clock_;
  AuditHead head_;
  std::uint64_t size_;
  bool failed_ = false;
};

}  // namespace bootseal::log
