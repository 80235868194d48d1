#include "tpm_engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_tis.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "bootseal/crypto/secret.h"
#include "limited_log.h"
#include "tpm_response.h"
#include "tpm_trace.h"

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
              kTpmRetry == TPM_RETRY && kTpmBadParameterSize == TPM_BAD_PARAM_SIZE &&
              kTpmFailedSelfTest == TPM_FAILEDSELFTEST);

constexpr std::size_t kCommandHeaderSize = 10;
constexpr std::uint16_t kTagNoSessions = 0x8001;
constexpr std::uint16_t kShutdownClear = 0x0000;
constexpr std::uint16_t kShutdownState = 0x0001;

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

// libtpms forgets states that were set and not yet used when another family is chosen, and only then: a saved
// state would be found by a TPM_Startup(STATE) of a later power cycle.
void forget_unused_states(TpmVersion version) {
  const TpmVersion other = version == TpmVersion::v1_2 ? TpmVersion::v2_0 : TpmVersion::v1_2;
  static_cast<void>(TpmEngine::choose(other));
  BOOTSEAL_CHECK(TpmEngine::choose(version) == kTpmSuccess);
}

}  // namespace

TpmEngine::TpmEngine(StateKeeper& keeper, WhenMissing when_missing, FailureHandler on_failure,
                     TpmVersion version)
    : keeper_(keeper),
      when_missing_(when_missing),
      on_failure_(std::move(on_failure)),
      version_(version),
      response_(std::make_unique<LibraryBuffer>()) {
  BOOTSEAL_CHECK(current_ == nullptr);
  current_ = this;
  // libtpms dumps the command that made it fail, which may hold secrets: it goes into a pipe, not to standard
  // error.
  if (auto pipe = make_pipe(); pipe && ::fcntl(pipe->read_end.get(), F_SETFL, O_NONBLOCK) == 0 &&
                               ::fcntl(pipe->write_end.get(), F_SETFL, O_NONBLOCK) == 0) {
    library_log_ = *std::move(pipe);
  }
  TPMLIB_SetDebugFD(library_log_.write_end.get());
  BOOTSEAL_CHECK(register_with_library(version_) == kTpmSuccess);
}

TpmEngine::~TpmEngine() {
  power_off();
  TPMLIB_Terminate();
  forget_unused_states(version_);
  TPMLIB_SetDebugFD(-1);
  TPMLIB_SetDebugLevel(0);
  current_ = nullptr;
}

void TpmEngine::trace(unsigned level, std::function<void(std::string_view)> say) {
  constexpr unsigned kFirstOfLibrary = 5;
  constexpr int kRoom = 1 << 20;  // for what libtpms says during one command
  trace_level_ = say ? level : 0;
  trace_ = std::move(say);
  const bool library = trace_level_ >= kFirstOfLibrary;
  if (library) ::fcntl(library_log_.write_end.get(), F_SETPIPE_SZ, kRoom);
  TPMLIB_SetDebugLevel(library ? trace_level_ - kFirstOfLibrary + 1 : 0);
}

TpmResult TpmEngine::after_storing(TpmResult result) {
  if (storage_error_.empty()) return result;
  parted_ = true;
  fail(fmt::format("a change of the TPM could not be stored: {}", storage_error_));
  return kTpmFail;
}

Bytes TpmEngine::failure_response() const {
  return bare_response(version_, TpmAnswer::failure);
}

TpmResult TpmEngine::power_on() {
  power_off();
  failed_ = false;
  parted_ = false;
  storage_error_.clear();
  static_cast<void>(library_words());  // of the run before
  if (keeper_.failure()) {
    fail(fmt::format("the guest state takes no more changes: {}", keeper_.failure()->describe()));
    return kTpmFail;
  }
  if (const Status family = check_family(); !family) {
    fail(fmt::format("the guest state does not fit: {}", family.error().describe()));
    return kTpmFail;
  }
  const bool came_in = std::exchange(permanent_came_in_, false);
  Bytes incoming = std::exchange(incoming_saved_, {});
  // In this order no saved state is ever found beside a permanent state that it does not belong to.
  TPM_RESULT result = came_in && version_ == TpmVersion::v1_2 && !drop_saved_state() ? TPM_FAIL : TPM_SUCCESS;
  if (result == TPM_SUCCESS) result = TPMLIB_MainInit();
  trace_library();
  if (trace_level_ > 1) trace_(fmt::format(" {} started: 0x{:x}", version_name(version_), result));
  if (result == TPM_SUCCESS && !incoming.empty() && !commit(Blob::tpm12_saved_state, incoming))
    result = TPM_FAIL;
  crypto::wipe(incoming);
  crypto::wipe(kept_volatile_);
  kept_volatile_.clear();
  if (result != TPM_SUCCESS) {
    TPMLIB_Terminate();
    forget_unused_states(version_);
    fail(fmt::format("the TPM could not be started (libtpms 0x{:x}{}{})", result,
                     storage_error_.empty() ? "" : ": ", storage_error_));
    return result;
  }
  running_ = true;
  // Volatile state that came back was that of a started TPM, and a TPM that is not started refuses
  // TPM2_Shutdown without harm.
  shutdown_due_ = version_ == TpmVersion::v2_0;
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
  forget_unused_states(version_);
  running_ = false;
}

