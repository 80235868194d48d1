#include "tpm_data.h"

namespace bootseal::guest {
namespace {

constexpr std::size_t kSizeFieldEnd = 6;
constexpr std::size_t kHeaderSize = 10;
constexpr std::size_t kFrameSize = 9;
constexpr std::uint32_t kSendCommand = 8;           // no TPM command begins with these four bytes
constexpr std::uint32_t kSetLocality = 0x20001000;  // TPM_ORD_ and TPM2_CC_SET_LOCALITY, linux/vtpm_proxy.h

void drop_front(Bytes& bytes, std::size_t count) {
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

void TpmDataSession::receive(ByteSpan data, Bytes& output) {
  append(buffer_, data);
  while (take_framing() && buffer_.size() >= kSizeFieldEnd) {
    const std::size_t size = load_be32(buffer_, 2);
    if (size < kHeaderSize || size > kMaxCommandSize) {
      // Where the next command begins is not known. QEMU waits for each answer, so there is none yet.
      buffer_.clear();
      started_.reset();
      return respond(answer(TpmAnswer::bad_command_size), output);
    }
    if (buffer_.size() < size) return;
    execute(MutableByteSpan(buffer_).first(size), output);
    drop_front(buffer_, size);
    started_.reset();
  }
}

// False while it cannot be told whether a frame comes first.
bool TpmDataSession::take_framing() {
  if (!profile_.framing || framed_) return true;
  if (buffer_.size() < sizeof(std::uint32_t)) return false;
  if (load_be32(buffer_, 0) != kSendCommand) return true;
  if (buffer_.size() < kFrameSize) return false;
  const auto locality = std::to_integer<std::uint8_t>(buffer_[4]);
  if (locality <= profile_.highest_locality) engine_->set_locality(locality);
  framed_ = true;
  drop_front(buffer_, kFrameSize);
  return true;
}

Bytes TpmDataSession::answer(TpmAnswer what) const {
  return bare_response(engine_->version(), what);
}

void TpmDataSession::execute(MutableByteSpan command, Bytes& output) {
  const bool ours =
      profile_.set_locality_command && engine_->running() && load_be32(command, 6) == kSetLocality;
  if (!ours && !framed_) return engine_->execute(command, output);
  Bytes response;
  if (ours) {
    response = set_locality(command);
  } else {
    engine_->execute(command, response);
  }
  respond(response, output);
}

Bytes TpmDataSession::set_locality(ByteSpan command) {
  if (!profile_.allow_set_locality) return answer(TpmAnswer::failure);
  if (command.size() <= kHeaderSize) return answer(TpmAnswer::missing_parameter);
  const auto locality = std::to_integer<std::uint8_t>(command[kHeaderSize]);
  if (locality > profile_.highest_locality) return answer(TpmAnswer::bad_locality);
  engine_->set_locality(locality);
  return answer(TpmAnswer::success);
}

void TpmDataSession::respond(ByteSpan response, Bytes& output) {
  if (!std::exchange(framed_, false)) return append(output, response);
  ByteWriter framed;
  framed.be32(static_cast<std::uint32_t>(response.size())).bytes(response).be32(0);
  append(output, framed.view());
}

std::optional<TpmDataSession::Time> TpmDataSession::deadline() const {
  if (!started_) return std::nullopt;
  return *started_ + kCommandLimit;
}

void TpmDataSession::give_up_if_late(Time now, Bytes& output) {
  if (!waiting()) return;
  if (!started_) started_ = now;
  if (now < *started_ + kCommandLimit) return;
  buffer_.clear();
  started_.reset();
  respond(answer(TpmAnswer::bad_command_size), output);
}

}  // namespace bootseal::guest
