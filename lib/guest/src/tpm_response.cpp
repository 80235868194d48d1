#include "tpm_response.h"

#include "tpm_result.h"

namespace bootseal::guest {
namespace {

constexpr std::uint16_t kTpm12TagResponse = 0x00C4;
constexpr std::uint16_t kTpm2TagNoSessions = 0x8001;
constexpr std::uint32_t kSize = 10;
constexpr std::uint32_t kTpm2ResponseLocality = 0x907;
constexpr std::uint32_t kTpm2ResponseInsufficient = 0x9A;

std::uint32_t code_of(TpmVersion version, TpmAnswer answer) {
  const bool tpm2 = version == TpmVersion::v2_0;
  switch (answer) {
    case TpmAnswer::success:
      return kTpmSuccess;
    case TpmAnswer::failure:
      break;
    case TpmAnswer::bad_command_size:
      return tpm2 ? kTpm2ResponseCommandSize : kTpmBadParameterSize;
    case TpmAnswer::missing_parameter:
      return tpm2 ? kTpm2ResponseInsufficient : kTpmBadParameterSize;
    case TpmAnswer::bad_locality:
      return tpm2 ? kTpm2ResponseLocality : kTpmBadLocality;
  }
  return tpm2 ? kTpm2ResponseFailure : kTpmFail;
}

}  // namespace

Bytes bare_response(TpmVersion version, TpmAnswer answer) {
  ByteWriter response;
  response.be16(version == TpmVersion::v2_0 ? kTpm2TagNoSessions : kTpm12TagResponse);
  response.be32(kSize).be32(code_of(version, answer));
  return response.take();
}

}  // namespace bootseal::guest
