#include "tpm_engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>
#include <libtpms/tpm_tis.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "bootseal/crypto/secret.h"
#include "limited_log.h"

namespace bootseal::guest {

// A buffer that libtpms allocated; it may hold seeds and keys.
class LibraryBuffer {
 public:
  LibraryBuffer() = default;
  LibraryBuffer(const LibraryBuffer&) = delete;
  LibraryBuffer& operator=(const LibraryBuffer&) = delete;
  ~LibraryBuffer() {
    if (data != nullptr) crypto::wipe({reinterpret_cast<std::byte*>(data), size});
    std::free(data);
  }
  [[nodiscard]] ByteSpan view() const { return {reinterpret_cast<const std::byte*>(data), size}; }
  // The memory stays for the next use.
  void clear() {
    if (data != nullptr) crypto::wipe({reinterpret_cast<std::byte*>(data), size});
    size = 0;
  }

  unsigned char* data = nullptr;
  std::uint32_t size = 0;
  std::uint32_t allocated = 0;
};

namespace {

static_assert(kTpmBadParameter == TPM_BAD_PARAMETER && kTpmFail == TPM_FAIL &&
              kTpmBadOrdinal == TPM_BAD_ORDINAL && kTpmSize == TPM_SIZE && kTpmIoError == TPM_IOERROR &&
              kTpmDecryptError == TPM_DECRYPT_ERROR && kTpmDisabledCommand == TPM_DISABLED_CMD &&
              kTpmKeyNotFound == TPM_KEYNOTFOUND && kTpmBadKeyProperty == TPM_BAD_KEY_PROPERTY &&
              kTpmBadVersion == TPM_BAD_VERSION && kTpmBadLocality == TPM_BAD_LOCALITY &&
              kTpmRetry == TPM_RETRY);

constexpr std::size_t kCommandHeaderSize = 10;
constexpr std::uint16_t kTagNoSessions = 0x8001;
constexpr std::uint16_t kShutdownClear = 0x0000;
constexpr std::uint16_t kShutdownState = 0x0001;

TpmEngine* engine_of_this_process = nullptr;

TPM_RESULT give_to_library(ByteSpan content, unsigned char** data, std::uint32_t* length) {
  auto* copy = static_cast<unsigned char*>(std::malloc(content.size()));
  if (copy == nullptr) return TPM_SIZE;
  std::memcpy(copy, content.data(), content.size());
  *data = copy;
  *length = static_cast<std::uint32_t>(content.size());
  return TPM_SUCCESS;
}

Bytes shutdown_command(std::uint16_t type) {
  ByteWriter command;
  command.be16(kTagNoSessions).be32(kCommandHeaderSize + 2).be32(kTpm2CommandShutdown).be16(type);
  return command.take();
}

TPMLIB_StateType library_kind(TpmStateKind kind) {
  switch (kind) {
    case TpmStateKind::permanent:
      return TPMLIB_STATE_PERMANENT;
    case TpmStateKind::volatile_state:
      return TPMLIB_STATE_VOLATILE;
    case TpmStateKind::save_state:
      return TPMLIB_STATE_SAVE_STATE;
  }
  return TPMLIB_STATE_SAVE_STATE;
}

}  // namespace

// What libtpms calls. It has no context pointer, hence engine_of_this_process.
struct TpmEngine::Callbacks {
  static TPM_RESULT nvram_init() { return TPM_SUCCESS; }

