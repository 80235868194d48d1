// The control channel of QEMU's TPM emulator back end (`-tpmdev emulator`), as swtpm speaks it: big-endian
// words, requests {command u32, body}, answers without command or length, one after the other. Numbers and
// layouts: tpm_ioctl.h of swtpm and of QEMU.
//
// QEMU before version 9.2 always reads the full answer of GET_CAPABILITY, GET_TPMESTABLISHED, SET_BUFFERSIZE
// and GET_STATEBLOB, so these never get the short answer (a lone result word) that other commands may get for
// an error.
#pragma once

#include <functional>

#include "bootseal/base/fds.h"
#include "tpm_engine.h"

namespace bootseal::guest {

class TpmControlSession {
 public:
  // Takes the data channel a client sent; false while the one before is alive.
  using DataChannelTaker = std::function<bool(UniqueFd)>;

  // `engine` outlives the session.
  TpmControlSession(TpmEngine& engine, DataChannelTaker take_data_channel)
      : engine_(engine), take_data_channel_(std::move(take_data_channel)) {}

  // Bytes as they arrive, in pieces of any size, with the descriptor that came with them (or none); answers
  // are appended to `output`. Memory stays bounded whatever comes: bodies of variable length are consumed as
  // they stream in.
  void receive(ByteSpan data, UniqueFd fd, Bytes& output);

 private:
  enum class Stream : std::uint8_t { none, hash_data, state_blob, discarded };

  bool step(Bytes& output);
  void consume_stream(Bytes& output);
  void execute(std::uint32_t command, ByteReader body, Bytes& output);
  void get_state_blob(ByteReader body, Bytes& output);
  void begin_state_blob(ByteReader body, Bytes& output);
  TpmResult end_state_blob();
  void get_information(ByteReader body, Bytes& output);
  void begin_stream(Stream stream, std::uint32_t size, TpmResult result, Bytes& output);

  TpmEngine& engine_;
  DataChannelTaker take_data_channel_;
  Bytes buffer_;
  UniqueFd fd_;                    // came in and no SET_DATAFD has taken it yet
  bool padding_possible_ = false;  // the last body was a locality: one byte, or one and three of padding
  Stream stream_ = Stream::none;
  std::uint32_t stream_remaining_ = 0;
  TpmResult stream_result_ = kTpmSuccess;
  TpmStateKind state_kind_ = TpmStateKind::permanent;
  Bytes state_blob_;
};

}  // namespace bootseal::guest
