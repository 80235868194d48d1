// One owner template for every C library object: Handle<EVP_PKEY, &EVP_PKEY_free>.
#pragma once

#include <memory>

namespace bootseal::crypto {

template <typename T, auto Free>
struct HandleDeleter {
  void operator()(T* object) const { Free(object); }
};

// Owns a C object; no implicit conversion to the raw pointer (use .get()).
template <typename T, auto Free>
using Handle = std::unique_ptr<T, HandleDeleter<T, Free>>;

}  // namespace bootseal::crypto
