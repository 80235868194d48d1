#include "tpm_control.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bootseal/crypto/secret.h"
#include "limited_log.h"

namespace bootseal::guest {
namespace {

enum Command : std::uint32_t {
  kGetCapability = 0x01,
  kInit = 0x02,
  kShutdown = 0x03,
  kGetTpmEstablished = 0x04,
  kSetLocality = 0x05,
  kHashStart = 0x06,
  kHashData = 0x07,
  kHashEnd = 0x08,
  kCancelTpmCommand = 0x09,
  kStoreVolatile = 0x0A,
  kResetTpmEstablished = 0x0B,
  kGetStateBlob = 0x0C,
  kSetStateBlob = 0x0D,
  kStop = 0x0E,
  kGetConfig = 0x0F,
  kSetDataFd = 0x10,
  kSetBufferSize = 0x11,
  kGetInfo = 0x12,
  kLockStorage = 0x13,
};

constexpr std::uint32_t kInitDeletesVolatile = 0x1;  // flag of INIT
constexpr std::uint32_t kStateDecrypted = 0x1;       // flag of GET_STATEBLOB: without the file key
constexpr std::uint32_t kStateEncrypted = 0x2;       // flag of its answer
constexpr std::size_t kLargestInfoChunk = 3072;
constexpr std::size_t kWordSize = 4;

// Bytes of the fixed part of the body; nullopt for an unknown command.
std::optional<std::size_t> body_size(std::uint32_t command) {
  switch (command) {
    case kGetCapability:
    case kShutdown:
    case kGetTpmEstablished:
    case kHashStart:
    case kHashEnd:
    case kCancelTpmCommand:
    case kStoreVolatile:
    case kStop:
    case kGetConfig:
    case kSetDataFd:
      return 0;
    case kSetLocality:
    case kResetTpmEstablished:
      return 1;  // three bytes of padding may follow
    case kInit:
    case kHashData:
    case kSetBufferSize:
    case kLockStorage:
      return 4;
    case kGetStateBlob:
    case kSetStateBlob:
      return 12;
    case kGetInfo:
      return 16;
    default:
      return std::nullopt;
  }
}

void put(Bytes& output, std::initializer_list<std::uint32_t> words) {
  ByteWriter answer;
  for (const std::uint32_t word : words) answer.be32(word);
  append(output, answer.view());
}

// The caller has checked that the whole body is there.
std::uint32_t word(ByteReader& body) {
  return body.be32("a word of a TPM control command").value();
}

void drop_front(Bytes& bytes, std::size_t count) {
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
}

std::optional<TpmStateKind> state_kind(std::uint32_t type) {
  if (type < 1 || type > 3) return std::nullopt;
  return static_cast<TpmStateKind>(type);
}

}  // namespace

void TpmControlSession::receive(ByteSpan data, UniqueFd fd, Bytes& output) {
  append(buffer_, data);
  if (fd.valid()) fd_ = std::move(fd);
  while (step(output)) {
  }
}

// True when it made progress.
bool TpmControlSession::step(Bytes& output) {
  if (stream_ != Stream::none) {
    if (buffer_.empty()) return false;
    consume_stream(output);
    return true;
  }
  if (buffer_.size() < kWordSize) return false;
  if (std::exchange(padding_possible_, false) && load_be32(buffer_, 0) == 0) {
    drop_front(buffer_, kWordSize - 1);  // no command is 0: these three bytes belong to the locality before
    return true;
  }
  const std::uint32_t command = load_be32(buffer_, 0);
  const std::optional<std::size_t> size = body_size(command);
  if (!size) {
    // Its length is not known. Clients wait for each answer, so whatever has come belongs to it.
    warn_limited("tpm.control.unknown_command", fmt::format("0x{:x}", command));
    buffer_.clear();
    put(output, {kTpmBadOrdinal});
    return false;
  }
  if (buffer_.size() < kWordSize + *size) return false;
  const Bytes body(buffer_.begin() + kWordSize,
                   buffer_.begin() + static_cast<std::ptrdiff_t>(kWordSize + *size));
  drop_front(buffer_, kWordSize + *size);
  execute(command, ByteReader(body), output);
  return true;
}

void TpmControlSession::execute(std::uint32_t command, ByteReader body, Bytes& output) {
  const TpmResult when_running = engine_.running() ? kTpmSuccess : kTpmBadOrdinal;
  switch (command) {
    case kGetCapability:
      return put(output, {kTpmSuccess, profile_.capabilities});
    case kInit:
      return put(output, {host_.power_on((word(body) & kInitDeletesVolatile) != 0)});
    case kShutdown:
      engine_.power_off();
      put(output, {kTpmSuccess});
      return host_.shutdown_requested();
    case kStop:
      engine_.power_off();
      return put(output, {kTpmSuccess});
    case kGetTpmEstablished:
      return put(output, {profile_.wrong_order_is_an_error ? when_running : kTpmSuccess,
                          engine_.established() ? 0x01000000U : 0U});
    case kSetLocality:
    case kResetTpmEstablished: {
      const auto locality = body.u8("the locality").value();
      padding_possible_ = true;
      if (locality > profile_.highest_locality) return put(output, {kTpmBadLocality});
      if (command == kResetTpmEstablished) return put(output, {engine_.reset_established(locality)});
      engine_.set_locality(locality);
      return put(output, {kTpmSuccess});
    }
    case kHashStart:
      return put(output, {engine_.hash_start()});
    case kHashData:
      return begin_stream(Stream::hash_data, word(body), when_running, output);
    case kHashEnd:
      return put(output, {engine_.hash_end()});
    case kCancelTpmCommand:
      // One thread serves both channels: whatever was to be cancelled has ended by now.
      return put(output, {when_running});
    case kStoreVolatile:
      if (!host_.may_give_state()) return put(output, {kTpmDisabledCommand});
      return put(output, {engine_.running() ? host_.keep_volatile_state() : kTpmBadOrdinal});
    case kGetStateBlob:
      return get_state_blob(body, output);
    case kSetStateBlob:
      return begin_state_blob(body, output);
    case kGetConfig:
      return put(output, {kTpmSuccess, profile_.configuration});
    case kSetDataFd: {
      UniqueFd fd = std::move(fd_);
      return put(output, {fd.valid() && host_.take_data_channel(std::move(fd)) ? kTpmSuccess : kTpmIoError});
    }
    case kSetBufferSize: {
      const std::uint32_t wanted = word(body);
      const bool late = profile_.wrong_order_is_an_error && wanted != 0 && engine_.running();
      const TpmEngine::BufferSize size = engine_.buffer_size(wanted);
      return put(output, {late ? kTpmBadOrdinal : kTpmSuccess, size.used, size.minimum, size.maximum});
    }
    case kGetInfo:
      return get_information(body, output);
    case kLockStorage:
      return put(output, {kTpmSuccess});  // the state file is locked as long as this process has it open
    default:
      return put(output, {kTpmBadOrdinal});
  }
}

StateKeys TpmControlSession::keys() const {
  return profile_.keys != nullptr ? *profile_.keys : StateKeys{};
}

void TpmControlSession::get_state_blob(ByteReader body, Bytes& output) {
  const std::uint32_t flags = word(body);
  const std::optional<TpmStateKind> kind = state_kind(word(body));
  const std::uint32_t offset = word(body);
  if (!host_.may_give_state()) {
    warn_limited("tpm.control.state_refused", "GET_STATEBLOB outside of an outgoing migration");
    return put(output, {kTpmDisabledCommand, 0, 0, 0});
  }
  Bytes state;
  const TpmResult result = kind ? engine_.get_state(*kind, state) : kTpmBadParameter;
  if (result != kTpmSuccess) return put(output, {result, 0, 0, 0});
  StateKeys used = keys();
  if ((flags & kStateDecrypted) != 0) used.file = nullptr;
  Bytes envelope = wrap_state(state, used);
  crypto::wipe(state);
  if (offset > envelope.size()) return put(output, {kTpmBadParameter, 0, 0, 0});
  const ByteSpan part = ByteSpan(envelope).subspan(offset);
  put(output, {kTpmSuccess, used.file != nullptr ? kStateEncrypted : 0U,
               static_cast<std::uint32_t>(envelope.size()), static_cast<std::uint32_t>(part.size())});
  append(output, part);
  crypto::wipe(envelope);
}

void TpmControlSession::begin_state_blob(ByteReader body, Bytes& output) {
  static_cast<void>(word(body));  // flags; the envelope's own flags count
  const std::optional<TpmStateKind> kind = state_kind(word(body));
  const std::uint32_t size = word(body);
  TpmResult result = kTpmSuccess;
  if (!host_.may_take_state()) {
    warn_limited("tpm.control.state_refused", "SET_STATEBLOB outside of an incoming migration");
    result = kTpmDisabledCommand;
  } else if (engine_.running()) {
    result = kTpmBadOrdinal;
  } else if (!kind) {
    result = kTpmBadParameter;
  } else if (size > kMaxStateBlobSize) {
    result = kTpmSize;
  }
  if (kind) state_kind_ = *kind;
  begin_stream(Stream::state_blob, size, result, output);
}

TpmResult TpmControlSession::end_state_blob() {
  Bytes blob = std::exchange(state_blob_, {});
  if (blob.empty()) return kTpmSuccess;  // QEMU sends nothing for kinds that the source did not have
  Result<Bytes> state = unwrap_state(blob, keys());
  crypto::wipe(blob);
  if (!state) {
    warn_limited("tpm.control.bad_state_blob", state.error().describe());
    switch (state.error().code) {
      case ErrorCode::not_found:
        return kTpmKeyNotFound;
      case ErrorCode::permission_denied:
        return kTpmDecryptError;
      case ErrorCode::invalid_argument:
        return kTpmBadKeyProperty;
      case ErrorCode::unsupported:
        return kTpmBadVersion;
      default:
        return kTpmBadParameter;
    }
  }
  TpmResult result = host_.prepare_for_state();
  if (result == kTpmSuccess) result = engine_.set_state(state_kind_, *state);
  crypto::wipe(*state);
  return result;
}

void TpmControlSession::get_information(ByteReader body, Bytes& output) {
  const std::uint64_t flags = body.be64("the flags of GET_INFO").value();
  const std::uint32_t offset = word(body);
  std::string text = engine_.information(flags);
  if (text.empty()) text = "{}";
  const ByteSpan whole = as_bytes(std::string_view(text.c_str(), text.size() + 1));  // with its NUL
  if (offset >= whole.size()) return put(output, {kTpmBadParameter, 0, 0});
  const ByteSpan chunk = whole.subspan(offset, std::min(kLargestInfoChunk, whole.size() - offset));
  put(output,
      {kTpmSuccess, static_cast<std::uint32_t>(whole.size()), static_cast<std::uint32_t>(chunk.size())});
  append(output, chunk);
}

// `result` other than success: the bytes are read and thrown away, then it is the answer.
void TpmControlSession::begin_stream(Stream stream, std::uint32_t size, TpmResult result, Bytes& output) {
  stream_ = result == kTpmSuccess ? stream : Stream::discarded;
  stream_remaining_ = size;
  stream_result_ = result;
  state_blob_.clear();
  if (size == 0) consume_stream(output);
}

void TpmControlSession::consume_stream(Bytes& output) {
  const std::size_t size = std::min<std::size_t>(stream_remaining_, buffer_.size());
  const ByteSpan piece = ByteSpan(buffer_).first(size);
  if (stream_ == Stream::state_blob) append(state_blob_, piece);
  if (stream_ == Stream::hash_data && stream_result_ == kTpmSuccess && !piece.empty()) {
    stream_result_ = engine_.hash_data(piece);
  }
  drop_front(buffer_, size);
  stream_remaining_ -= static_cast<std::uint32_t>(size);
  if (stream_remaining_ > 0) return;
  if (std::exchange(stream_, Stream::none) == Stream::state_blob) stream_result_ = end_state_blob();
  put(output, {stream_result_});
}

}  // namespace bootseal::guest
