// A hostile TPM: every call of the client ends, with a result or an error, whatever the responses are. The
// input is a list of responses, each behind 16 bits of size, given out one after the other and then from the
// start again.
#include "bootseal/tpm/client.h"

namespace {

using namespace bootseal;
using namespace bootseal::tpm;

class Hostile final : public Transport {
 public:
  explicit Hostile(ByteSpan input) {
    ByteReader reader(input);
    while (const auto response = read_sized(reader, 4096, "a response"))
      responses_.push_back(to_bytes(*response));
  }
  Result<Bytes> transceive(ByteSpan) override {
    constexpr std::size_t kEnough = 4096;
    if (responses_.empty() || ++given_ > kEnough) return fail(ErrorCode::unavailable, "no more responses");
    return responses_[given_ % responses_.size()];
  }

 private:
  std::vector<Bytes> responses_;
  std::size_t given_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Hostile tpm(std::as_bytes(std::span(data + 1, size - 1)));
  Client client(tpm);
  const PcrSelection selection{Algorithm::sha256, 0xFFFF};
  switch (data[0] % 10) {
    case 0:
      if (const auto values = client.pcr_read(selection)) BOOTSEAL_CHECK(values->size() == 16);
      break;
    case 1:
      static_cast<void>(client.create_primary(kOwner, srk_template_ecc_p256()));
      break;
    case 2:
      static_cast<void>(client.read_public(kAttestationKey));
      break;
    case 3:
      if (const auto content = client.nv_read(kOwner, 0x01500000)) BOOTSEAL_CHECK(content->size() <= 0xFFFF);
      break;
    case 4:
      static_cast<void>(client.quote(kAttestationKey, Bytes(16), selection));
      break;
    case 5:
      static_cast<void>(client.seal_to_pcrs(kOwner, Bytes(16), selection));
      break;
    case 6:
      static_cast<void>(client.unseal_with_pcrs(kOwner, {Bytes(8), Bytes(8)}, selection));
      break;
    case 7:
      static_cast<void>(client.handles(0x81000000));
      break;
    case 8:
      static_cast<void>(client.activate_credential(1, 2, Bytes(8), Bytes(8)));
      break;
    default:
      if (const auto random = client.get_random(32)) BOOTSEAL_CHECK(random->size() == 32);
      static_cast<void>(client.pcr_allocate({Algorithm::sha256}, {Algorithm::sha256}));
      static_cast<void>(client.nv_write(kOwner, 0x01500000, Bytes(2000)));
      break;
  }
  return 0;
}
