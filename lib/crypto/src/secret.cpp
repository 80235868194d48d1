#include "bootseal/crypto/secret.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <utility>

namespace bootseal::crypto {

Secret::Secret(std::size_t size) : size_(size) {
  if (size == 0) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  mapped_ = (size + page - 1) / page * page;
  void* memory = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  BOOTSEAL_CHECK(memory != MAP_FAILED);
  // Both are best effort: an ordinary user may have no room under RLIMIT_MEMLOCK.
  ::mlock(memory, mapped_);
  ::madvise(memory, mapped_, MADV_DONTDUMP);
  data_ = static_cast<std::byte*>(memory);
}

Secret::Secret(Secret&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    mapped_ = std::exchange(other.mapped_, 0);
  }
  return *this;
}

Secret::~Secret() {
  release();
}

void Secret::release() {
  if (data_ == nullptr) return;
  OPENSSL_cleanse(data_, mapped_);
  ::munmap(data_, mapped_);
  data_ = nullptr;
  size_ = mapped_ = 0;
}

Secret Secret::copy_of(ByteSpan bytes) {
  Secret secret(bytes.size());
  if (!bytes.empty()) std::memcpy(secret.data_, bytes.data(), bytes.size());
  return secret;
}

Secret Secret::random(std::size_t size) {
  Secret secret(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::getrandom(secret.data_ + done, size - done, 0);
    BOOTSEAL_CHECK(got > 0);
    done += static_cast<std::size_t>(got);
  }
  return secret;
}

void wipe(MutableByteSpan bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

bool equal_constant_time(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace bootseal::crypto
