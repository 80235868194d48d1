// Result words of libtpms and of the emulator control protocol (TPM 1.2 style codes), and the few TPM 2.0
// codes that guestd itself uses.
#pragma once

#include <cstdint>

namespace bootseal::guest {

using TpmResult = std::uint32_t;

inline constexpr TpmResult kTpmSuccess = 0x00;
inline constexpr TpmResult kTpmBadParameter = 0x03;
inline constexpr TpmResult kTpmDisabledCommand = 0x08;
inline constexpr TpmResult kTpmFail = 0x09;
inline constexpr TpmResult kTpmBadOrdinal =
    0x0A;  // unknown command, or one that the present state does not allow
inline constexpr TpmResult kTpmKeyNotFound = 0x0D;
inline constexpr TpmResult kTpmSize = 0x17;
inline constexpr TpmResult kTpmBadParameterSize = 0x19;
inline constexpr TpmResult kTpmFailedSelfTest = 0x1C;
inline constexpr TpmResult kTpmIoError = 0x1F;
inline constexpr TpmResult kTpmDecryptError = 0x21;
inline constexpr TpmResult kTpmBadKeyProperty = 0x28;
inline constexpr TpmResult kTpmBadVersion = 0x2E;
inline constexpr TpmResult kTpmBadLocality = 0x3D;
inline constexpr TpmResult kTpmRetry = 0x800;  // "there is no such state"

inline constexpr std::uint32_t kTpm2CommandShutdown = 0x145;
inline constexpr std::uint32_t kTpm2ResponseFailure = 0x101;
inline constexpr std::uint32_t kTpm2ResponseCommandSize = 0x142;

}  // namespace bootseal::guest
