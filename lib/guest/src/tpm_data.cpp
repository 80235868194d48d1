#include "tpm_data.h"

namespace bootseal::guest {
namespace {

constexpr std::size_t kSizeFieldEnd = 6;
constexpr std::size_t kHeaderSize = 10;

}  // namespace

void TpmDataSession::receive(ByteSpan data, Time now, Bytes& output) {
  if (buffer_.empty()) started_ = now;
  append(buffer_, data);
  while (buffer_.size() >= kSizeFieldEnd) {
    const std::size_t size = load_be32(buffer_, 2);
    if (size < kHeaderSize || size > kMaxCommandSize) {
      // Where the next command begins is not known. QEMU waits for each answer, so there is none yet.
      buffer_.clear();
      append(output, tpm2_error_response(kTpm2ResponseCommandSize));
      return;
    }
    if (buffer_.size() < size) return;
    append(output, engine_.execute(ByteSpan(buffer_).first(size)));
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    started_ = now;
  }
}

std::optional<TpmDataSession::Time> TpmDataSession::deadline() const {
  if (buffer_.empty()) return std::nullopt;
  return started_ + kCommandLimit;
}

void TpmDataSession::give_up_if_late(Time now, Bytes& output) {
  if (buffer_.empty() || now < started_ + kCommandLimit) return;
  buffer_.clear();
  append(output, tpm2_error_response(kTpm2ResponseCommandSize));
}

}  // namespace bootseal::guest
