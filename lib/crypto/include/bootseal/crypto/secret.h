// Key material in memory: locked against swapping where the machine allows it, left out of core dumps, wiped
// on every exit path, not copyable, not printable.
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::crypto {

class Secret {
 public:
  Secret() = default;
  // `size` zero bytes.
  explicit Secret(std::size_t size);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  // A copy of the bytes; the caller wipes its own (wipe()).
  static Secret copy_of(ByteSpan bytes);
  // `size` bytes from the kernel's generator.
  static Secret random(std::size_t size);
  // A second copy, on purpose and by name.
  [[nodiscard]] Secret duplicate() const { return copy_of(view()); }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] ByteSpan view() const { return {data_, size_}; }
  [[nodiscard]] MutableByteSpan mutable_view() { return {data_, size_}; }

 private:
  void release();

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_ = 0;
};

// Overwrites the bytes in a way the compiler keeps.
void wipe(MutableByteSpan bytes);
// Compares in a time that does not depend on the content.
bool equal_constant_time(ByteSpan a, ByteSpan b);

}  // namespace bootseal::crypto
