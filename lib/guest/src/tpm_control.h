// The control channel of QEMU's TPM emulator back end (`-tpmdev emulator`), as swtpm speaks it: big-endian
// words, requests {command u32, body}, answers without command or length, one after the other. Numbers and
// layouts: tpm_ioctl.h of swtpm and of QEMU.
//
// QEMU before version 9.2 always reads the full answer of GET_CAPABILITY, GET_TPMESTABLISHED, SET_BUFFERSIZE
// and GET_STATEBLOB, so these never get the short answer (a lone result word) that other commands may get for
// an error.
#pragma once

#include "bootseal/base/fds.h"
#include "state_envelope.h"
#include "tpm_engine.h"

namespace bootseal::guest {

// What a control session asks of the process around it.
class TpmControlHost {
 public:
  virtual ~TpmControlHost() = default;
  // Takes the data channel a client sent; false while the one before is alive.
  virtual bool take_data_channel(UniqueFd fd) = 0;
  // Whether the TPM's state may leave the process now (GET_STATEBLOB, STORE_VOLATILE) or be replaced
  // (SET_STATEBLOB). Asked for each command: QEMU, and so perhaps its guest, can send them at any time.
  virtual bool may_give_state() = 0;
  virtual bool may_take_state() = 0;
  // INIT and STORE_VOLATILE; `delete_volatile` = kept volatile state is used once and then gone.
  virtual TpmResult power_on(bool delete_volatile) = 0;
  virtual TpmResult keep_volatile_state() = 0;
  // Before a blob is put in, with the TPM off; anything but success refuses the blob.
  virtual TpmResult prepare_for_state() { return kTpmSuccess; }
  // SHUTDOWN, after its answer was written and the TPM is off.
  virtual void shutdown_requested() {}
};

// How one program differs from another over the same channel.
struct TpmControlProfile {
  // One bit for each command but SET_DATAFD's prefix feature: bits 0 to 14 and LOCK_STORAGE (16). Bit 15
  // offers locality headers on the data channel.
  std::uint32_t capabilities = 0x17FFF;
  std::uint32_t configuration = 0x1;  // GET_CONFIG: 1 = the state lies encrypted, 2 = it migrates encrypted
  std::uint8_t highest_locality = 4;
  // GET_TPMESTABLISHED while the TPM is off and SET_BUFFERSIZE while it is on are errors, as with swtpm; in a
  // full answer, where swtpm's has 4 bytes. Without this they succeed and change nothing.
  bool wrong_order_is_an_error = false;
  const StateKeys* keys = nullptr;  // of the blobs that come and go; outlives the session
};

class TpmControlSession {
 public:
  // `engine` and `host` outlive the session.
  TpmControlSession(TpmEngine& engine, TpmControlHost& host, TpmControlProfile profile = {})
      : engine_(engine), host_(host), profile_(profile) {}

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
  [[nodiscard]] StateKeys keys() const;
  void get_information(ByteReader body, Bytes& output);
  void begin_stream(Stream stream, std::uint32_t size, TpmResult result, Bytes& output);

  TpmEngine& engine_;
  TpmControlHost& host_;
  TpmControlProfile profile_;
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
