#include "software_tpm.h"

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_memory.h>

#include <cstdlib>

namespace bootseal::tpm::testing {
namespace {

std::map<std::string, Bytes>& nvram() {
  static std::map<std::string, Bytes> content;
  return content;
}

TPM_RESULT nvram_init() {
  return TPM_SUCCESS;
}

TPM_RESULT nvram_load(unsigned char** data, std::uint32_t* length, std::uint32_t, const char* name) {
  const auto found = nvram().find(name);
  if (found == nvram().end()) return TPM_RETRY;
  const Bytes& content = found->second;
  if (const TPM_RESULT result = TPM_Malloc(data, static_cast<std::uint32_t>(content.size()));
      result != TPM_SUCCESS) {
    return result;
  }
  std::memcpy(*data, content.data(), content.size());
  *length = static_cast<std::uint32_t>(content.size());
  return TPM_SUCCESS;
}

TPM_RESULT nvram_store(const unsigned char* data, std::uint32_t length, std::uint32_t, const char* name) {
  nvram()[name] = to_bytes(std::as_bytes(std::span(data, length)));
  return TPM_SUCCESS;
}

TPM_RESULT nvram_delete(std::uint32_t, const char* name, TPM_BOOL must_exist) {
  return nvram().erase(name) == 0 && must_exist != 0 ? TPM_FAIL : TPM_SUCCESS;
}

TPM_RESULT io_init() {
  return TPM_SUCCESS;
}

TPM_RESULT locality_zero(TPM_MODIFIER_INDICATOR* locality, std::uint32_t) {
  *locality = 0;
  return TPM_SUCCESS;
}

TPM_RESULT no_physical_presence(TPM_BOOL* presence, std::uint32_t) {
  *presence = 0;
  return TPM_SUCCESS;
}

}  // namespace

std::unique_ptr<SoftwareTpm> SoftwareTpm::manufacture() {
  nvram().clear();
  std::unique_ptr<SoftwareTpm> made(new SoftwareTpm());
  made->power_on();
  return made;
}

SoftwareTpm::~SoftwareTpm() {
  TPMLIB_Terminate();
}

void SoftwareTpm::power_on() {
  libtpms_callbacks callbacks{};
  callbacks.sizeOfStruct = sizeof callbacks;
  callbacks.tpm_nvram_init = nvram_init;
  callbacks.tpm_nvram_loaddata = nvram_load;
  callbacks.tpm_nvram_storedata = nvram_store;
  callbacks.tpm_nvram_deletename = nvram_delete;
  callbacks.tpm_io_init = io_init;
  callbacks.tpm_io_getlocality = locality_zero;
  callbacks.tpm_io_getphysicalpresence = no_physical_presence;
  BOOTSEAL_CHECK(TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) == TPM_SUCCESS);
  BOOTSEAL_CHECK(TPMLIB_RegisterCallbacks(&callbacks) == TPM_SUCCESS);
  BOOTSEAL_CHECK(TPMLIB_MainInit() == TPM_SUCCESS);
}

void SoftwareTpm::power_cycle() {
  TPMLIB_Terminate();
  power_on();
}

Result<Bytes> SoftwareTpm::transceive(ByteSpan command) {
  ++command_count_;
  Bytes copy = to_bytes(command);
  unsigned char* response = nullptr;
  std::uint32_t size = 0;
  std::uint32_t capacity = 0;
  const TPM_RESULT result =
      TPMLIB_Process(&response, &size, &capacity, reinterpret_cast<unsigned char*>(copy.data()),
                     static_cast<std::uint32_t>(copy.size()));
  if (result != TPM_SUCCESS) return fail(ErrorCode::unavailable, "TPMLIB_Process failed");
  Bytes answer = to_bytes(std::as_bytes(std::span(response, size)));
  std::free(response);
  return answer;
}

}  // namespace bootseal::tpm::testing
