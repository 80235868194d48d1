#include "nbd_session.h"

#include "limited_log.h"

namespace bootseal::guest {
namespace {

constexpr std::uint64_t kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
constexpr std::uint64_t kOptionMagic = 0x49484156454F5054;    // "IHAVEOPT"
constexpr std::uint64_t kOptionReplyMagic = 0x3e889045565a9;
constexpr std::uint32_t kRequestMagic = 0x25609513;
constexpr std::uint32_t kReplyMagic = 0x67446698;

constexpr std::uint16_t kFixedNewstyle = 1 << 0;
constexpr std::uint16_t kNoZeroes = 1 << 1;

constexpr std::uint32_t kOptionExportName = 1;
constexpr std::uint32_t kOptionAbort = 2;
constexpr std::uint32_t kOptionList = 3;
constexpr std::uint32_t kOptionInfo = 6;
constexpr std::uint32_t kOptionGo = 7;

constexpr std::uint32_t kReplyAck = 1;
constexpr std::uint32_t kReplyServer = 2;
constexpr std::uint32_t kReplyInfo = 3;
constexpr std::uint32_t kReplyUnsupported = 0x80000001;
constexpr std::uint32_t kReplyInvalid = 0x80000003;
constexpr std::uint32_t kReplyUnknown = 0x80000006;

constexpr std::uint16_t kInfoExport = 0;
constexpr std::uint16_t kInfoBlockSize = 3;

constexpr std::uint16_t kExportHasFlags = 1 << 0;
constexpr std::uint16_t kExportSendsFlush = 1 << 2;
constexpr std::uint16_t kExportSendsFua = 1 << 3;
constexpr std::uint16_t kExportFlags = kExportHasFlags | kExportSendsFlush | kExportSendsFua;

constexpr std::uint16_t kCommandRead = 0;
constexpr std::uint16_t kCommandWrite = 1;
constexpr std::uint16_t kCommandDisconnect = 2;
constexpr std::uint16_t kCommandFlush = 3;
constexpr std::uint16_t kCommandFlagFua = 1 << 0;

constexpr std::uint32_t kErrorIo = 5;
constexpr std::uint32_t kErrorInvalid = 22;
constexpr std::uint32_t kErrorNoSpace = 28;

constexpr std::string_view kExportName = "variables";
constexpr std::uint32_t kBlockSizeMinimum = 1;
constexpr std::uint32_t kBlockSizePreferred = 4096;
constexpr std::size_t kOptionHeaderSize = 16;
constexpr std::size_t kRequestSize = 28;
constexpr std::size_t kMaxOptionSize = 8192;  // names have at most 4096 bytes
constexpr unsigned kMaxOptions = 64;          // in one handshake
constexpr std::size_t kZeroes = 124;

bool is_export(ByteSpan name) {
  return name.empty() || as_text(name) == kExportName;
}

void option_reply(Bytes& output, std::uint32_t option, std::uint32_t type, ByteSpan data = {}) {
  ByteWriter reply;
  reply.be64(kOptionReplyMagic)
      .be32(option)
      .be32(type)
      .be32(static_cast<std::uint32_t>(data.size()))
      .bytes(data);
  append(output, reply.view());
}

void option_error(Bytes& output, std::uint32_t option, std::uint32_t type, std::string_view message) {
  option_reply(output, option, type, as_bytes(message));
}

// The cookie is sent back as it came.
void reply_head(Bytes& output, std::uint64_t cookie, std::uint32_t error) {
  ByteWriter reply;
  reply.be32(kReplyMagic).be32(error).be64(cookie);
  append(output, reply.view());
}

bool is_inside(std::uint64_t offset, std::uint64_t size) {
  return offset <= kVariableFlashSize && size <= kVariableFlashSize - offset;
}

void drop_front(Bytes& bytes, std::size_t count) {
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

Bytes NbdSession::greeting() {
  ByteWriter greeting;
  greeting.be64(kGreetingMagic).be64(kOptionMagic).be16(kFixedNewstyle | kNoZeroes);
  return greeting.take();
}

void NbdSession::receive(ByteSpan data, VariableFlash::Time now, Bytes& output) {
  if (!open()) return;
  append(buffer_, data);
  while (output.size() <= kOutputLimit && step(now, output)) {
  }
}

// True when it made progress.
bool NbdSession::step(VariableFlash::Time now, Bytes& output) {
  switch (state_) {
    case State::client_flags:
      return client_flags();
    case State::options:
      return option(output);
    case State::transmission:
      return request(now, output);
    case State::closed:
      return false;
  }
  return false;
}

bool NbdSession::client_flags() {
  if (buffer_.size() < 4) return false;
  const std::uint32_t flags = load_be32(buffer_, 0);
  if ((flags & ~std::uint32_t{kFixedNewstyle | kNoZeroes}) != 0) return close("unknown client flags");
  no_zeroes_ = (flags & kNoZeroes) != 0;
  drop_front(buffer_, 4);
  state_ = State::options;
  return true;
}

bool NbdSession::option(Bytes& output) {
  if (buffer_.size() < kOptionHeaderSize) return false;
  if (load_be64(buffer_, 0) != kOptionMagic) return close("an option without its magic number");
  const std::uint32_t number = load_be32(buffer_, 8);
  const std::size_t size = load_be32(buffer_, 12);
  if (size > kMaxOptionSize) return close("an option that is too long");
  if (buffer_.size() < kOptionHeaderSize + size) return false;
  if (++options_ > kMaxOptions) return close("too many options");
  const Bytes content(buffer_.begin() + kOptionHeaderSize,
                      buffer_.begin() + static_cast<std::ptrdiff_t>(kOptionHeaderSize + size));
  drop_front(buffer_, kOptionHeaderSize + size);
  switch (number) {
    case kOptionExportName: {
      if (!is_export(content)) return close("an unknown export");  // this option has no error reply
      ByteWriter reply;
      reply.be64(kVariableFlashSize).be16(kExportFlags).fill(no_zeroes_ ? 0 : kZeroes);
      append(output, reply.view());
      state_ = State::transmission;
      return true;
    }
    case kOptionAbort:
      option_reply(output, number, kReplyAck);
      state_ = State::closed;
      return false;
    case kOptionList: {
      if (size != 0) {
        option_error(output, number, kReplyInvalid, "NBD_OPT_LIST takes no data");
        return true;
      }
      ByteWriter entry;
      entry.be32(kExportName.size()).text(kExportName);
      option_reply(output, number, kReplyServer, entry.view());
      option_reply(output, number, kReplyAck);
      return true;
    }
    case kOptionInfo:
    case kOptionGo:
      information(number, content, output);
      return true;
    default:
      option_error(output, number, kReplyUnsupported, "this server does not have that option");
      return true;
  }
}

void NbdSession::information(std::uint32_t option, ByteSpan data, Bytes& output) {
  ByteReader reader(data);
  const auto name = [&]() -> Result<ByteSpan> {
    BOOTSEAL_TRY(const std::uint32_t size, reader.be32("the length of the export name"));
    return reader.take(size, "the export name");
  }();
  const auto requests = reader.be16("the number of information requests");
  if (!name || !requests || reader.remaining() != std::size_t{*requests} * 2) {
    return option_error(output, option, kReplyInvalid, "the lengths in the request do not add up");
  }
  if (!is_export(*name))
    return option_error(output, option, kReplyUnknown, "the only export is \"variables\"");
  ByteWriter export_info;
  export_info.be16(kInfoExport).be64(kVariableFlashSize).be16(kExportFlags);
  option_reply(output, option, kReplyInfo, export_info.view());
  ByteWriter block_size;
  block_size.be16(kInfoBlockSize).be32(kBlockSizeMinimum).be32(kBlockSizePreferred).be32(kVariableFlashSize);
  option_reply(output, option, kReplyInfo, block_size.view());
  option_reply(output, option, kReplyAck);
  if (option == kOptionGo) state_ = State::transmission;
}

bool NbdSession::request(VariableFlash::Time now, Bytes& output) {
  if (buffer_.size() < kRequestSize) return false;
  if (load_be32(buffer_, 0) != kRequestMagic) return close("a request without its magic number");
  const std::uint16_t flags = load_be16(buffer_, 4);
  const std::uint16_t type = load_be16(buffer_, 6);
  const std::uint64_t cookie = load_be64(buffer_, 8);
  const std::uint64_t offset = load_be64(buffer_, 16);
  const std::size_t size = load_be32(buffer_, 24);
  const std::size_t payload = type == kCommandWrite ? size : 0;
  if (payload > kVariableFlashSize) return close("a write that is larger than the flash");
  if (buffer_.size() < kRequestSize + payload) return false;
  const Bytes content(buffer_.begin() + kRequestSize,
                      buffer_.begin() + static_cast<std::ptrdiff_t>(kRequestSize + payload));
  drop_front(buffer_, kRequestSize + payload);

  const bool flags_known = (flags & ~kCommandFlagFua) == 0;
  switch (type) {
    case kCommandRead: {
      if (!flags_known || !is_inside(offset, size)) {
        reply_head(output, cookie, kErrorInvalid);
        return true;
      }
      reply_head(output, cookie, 0);
      append(output, flash_.read(static_cast<std::size_t>(offset), size));
      return true;
    }
    case kCommandWrite:
      reply_head(output, cookie,
                 flags_known ? write(offset, content, (flags & kCommandFlagFua) != 0, now) : kErrorInvalid);
      return true;
    case kCommandFlush:
      reply_head(output, cookie,
                 !flags_known || offset != 0 || size != 0 ? kErrorInvalid
                 : flash_.flush()                         ? 0
                                                          : kErrorIo);
      return true;
    case kCommandDisconnect:
      state_ = State::closed;
      return false;
    default:
      reply_head(output, cookie, kErrorInvalid);
      return true;
  }
}

std::uint32_t NbdSession::write(std::uint64_t offset, ByteSpan data, bool force_unit_access,
                                VariableFlash::Time now) {
  if (!is_inside(offset, data.size())) return kErrorNoSpace;
  if (!flash_.write(static_cast<std::size_t>(offset), data, now)) return kErrorIo;
  if (force_unit_access && !flash_.flush()) return kErrorIo;
  return 0;
}

bool NbdSession::close(std::string_view reason) {
  warn_limited("nbd.protocol_error", reason);
  state_ = State::closed;
  buffer_.clear();
  return false;
}

}  // namespace bootseal::guest
