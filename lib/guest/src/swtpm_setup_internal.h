// What the makers of TPM 2.0 and TPM 1.2 share.
#pragma once

#include "bootseal/guest/swtpm_setup.h"
#include "tpm_engine.h"

namespace bootseal::guest {

// The state that a caller owns, as the keeper wants it.
class BorrowedState final : public GuestState {
 public:
  explicit BorrowedState(GuestState& state) : state_(state) {}
  [[nodiscard]] Generation generation() const override { return state_.generation(); }
  Result<std::optional<Bytes>> read(Blob blob) override { return state_.read(blob); }
  Result<Generation> commit(Blob blob, ByteSpan content) override { return state_.commit(blob, content); }
  Result<Generation> advance() override { return state_.advance(); }

 private:
  GuestState& state_;
};

// What libtpms says about the running TPM. Errors: corrupt.
Result<TpmDescription> describe_tpm(const TpmEngine& engine);

}  // namespace bootseal::guest
