// One OpenSSL context for many small digests: a replay hashes hundreds of 64-byte blocks.
#pragma once

#include <array>
#include <initializer_list>

#include "bootseal/tpm/wire.h"

struct evp_md_ctx_st;
struct evp_md_st;

namespace bootseal::tpm {

class Hasher {
 public:
  explicit Hasher(Algorithm algorithm);
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  [[nodiscard]] std::size_t size() const { return size_; }
  // The digest of the parts one after the other; valid until the next call.
  ByteSpan digest(std::initializer_list<ByteSpan> parts);

 private:
  const evp_md_st* algorithm_;
  evp_md_ctx_st* context_;
  std::size_t size_;
  std::array<std::byte, 64> buffer_{};
};

}  // namespace bootseal::tpm
