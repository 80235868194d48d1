// The two families of TPM that bootseal-swtpm serves; guestd's is always a TPM 2.0.
#pragma once

#include <cstdint>
#include <string_view>

namespace bootseal::guest {

enum class TpmVersion : std::uint8_t { v1_2, v2_0 };

constexpr std::string_view version_name(TpmVersion version) {
  return version == TpmVersion::v1_2 ? "TPM 1.2" : "TPM 2.0";
}

}  // namespace bootseal::guest
