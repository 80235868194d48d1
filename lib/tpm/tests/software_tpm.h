// A TPM 2.0 inside the test: libtpms with its state in memory. One at a time in a process, as libtpms has
// global state.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "bootseal/tpm/client.h"

namespace bootseal::tpm::testing {

class SoftwareTpm final : public Transport {
 public:
  // A new TPM, initialised and not started (TPM2_Startup is the test's).
  static std::unique_ptr<SoftwareTpm> manufacture();
  ~SoftwareTpm() override;
  SoftwareTpm(const SoftwareTpm&) = delete;
  SoftwareTpm& operator=(const SoftwareTpm&) = delete;

  Result<Bytes> transceive(ByteSpan command) override;
  // Power off and on again with the NV as it is.
  void power_cycle();
  [[nodiscard]] std::size_t command_count() const { return command_count_; }

 private:
  SoftwareTpm() = default;
  void power_on();

  std::size_t command_count_ = 0;
};

}  // namespace bootseal::tpm::testing
