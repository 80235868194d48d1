// A whole file as memory, for reading files that are too large to copy (memory dumps, disks).
#pragma once

#include <filesystem>

#include "bootseal/base/bytes.h"

namespace bootseal {

// A private read-only mapping. Nobody may shorten the file while it is mapped (reading past its end is
// SIGBUS): only for files whose writers are done and are ours.
class MappedFile {
 public:
  // Errors as fail_errno; exhausted when the file is larger than `maximum` bytes. An empty file is an empty
  // view.
  static Result<MappedFile> open(const std::filesystem::path& path, std::size_t maximum);
  MappedFile(MappedFile&& other) noexcept : view_(std::exchange(other.view_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] ByteSpan view() const { return view_; }

 private:
  explicit MappedFile(ByteSpan view) : view_(view) {}
  ByteSpan view_;
};

}  // namespace bootseal
