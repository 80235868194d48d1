// Where the TPM's states lie: what libtpms calls to load and store them.
#include <fmt/format.h>
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>

#include <cstdlib>
#include <cstring>

#include "bootseal/crypto/secret.h"
#include "tpm_engine.h"

namespace bootseal::guest {
namespace {

TPM_RESULT give_to_library(ByteSpan content, unsigned char** data, std::uint32_t* length) {
  auto* copy = static_cast<unsigned char*>(std::malloc(content.size()));
  if (copy == nullptr) return TPM_SIZE;
  std::memcpy(copy, content.data(), content.size());
  *data = copy;
  *length = static_cast<std::uint32_t>(content.size());
  return TPM_SUCCESS;
}

}  // namespace

TpmEngine* TpmEngine::current_ = nullptr;

// What libtpms calls. It has no context pointer, hence current_.
struct TpmEngine::Callbacks {
  static TPM_RESULT nvram_init() { return TPM_SUCCESS; }

  // TPM_RETRY makes libtpms manufacture a new TPM; any other error puts it into failure mode.
  static TPM_RESULT load(unsigned char** data, std::uint32_t* length, std::uint32_t, const char* name) {
    TpmEngine& engine = *current_;
    const std::string_view wanted = name;
    if (wanted == TPM_VOLATILESTATE_NAME) {
      if (engine.kept_volatile_.empty()) return TPM_RETRY;
      return give_to_library(engine.kept_volatile_, data, length);
    }
    if (wanted == TPM_SAVESTATE_NAME && engine.version_ == TpmVersion::v1_2) return load_saved(data, length);
    if (wanted != TPM_PERMANENT_ALL_NAME) return TPM_RETRY;
    auto state = engine.keeper_.read(engine.permanent_blob());
    if (!state) {
      engine.storage_error_ = state.error().describe();
      return TPM_FAIL;
    }
    if (!state->has_value()) {
      if (engine.when_missing_ == WhenMissing::manufacture) return TPM_RETRY;
      engine.storage_error_ = "the guest state holds no TPM state";
      return TPM_FAIL;
    }
    const TPM_RESULT result = give_to_library(**state, data, length);
    crypto::wipe(**state);
    return result;
  }

  static TPM_RESULT load_saved(unsigned char** data, std::uint32_t* length) {
    auto saved = current_->saved_state();
    if (!saved) return TPM_FAIL;
    if (saved->empty()) return TPM_RETRY;
    const TPM_RESULT result = give_to_library(*saved, data, length);
    crypto::wipe(*saved);
    return result;
  }

  static TPM_RESULT store(const unsigned char* data, std::uint32_t length, std::uint32_t, const char* name) {
    TpmEngine& engine = *current_;
    const std::string_view kind = name;
    const bool saved = kind == TPM_SAVESTATE_NAME && engine.version_ == TpmVersion::v1_2;
    if (kind != TPM_PERMANENT_ALL_NAME && !saved) return TPM_SUCCESS;  // volatile state stays in memory
    const ByteSpan content(reinterpret_cast<const std::byte*>(data), length);
    return engine.commit(saved ? Blob::tpm12_saved_state : engine.permanent_blob(), content) ? TPM_SUCCESS
                                                                                             : TPM_FAIL;
  }

  // A saved state is used once, and only by the very next command. One that is gone already is gone.
  static TPM_RESULT remove(std::uint32_t, const char* name, TPM_BOOL) {
    TpmEngine& engine = *current_;
    if (std::string_view(name) != TPM_SAVESTATE_NAME || engine.version_ != TpmVersion::v1_2)
      return TPM_SUCCESS;
    return engine.drop_saved_state() ? TPM_SUCCESS : TPM_FAIL;
  }
  static TPM_RESULT io_init() { return TPM_SUCCESS; }
  static TPM_RESULT locality(TPM_MODIFIER_INDICATOR* locality, std::uint32_t) {
    *locality = current_->locality_;
    return TPM_SUCCESS;
  }
  static TPM_RESULT physical_presence(TPM_BOOL* present, std::uint32_t) {
    *present = 0;
    return TPM_SUCCESS;
  }
};

TpmResult TpmEngine::choose(TpmVersion version) {
  return TPMLIB_ChooseTPMVersion(version == TpmVersion::v1_2 ? TPMLIB_TPM_VERSION_1_2 : TPMLIB_TPM_VERSION_2);
}

TpmResult TpmEngine::register_with_library(TpmVersion version) {
  if (const TpmResult result = choose(version); result != kTpmSuccess) return result;
  libtpms_callbacks callbacks{};
  callbacks.sizeOfStruct = sizeof(callbacks);
  callbacks.tpm_nvram_init = Callbacks::nvram_init;
  callbacks.tpm_nvram_loaddata = Callbacks::load;
  callbacks.tpm_nvram_storedata = Callbacks::store;
  callbacks.tpm_nvram_deletename = Callbacks::remove;
  callbacks.tpm_io_init = Callbacks::io_init;
  callbacks.tpm_io_getlocality = Callbacks::locality;
  callbacks.tpm_io_getphysicalpresence = Callbacks::physical_presence;
  return TPMLIB_RegisterCallbacks(&callbacks);
}

Blob TpmEngine::permanent_blob() const {
  return version_ == TpmVersion::v1_2 ? Blob::tpm12_permanent : Blob::tpm_permanent;
}

// libtpms does not tell the two families' states apart in words.
Status TpmEngine::check_family() {
  if (!keeper_.has_state()) return {};  // refused when libtpms asks for it
  const bool tpm12 = version_ == TpmVersion::v1_2;
  BOOTSEAL_TRY(auto other, keeper_.read(tpm12 ? Blob::tpm_permanent : Blob::tpm12_permanent));
  if (!other) return {};
  crypto::wipe(*other);
  return bootseal::fail(ErrorCode::conflict,
                        fmt::format("it holds a {}, and this is a {}; start it {} --tpm2",
                                    version_name(tpm12 ? TpmVersion::v2_0 : TpmVersion::v1_2),
                                    version_name(version_), tpm12 ? "with" : "without"));
}

Status TpmEngine::commit(Blob blob, ByteSpan content) {
  Status committed = keeper_.commit(blob, content);
  if (!committed) storage_error_ = committed.error().describe();
  return committed;
}

// Empty when there is none.
Result<Bytes> TpmEngine::saved_state() {
  auto saved = keeper_.read(Blob::tpm12_saved_state);
  if (!saved) {
    storage_error_ = saved.error().describe();
    return tl::unexpected(saved.error());
  }
  return (*std::move(saved)).value_or(Bytes());
}

Status TpmEngine::drop_saved_state() {
  BOOTSEAL_TRY(Bytes saved, saved_state());
  if (saved.empty()) return {};
  crypto::wipe(saved);
  return commit(Blob::tpm12_saved_state, {});
}

}  // namespace bootseal::guest