Bytes TpmEngine::execute(ByteSpan command) {
  Bytes copy = to_bytes(command);
  Bytes response;
  execute(copy, response);
  return response;
}

void TpmEngine::execute(MutableByteSpan command, Bytes& output) {
  const auto answer_failure = [&] { append(output, failure_response()); };
  if (!running_ || command.size() < kCommandHeaderSize) return answer_failure();
  ++commands_;
  const bool tpm2 = version_ == TpmVersion::v2_0;
  // A TPM 2.0 goes into its failure mode by itself; a TPM 1.2 would go on with what is not stored.
  if (parted_ && !tpm2) return answer_failure();
  const std::uint32_t ordinal = load_be32(command, 6);
  LibraryBuffer& response = *response_;
  storage_error_.clear();
  const TPM_RESULT result = TPMLIB_Process(&response.data, &response.size, &response.allocated,
                                           reinterpret_cast<unsigned char*>(command.data()),
                                           static_cast<std::uint32_t>(command.size()));
  crypto::wipe(command);
  const TpmResult failure_mode = tpm2 ? kTpm2ResponseFailure : kTpmFailedSelfTest;
  const bool answered = result == TPM_SUCCESS && response.size >= kCommandHeaderSize;
  const std::uint32_t code = answered ? load_be32(response.view(), 6) : failure_mode;
  shutdown_due_ = tpm2 && !(ordinal == kTpm2CommandShutdown && code == kTpmSuccess);
  if (trace_level_ > 1) {
    trace_library();
    trace_(fmt::format(" command 0x{:x} of {} bytes: 0x{:x}, {} bytes", ordinal, command.size(), code,
                       response.size));
  }
  const bool stored = after_storing(kTpmSuccess) == kTpmSuccess;
  if (stored && code == failure_mode) fail("the TPM is in failure mode");
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
  return after_storing(result);
}

TpmResult TpmEngine::hash_start() {
  return running_ ? after_storing(TPM_IO_Hash_Start()) : kTpmBadOrdinal;
}

TpmResult TpmEngine::hash_data(ByteSpan data) {
  if (!running_) return kTpmBadOrdinal;
  return after_storing(TPM_IO_Hash_Data(reinterpret_cast<const unsigned char*>(data.data()),
                                        static_cast<std::uint32_t>(data.size())));
}

TpmResult TpmEngine::hash_end() {
  return running_ ? after_storing(TPM_IO_Hash_End()) : kTpmBadOrdinal;
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
  if (kind == TpmStateKind::save_state) {
    if (version_ == TpmVersion::v2_0) return kTpmRetry;
    auto saved = saved_state();
    if (!saved) return after_storing(kTpmFail);
    if (saved->empty()) return kTpmRetry;
    state = *std::move(saved);
    return kTpmSuccess;
  }
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
  const bool saved = kind == TpmStateKind::save_state;
  if (saved && state.empty()) return kTpmSuccess;
  if (state.empty() || (saved && version_ == TpmVersion::v2_0)) return kTpmBadParameter;
  const TPM_RESULT result =
      TPMLIB_SetState(library_kind(kind), reinterpret_cast<const unsigned char*>(state.data()),
                      static_cast<std::uint32_t>(state.size()));
  if (result != TPM_SUCCESS) return result;
  if (kind == TpmStateKind::permanent) permanent_came_in_ = true;
  if (saved) {
    crypto::wipe(incoming_saved_);
    incoming_saved_ = to_bytes(state);
  }
  return kTpmSuccess;
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

// What libtpms has said since the last time goes to the trace. (library_words() then finds nothing.)
void TpmEngine::trace_library() {
  const std::string kLibraryIndent(4, ' ');  // as swtpm has it
  if (trace_level_ < 2) return;
  std::string text = library_text();
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    if (end > start)
      trace_(kLibraryIndent + without_bytes(std::string_view(text).substr(start, end - start)));
    start = end + 1;
  }
  crypto::wipe(std::as_writable_bytes(std::span(text)));
}

std::string TpmEngine::library_text() {
  std::array<char, 4096> piece{};
  std::string text;
  for (ssize_t size = 0; (size = ::read(library_log_.read_end.get(), piece.data(), piece.size())) > 0;)
    text.append(piece.data(), static_cast<std::size_t>(size));
  crypto::wipe(std::as_writable_bytes(std::span(piece)));
  return text;
}

// What libtpms has said since the last time, without the dump of the command.
std::string TpmEngine::library_words() {
  const std::string_view prefix = version_ == TpmVersion::v2_0 ? "libtpms/tpm2: " : "libtpms/tpm12: ";
  constexpr std::string_view kDumpFollows = "through command:";
  constexpr std::size_t kLongest = 1024;
  std::string text = library_text();
  std::string words;
  for (std::size_t start = 0; start < text.size() && words.size() < kLongest;) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = std::string_view(text).substr(start, end - start);
    start = end + 1;
    if (!line.starts_with(prefix) || line.ends_with(kDumpFollows)) continue;
    if (!words.empty()) words += "; ";
    words += line.substr(prefix.size());
  }
  crypto::wipe(std::as_writable_bytes(std::span(text)));
  return words;
}

}  // namespace bootseal::guest
