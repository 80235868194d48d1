#include "bootseal/host/console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "bootseal/base/fds.h"
#include "bootseal/log/log.h"

namespace bootseal::host {
namespace {

constexpr std::size_t kPieceBytes = 65536;

std::uint64_t new_run() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::filesystem::path old_of(const std::filesystem::path& path) {
  return path.native() + ".old";
}

std::string last_bytes(const std::filesystem::path& path, std::size_t count) {
  const Result<UniqueFd> fd = open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!fd) return {};
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return {};
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(size, count)), '\0');
  const auto bytes = MutableByteSpan(reinterpret_cast<std::byte*>(text.data()), text.size());
  if (!read_exactly_at(fd->get(), bytes, size - text.size())) return {};
  return text;
}

}  // namespace

ConsoleLog::ConsoleLog() : run_(new_run()) {}

void ConsoleLog::append(std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    kept_ += text;
    // Dropped in large steps, so that a talkative guest costs no copy of the whole log a byte.
    if (kept_.size() > kConsoleLogBytes + kConsoleLogBytes / 4) {
      const std::size_t surplus = kept_.size() - kConsoleLogBytes;
      kept_.erase(0, surplus);
      start_ += surplus;
    }
  }
  changed_.notify_all();
}

void ConsoleLog::reset(std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    kept_ = text.substr(text.size() - std::min(text.size(), kConsoleLogBytes));
    start_ = 0;
    run_ = new_run();
  }
  changed_.notify_all();
}

std::string ConsoleLog::text() const {
  return tail(kConsoleLogBytes);
}

std::string ConsoleLog::tail(std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  return kept_.substr(kept_.size() - std::min(bytes, kept_.size()));
}

std::uint64_t ConsoleLog::end() const {
  const std::lock_guard lock(mutex_);
  return start_ + kept_.size();
}

std::string ConsoleLog::text_from(std::uint64_t position) const {
  const std::lock_guard lock(mutex_);
  const std::uint64_t from = std::clamp(position, start_, start_ + kept_.size());
  return kept_.substr(static_cast<std::size_t>(from - start_));
}

ConsoleLog::Piece ConsoleLog::read(std::uint64_t run, std::uint64_t position,
                                   std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  const auto has_more = [&]() { return run != run_ || start_ + kept_.size() > position; };
  changed_.wait_for(lock, limit, has_more);
  const std::uint64_t end = start_ + kept_.size();
  // A new reader begins where text() does.
  const std::uint64_t from =
      run == run_ ? std::clamp(position, start_, end) : end - std::min(kept_.size(), kConsoleLogBytes);
  Piece piece{kept_.substr(static_cast<std::size_t>(from - start_), kPieceBytes), 0, run_};
  piece.next = from + piece.text.size();
  return piece;
}

Status ConsoleFile::start_again() {
  for (const std::filesystem::path& path : {path_, old_of(path_)}) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return fail_errno(errno, fmt::format("removing {}", path.native()));
  }
  return {};
}

std::string ConsoleFile::read() const {
  const std::string now = last_bytes(path_, kConsoleLogBytes);
  if (now.size() == kConsoleLogBytes) return now;
  return last_bytes(old_of(path_), kConsoleLogBytes - now.size()) + now;
}

Status ConsoleFile::trim() {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_size) <= 2 * kConsoleLogBytes)
    return {};
  const std::string newest = last_bytes(path_, kConsoleLogBytes);
  BOOTSEAL_TRY_STATUS(replace_file(old_of(path_), as_bytes(newest)));
  // QEMU appends: its next byte lands at the new end. What it wrote between the read and this call is lost, a
  // few bytes at most.
  if (::truncate(path_.c_str(), 0) != 0)
    return fail_errno(errno, fmt::format("shortening {}", path_.native()));
  return {};
}

std::shared_ptr<LogKeeper> LogKeeper::start(Executor& timers, WorkerPool& pool,
                                            std::chrono::milliseconds interval,
                                            std::vector<ConsoleFile> files) {
  std::shared_ptr<LogKeeper> keeper(new LogKeeper(timers, pool, interval, std::move(files)));
  keeper->look();
  keeper->look_again_later();
  return keeper;
}

void LogKeeper::look_again_later() {
  timers_.post_after(interval_, [weak = weak_from_this()]() {
    const auto self = weak.lock();
    if (!self) return;
    self->look();
    self->look_again_later();
  });
}

void LogKeeper::look() {
  pool_.post([weak = weak_from_this()]() {
    const auto self = weak.lock();
    if (!self) return;
    const std::lock_guard lock(self->mutex_);
    for (ConsoleFile& file : self->files_) {
      if (const Status trimmed = file.trim(); !trimmed) {
        static log::RateLimit limit(0.1, 5);
        std::uint64_t left_out = 0;
        if (limit.allow(left_out))
          log::warning("log.trim_failed", {{"file", file.path().native()},
                                           {"reason", trimmed.error().describe()},
                                           {"leftOut", left_out}});
      }
    }
  });
}

}  // namespace bootseal::host