  // TPM_RETRY makes libtpms manufacture a new TPM; any other error puts it into failure mode.
  static TPM_RESULT load(unsigned char** data, std::uint32_t* length, std::uint32_t, const char* name) {
    TpmEngine& engine = *engine_of_this_process;
    const std::string_view wanted = name;
    if (wanted == TPM_VOLATILESTATE_NAME) {
      if (engine.kept_volatile_.empty()) return TPM_RETRY;
      return give_to_library(engine.kept_volatile_, data, length);
    }
    if (wanted != TPM_PERMANENT_ALL_NAME) return TPM_RETRY;
    auto state = engine.keeper_.read(Blob::tpm_permanent);
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

  static TPM_RESULT store(const unsigned char* data, std::uint32_t length, std::uint32_t, const char* name) {
    TpmEngine& engine = *engine_of_this_process;
    if (std::string_view(name) != TPM_PERMANENT_ALL_NAME)
      return TPM_SUCCESS;  // volatile state stays in memory
    const ByteSpan content(reinterpret_cast<const std::byte*>(data), length);
    if (const Status committed = engine.keeper_.commit(Blob::tpm_permanent, content); !committed) {
      engine.storage_error_ = committed.error().describe();
      return TPM_FAIL;
    }
    return TPM_SUCCESS;
  }

  static TPM_RESULT remove(std::uint32_t, const char*, TPM_BOOL) { return TPM_SUCCESS; }
  static TPM_RESULT io_init() { return TPM_SUCCESS; }
  static TPM_RESULT locality(TPM_MODIFIER_INDICATOR* locality, std::uint32_t) {
    *locality = engine_of_this_process->locality_;
    return TPM_SUCCESS;
  }
  static TPM_RESULT physical_presence(TPM_BOOL* present, std::uint32_t) {
    *present = 0;
    return TPM_SUCCESS;
  }

  static TPM_RESULT select_and_register() {
    if (const TPM_RESULT result = TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2); result != TPM_SUCCESS)
      return result;
    libtpms_callbacks callbacks{};
    callbacks.sizeOfStruct = sizeof(callbacks);
    callbacks.tpm_nvram_init = nvram_init;
    callbacks.tpm_nvram_loaddata = load;
    callbacks.tpm_nvram_storedata = store;
    callbacks.tpm_nvram_deletename = remove;
    callbacks.tpm_io_init = io_init;
    callbacks.tpm_io_getlocality = locality;
    callbacks.tpm_io_getphysicalpresence = physical_presence;
    return TPMLIB_RegisterCallbacks(&callbacks);
  }
};

Bytes tpm2_error_response(std::uint32_t code) {
  ByteWriter response;
  response.be16(kTagNoSessions).be32(kCommandHeaderSize).be32(code);
  return response.take();
}

TpmEngine::TpmEngine(StateKeeper& keeper, WhenMissing when_missing, FailureHandler on_failure)
    : keeper_(keeper),
      when_missing_(when_missing),
      on_failure_(std::move(on_failure)),
      response_(std::make_unique<LibraryBuffer>()) {
  BOOTSEAL_CHECK(engine_of_this_process == nullptr);
  engine_of_this_process = this;
  // libtpms dumps the command that made it fail, which may hold secrets: it goes into a pipe, not to standard
  // error.
  if (auto pipe = make_pipe(); pipe && ::fcntl(pipe->read_end.get(), F_SETFL, O_NONBLOCK) == 0 &&
                               ::fcntl(pipe->write_end.get(), F_SETFL, O_NONBLOCK) == 0) {
    library_log_ = *std::move(pipe);
  }
  TPMLIB_SetDebugFD(library_log_.write_end.get());
  BOOTSEAL_CHECK(Callbacks::select_and_register() == TPM_SUCCESS);
}

TpmEngine::~TpmEngine() {
  power_off();
  TPMLIB_Terminate();  // also drops state that was set and never used
  TPMLIB_SetDebugFD(-1);
  engine_of_this_process = nullptr;
}

TpmResult TpmEngine::power_on() {
  power_off();
  failed_ = false;
  storage_error_.clear();
  static_cast<void>(library_words());  // of the run before
  if (keeper_.failure()) {
    fail(fmt::format("the guest state takes no more changes: {}", keeper_.failure()->describe()));
    return kTpmFail;
  }
  const TPM_RESULT result = TPMLIB_MainInit();
  crypto::wipe(kept_volatile_);
  kept_volatile_.clear();
  if (result != TPM_SUCCESS) {
    TPMLIB_Terminate();
    fail(fmt::format("the TPM could not be started (libtpms 0x{:x}{}{})", result,
                     storage_error_.empty() ? "" : ": ", storage_error_));
    return result;
  }
  running_ = true;
  // Volatile state that came back was that of a started TPM, and a TPM that is not started refuses
  // TPM2_Shutdown without harm.
  shutdown_due_ = true;
  return kTpmSuccess;
}

void TpmEngine::shut_down_if_due() {
  if (!running_ || !shutdown_due_ || failed_) return;
  shutdown_due_ = false;
  const auto code = [&](std::uint16_t type) {
    const Bytes response = execute(shutdown_command(type));
    return response.size() >= kCommandHeaderSize ? load_be32(response, 6) : kTpm2ResponseFailure;
  };
  if (code(kShutdownState) != kTpmSuccess) code(kShutdownClear);
  shutdown_due_ = false;
}

void TpmEngine::power_off() {
  if (!running_) return;
  shut_down_if_due();
  TPMLIB_Terminate();
  running_ = false;
}

Bytes TpmEngine::execute(ByteSpan command) {
  Bytes copy = to_bytes(command);
  Bytes response;
  execute(copy, response);
  return response;
}

void TpmEngine::execute(MutableByteSpan command, Bytes& output) {
  const auto answer_failure = [&] { append(output, tpm2_error_response(kTpm2ResponseFailure)); };
  if (!running_ || command.size() < kCommandHeaderSize) return answer_failure();
  ++commands_;
  const bool is_shutdown = load_be32(command, 6) == kTpm2CommandShutdown;
  LibraryBuffer& response = *response_;
  storage_error_.clear();
  const TPM_RESULT result = TPMLIB_Process(&response.data, &response.size, &response.allocated,
                                           reinterpret_cast<unsigned char*>(command.data()),
                                           static_cast<std::uint32_t>(command.size()));
  crypto::wipe(command);
  const bool answered = result == TPM_SUCCESS && response.size >= kCommandHeaderSize;
  const std::uint32_t code = answered ? load_be32(response.view(), 6) : kTpm2ResponseFailure;
  shutdown_due_ = !(is_shutdown && code == kTpmSuccess);
  const bool stored = storage_error_.empty();
  if (!stored) {
    fail(fmt::format("a change of the TPM could not be stored: {}", storage_error_));
  } else if (code == kTpm2ResponseFailure) {
    fail("the TPM is in failure mode");
  }
  if (answered && stored) {
    append(output, response.view());
  } else {
    answer_failure();
  }
  response.clear();
}

Result<Bytes> TpmEngine::transceive(ByteSpan command) {
  if (!running_) return bootseal::fail(ErrorCode::unavailable, "the TPM is off");
  return execute(command);
}

TpmEngine::BufferSize TpmEngine::buffer_size(std::uint32_t wanted) {
  BufferSize size;
  size.used = TPMLIB_SetBufferSize(running_ ? 0 : wanted, &size.minimum, &size.maximum);
  return size;
}

bool TpmEngine::established() const {
  TPM_BOOL bit = 0;
  return running_ && TPM_IO_TpmEstablished_Get(&bit) == TPM_SUCCESS && bit != 0;
}

TpmResult TpmEngine::reset_established(std::uint8_t locality) {
  if (!running_) return kTpmBadOrdinal;
  const std::uint8_t before = std::exchange(locality_, locality);
  const TPM_RESULT result = TPM_IO_TpmEstablished_Reset();
  locality_ = before;
  return result;
}

TpmResult TpmEngine::hash_start() {
  return running_ ? TPM_IO_Hash_Start() : kTpmBadOrdinal;
}

TpmResult TpmEngine::hash_data(ByteSpan data) {
  if (!running_) return kTpmBadOrdinal;
  return TPM_IO_Hash_Data(reinterpret_cast<const unsigned char*>(data.data()),
                          static_cast<std::uint32_t>(data.size()));
}

TpmResult TpmEngine::hash_end() {
  return running_ ? TPM_IO_Hash_End() : kTpmBadOrdinal;
}

TpmResult TpmEngine::keep_volatile_state() {
  Bytes state;
  const TpmResult result = get_state(TpmStateKind::volatile_state, state);
  if (result == kTpmSuccess) kept_volatile_ = std::move(state);
  return result;
}

void TpmEngine::set_kept_volatile_state(Bytes state) {
  crypto::wipe(kept_volatile_);
  kept_volatile_ = std::move(state);
}

TpmResult TpmEngine::get_state(TpmStateKind kind, Bytes& state) {
  if (!running_) return kTpmBadOrdinal;
  if (kind == TpmStateKind::save_state) return kTpmRetry;  // TPM 1.2 only
  LibraryBuffer buffer;
  const TPM_RESULT result = TPMLIB_GetState(library_kind(kind), &buffer.data, &buffer.size);
  if (result != TPM_SUCCESS) return result;
  state = to_bytes(buffer.view());
  // Somebody goes on from here, as from a TPM that never stopped: a TPM2_Shutdown would only make the
  // permanent state differ from the one that the volatile state belongs to.
  if (kind == TpmStateKind::volatile_state) shutdown_due_ = false;
  return result;
}

TpmResult TpmEngine::set_state(TpmStateKind kind, ByteSpan state) {
  if (running_) return kTpmBadOrdinal;
  if (kind == TpmStateKind::save_state) return state.empty() ? kTpmSuccess : kTpmBadParameter;
  if (state.empty()) return kTpmBadParameter;
  return TPMLIB_SetState(library_kind(kind), reinterpret_cast<const unsigned char*>(state.data()),
                         static_cast<std::uint32_t>(state.size()));
}

std::string TpmEngine::information(std::uint64_t flags) const {
  if (!running_) return {};
  constexpr std::uint64_t kKnown =
      TPMLIB_INFO_TPMSPECIFICATION | TPMLIB_INFO_TPMATTRIBUTES | TPMLIB_INFO_TPMFEATURES;
  const auto wanted = static_cast<TPMLIB_InfoFlags>(static_cast<unsigned>(flags & kKnown));
  const std::unique_ptr<char, decltype(&std::free)> text(TPMLIB_GetInfo(wanted), &std::free);
  return text ? std::string(text.get()) : std::string();
}

void TpmEngine::fail(std::string message) {
  if (std::exchange(failed_, true)) return;
  if (const std::string words = library_words(); !words.empty()) message += fmt::format(" ({})", words);
  warn_limited("tpm.failed", message);
  on_failure_(message);
}

// What libtpms has said since the last time, without the dump of the command.
std::string TpmEngine::library_words() {
  constexpr std::string_view kPrefix = "libtpms/tpm2: ";
  constexpr std::string_view kDumpFollows = "through command:";
  constexpr std::size_t kLongest = 1024;
  std::array<char, 4096> piece{};
  std::string text;
  for (ssize_t size = 0; (size = ::read(library_log_.read_end.get(), piece.data(), piece.size())) > 0;)
    text.append(piece.data(), static_cast<std::size_t>(size));
  std::string words;
  for (std::size_t start = 0; start < text.size() && words.size() < kLongest;) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = std::string_view(text).substr(start, end - start);
    start = end + 1;
    if (!line.starts_with(kPrefix) || line.ends_with(kDumpFollows)) continue;
    if (!words.empty()) words += "; ";
    words += line.substr(kPrefix.size());
  }
  crypto::wipe(std::as_writable_bytes(std::span(text)));
  crypto::wipe(std::as_writable_bytes(std::span(piece)));
  return words;
}

}  // namespace bootseal::guest
