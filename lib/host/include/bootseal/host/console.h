// The serial console of one VM: a bounded log, and readers that follow it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/result.h"
#include "bootseal/host/executor.h"

namespace bootseal::host {

inline constexpr std::size_t kConsoleLogBytes = std::size_t{1} << 20;

// The last kConsoleLogBytes that the console said since the VM was powered on. Positions count all bytes
// since then. Thread safe.
class ConsoleLog {
 public:
  ConsoleLog();
  void append(std::string_view text);
  // Empties the log for a new power on, or fills it with what an earlier hostd recorded.
  void reset(std::string_view text = {});
  [[nodiscard]] std::string text() const;
  // The last `bytes`.
  [[nodiscard]] std::string tail(std::size_t bytes) const;
  // The position behind the last byte, and what came after a position.
  [[nodiscard]] std::uint64_t end() const;
  [[nodiscard]] std::string text_from(std::uint64_t position) const;

  struct Piece {
    std::string text;
    std::uint64_t next = 0;  // position for the next call
    std::uint64_t run = 0;   // another for each log and each reset(): positions start again
  };
  // What came after `position` of `run` (all of text() for another run), at most 64 KiB; waits up to `limit`
  // for something to come. A reader that is too slow misses what the log dropped.
  [[nodiscard]] Piece read(std::uint64_t run, std::uint64_t position, std::chrono::milliseconds limit) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string kept_;         // guarded by mutex_
  std::uint64_t start_ = 0;  // position of the first byte kept; guarded by mutex_
  std::uint64_t run_;        // guarded by mutex_
};

// A file that QEMU itself writes (the console, and its own standard error), so that nothing is lost while
// hostd is away, kept bounded: past twice kConsoleLogBytes the newest kConsoleLogBytes move to "FILE.old" and
// the file starts again. QEMU holds it open for appending.
class ConsoleFile {
 public:
  explicit ConsoleFile(std::filesystem::path path) : path_(std::move(path)) {}
  // For a new power on: removes both files.
  Status start_again();
  // The last kConsoleLogBytes of both files; empty when there are none.
  [[nodiscard]] std::string read() const;
  // Moves what is too much; cheap when nothing is. Errors as replace_file.
  Status trim();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Trims files again and again, as long as this object lives: their writer is not us and tells us nothing.
class LogKeeper : public std::enable_shared_from_this<LogKeeper> {
 public:
  // Looks at the files at once and then every `interval`: on `pool`, timed by `timers`, which both outlive
  // it.
  static std::shared_ptr<LogKeeper> start(Executor& timers, WorkerPool& pool,
                                          std::chrono::milliseconds interval, std::vector<ConsoleFile> files);
  // Out of turn, when there is reason to think that a file has grown. Any thread, never blocks.
  void look();

 private:
  LogKeeper(Executor& timers, WorkerPool& pool, std::chrono::milliseconds interval,
            std::vector<ConsoleFile> files)
      : timers_(timers), pool_(pool), interval_(interval), files_(std::move(files)) {}
  void look_again_later();

  Executor& timers_;
  WorkerPool& pool_;
  const std::chrono::milliseconds interval_;
  std::mutex mutex_;                // one thread trims at a time
  std::vector<ConsoleFile> files_;  // guarded by mutex_
};

}  // namespace bootseal::host
