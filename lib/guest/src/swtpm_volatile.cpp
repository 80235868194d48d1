#include "swtpm_volatile.h"

#include <algorithm>

#include "bootseal/crypto/aead.h"

namespace bootseal::guest {
namespace {

constexpr std::string_view kMagic = "BSEALVOL";
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kHeadSize = 8 + 2 + 2 + 16 + 32;

}  // namespace

Bytes seal_volatile(const crypto::Secret& key, const VolatileOwner& owner, ByteSpan state) {
  ByteWriter file;
  file.text(kMagic).be16(kVersion).be16(0).bytes(owner.vm.guid.bytes).bytes(owner.permanent.view());
  const Bytes nonce = crypto::random_bytes(crypto::kGcmNonceSize);
  const crypto::Sealed sealed = crypto::seal_aes_gcm(key.view(), nonce, state, file.view());
  file.bytes(nonce).bytes(sealed.tag).bytes(sealed.ciphertext);
  return file.take();
}

Result<OpenedVolatile> open_volatile(const crypto::Secret& key, ByteSpan file) {
  ByteReader reader(file);
  BOOTSEAL_TRY(const ByteSpan magic, reader.take(kMagic.size(), "its magic"));
  if (as_text(magic) != kMagic)
    return fail(ErrorCode::corrupt, "it is no volatile state of bootseal-swtpm (swtpm's cannot be used)");
  BOOTSEAL_TRY(const std::uint16_t version, reader.be16("its version"));
  if (version != kVersion) return fail(ErrorCode::unsupported, "a later version of bootseal-swtpm wrote it");
  BOOTSEAL_TRY_STATUS(reader.skip(2, "its padding"));
  OpenedVolatile opened;
  BOOTSEAL_TRY(const ByteSpan vm, reader.take(opened.owner.vm.guid.bytes.size(), "its TPM"));
  std::copy(vm.begin(), vm.end(), opened.owner.vm.guid.bytes.begin());
  BOOTSEAL_TRY(const ByteSpan digest, reader.take(opened.owner.permanent.bytes.size(), "its digest"));
  std::copy(digest.begin(), digest.end(), opened.owner.permanent.bytes.begin());
  BOOTSEAL_TRY(const ByteSpan nonce, reader.take(crypto::kGcmNonceSize, "its nonce"));
  BOOTSEAL_TRY(const ByteSpan tag, reader.take(crypto::kGcmTagSize, "its tag"));
  BOOTSEAL_TRY(opened.state,
               crypto::open_aes_gcm(key.view(), nonce, reader.rest(), tag, file.first(kHeadSize)));
  return opened;
}

}  // namespace bootseal::guest
