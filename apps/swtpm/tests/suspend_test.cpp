// Suspend and resume as a torture: between the commands of a mixed stream the whole state is fetched, the
// process killed and a new one set up with it. The guest must not notice: every result is that of a run that
// nobody disturbed.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <csignal>

#include "bootseal/crypto/digest.h"
#include "vtpm_process.h"

namespace bootseal::swtpm {
namespace {

using test::kOurs;
using test::Session;
using test::TemporaryFolder;
using test::TpmVersion;
using test::VtpmProcess;

struct States {
  Bytes permanent, volatile_state, saved;
};

// A TPM that is moved to a new process before every `every`th command; 0: never.
class MovingTpm final : public tpm::Transport {
 public:
  MovingTpm(TpmVersion version, States start, unsigned every) : version_(version), every_(every) {
    resume(start);
  }

  Result<Bytes> transceive(ByteSpan command) override {
    if (every_ != 0 && ++commands_ % every_ == 0) {
      const States states = suspend();
      session_.reset();
      process_.reset();
      resume(states);
      ++moves_;
    }
    return session_->transport.transceive(command);
  }
  States suspend() {
    return {session_->control.get_state(1), session_->control.get_state(2), session_->control.get_state(3)};
  }
  [[nodiscard]] unsigned moves() const { return moves_; }

 private:
  void resume(const States& states) {
    folder_ = std::make_unique<TemporaryFolder>();
    process_ = std::make_unique<VtpmProcess>(kOurs, *folder_ / "", std::vector<std::string>{}, version_);
    session_ = std::make_unique<Session>(*process_);
    const Bytes* const blobs[] = {&states.permanent, &states.volatile_state, &states.saved};
    for (std::uint32_t type = 1; type <= 3; ++type) {
      const Bytes& blob = *blobs[type - 1];
      if (!blob.empty() && session_->control.set_state(type, blob) != 0)
        throw std::runtime_error(fmt::format("state {} was refused: {}", type, process_->output()));
    }
    if (session_->control.init() != 0) throw std::runtime_error("it does not start: " + process_->output());
  }

  TpmVersion version_;
  unsigned every_;
  unsigned commands_ = 0;
  unsigned moves_ = 0;
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<VtpmProcess> process_;
  std::unique_ptr<Session> session_;
};

// A started TPM that all runs begin with, so that its secrets are the same in each.
States new_tpm(TpmVersion version, std::string_view startup) {
  const TemporaryFolder folder;
  VtpmProcess process(kOurs, folder / "", {}, version);
  Session session(process);
  if (session.control.init() != 0) throw std::runtime_error(process.output());
  EXPECT_EQ(load_be32(session.transport.transceive(from_hex(startup).value()).value(), 6), 0U);
  return {session.control.get_state(1), session.control.get_state(2), session.control.get_state(3)};
}

// Results of a stream, without what is random in each run.
class Log {
 public:
  void text(std::string_view what, std::string_view result) {
    lines_.push_back(fmt::format("{}: {}", what, result));
  }
  void status(std::string_view what, const Status& status) {
    text(what, status ? "done" : status.error().message);
  }
  void bytes(std::string_view what, const Result<Bytes>& result) {
    text(what, result ? to_hex(*result) : result.error().message);
  }
  [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }

 private:
  std::vector<std::string> lines_;
};

Result<Bytes> raw(tpm::Transport& tpm, std::string_view hex) {
  return tpm.transceive(from_hex(hex).value());
}

std::vector<std::string> tpm20_stream(tpm::Transport& tpm) {
  Log log;
  tpm::Client client(tpm);
  const tpm::PcrSelection pcrs{tpm::Algorithm::sha256, (1U << 16) | 1U};
  const auto read_pcrs = [&] {
    const auto values = client.pcr_read(pcrs);
    for (std::size_t i = 0; values && i < values->size(); ++i) log.bytes("pcr", values->at(i).digest);
  };
  log.status("startup again", client.startup());
  for (unsigned i = 0; i < 3; ++i)
    log.status("extend",
               client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, static_cast<std::byte>(i + 1))));
  read_pcrs();
  // A storage key in a transient slot, an object sealed to PCRs, a policy session to open it.
  const auto parent = client.create_primary(tpm::kOwner, tpm::srk_template_ecc_p256());
  log.bytes("primary", parent ? Result<Bytes>(parent->name) : tl::unexpected(parent.error()));
  if (!parent) return log.lines();
  const auto sealed = client.seal_to_pcrs(parent->handle, as_bytes("what only these PCRs open"), pcrs);
  if (!sealed) return log.lines();
  log.bytes("unsealed", client.unseal_with_pcrs(parent->handle, *sealed, pcrs));
  log.status("extend", client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{9})));
  log.bytes("unsealed with other PCRs", client.unseal_with_pcrs(parent->handle, *sealed, pcrs));
  // NV: an index, a counter, a lock.
  constexpr std::uint32_t kLockable = test::kNvNoLockout | 0x80000000 >> 17;  // WRITE_STCLEAR
  log.status("define", client.nv_define(tpm::kOwner, test::kNvIndex, kLockable, 24));
  log.status("write", client.nv_write(test::kNvIndex, test::kNvIndex, as_bytes("twenty-four bytes of NV.")));
  log.bytes("read", client.nv_read(test::kNvIndex, test::kNvIndex));
  log.status("lock", client.nv_write_lock(test::kNvIndex, test::kNvIndex));
  log.status("write locked", client.nv_write(test::kNvIndex, test::kNvIndex, Bytes(24)));
  log.status("define counter", client.nv_define(tpm::kOwner, test::kCounterIndex, test::kCounter, 8));
  for (int i = 0; i < 4; ++i)
    log.status("count", client.nv_increment(test::kCounterIndex, test::kCounterIndex));
  log.bytes("counter", client.nv_read(test::kCounterIndex, test::kCounterIndex));
  // A hash sequence, whose object holds the digest so far: TPM2_HashSequenceStart, SequenceUpdate twice,
  // SequenceComplete.
  const auto sequence = raw(tpm, "80010000000e000001860000000b");
  log.bytes("sequence", sequence);
  if (sequence && sequence->size() == 14) {
    const std::string handle = to_hex(ByteSpan(*sequence).subspan(10));
    const std::string password =
        "0000000940000009"
        "0000"
        "00"
        "0000";
    for (const std::string_view piece : {"616263", "646566"})
      log.bytes("update", raw(tpm, "8002000000200000015c" + handle + password + "0003" + std::string(piece)));
    const auto digest = raw(tpm, "8002000000210000013e" + handle + password + "0000" + "40000007");
    log.bytes("digest", digest ? to_bytes(ByteSpan(*digest).subspan(16, 32)) : Bytes());
    log.bytes("of openssl", crypto::digest(crypto::HashAlgorithm::sha256, as_bytes("abcdef")));
  }
  // A saved context comes back where it is loaded again.
  ByteWriter save;
  save.be16(0x8001).be32(14).be32(0x162).be32(parent->handle);
  const auto context = tpm.transceive(save.view());
  log.status("flush", client.flush_context(parent->handle));
  if (context && context->size() > 10) {
    ByteWriter load;
    load.be16(0x8001).be32(static_cast<std::uint32_t>(context->size())).be32(0x161);
    load.bytes(ByteSpan(*context).subspan(10));
    log.bytes("context", tpm.transceive(load.view()));
  }
  for (const tpm::Handle kind : {0x80000000U, 0x81000000U, 0x01000000U, 0x02000000U}) {
    const auto handles = client.handles(kind);
    log.text("handles",
             handles ? fmt::format("{} of 0x{:x}", handles->size(), kind) : handles.error().message);
  }
  log.bytes("unsealed under the loaded context", client.unseal_with_pcrs(0x80000000, *sealed, pcrs));
  log.status("no such key", client.flush_context(0x80000005));
  read_pcrs();
  return log.lines();
}

std::vector<std::string> tpm12_stream(tpm::Transport& tpm) {
  Log log;
  const auto run = [&](std::string_view what, std::string_view hex) { log.bytes(what, raw(tpm, hex)); };
  run("startup again", "00c10000000c000000990001");
  for (const char digit : {'1', '2', '3'})
    run("extend", "00c100000022000000140000000a" + std::string(40, digit));
  run("pcr", "00c10000000e000000150000000a");
  // A SHA-1 thread: TPM_SHA1Start, two updates, TPM_SHA1CompleteExtend into PCR 11.
  run("sha1 start", "00c10000000a000000a0");
  run("sha1 update", "00c10000004e000000a100000040" + std::string(128, '6'));
  run("sha1 update", "00c10000004e000000a100000040" + std::string(128, '7'));
  run("sha1 extend",
      "00c100000015000000a30000000b"
      "00000003"
      "616263");
  run("pcr 11", "00c10000000e000000150000000b");
  const std::string access =
      "0003000000"
      "1f" +
      std::string(40, '0');
  const std::string area =
      "0018"
      "00011101" +
      access + access +
      "0017"
      "00000001"
      "000000"
      "00000005";
  run("define", "00c100000065000000cc" + area + std::string(40, '0'));
  run("write",
      "00c10000001b000000cd"
      "00011101"
      "00000000"
      "00000005"
      "6261736963");
  run("read",
      "00c100000016000000cf"
      "00011101"
      "00000000"
      "00000005");
  // Two sessions stay open; their handles and nonces are random.
  std::vector<std::string> opened;
  for (int i = 0; i < 2; ++i) {
    const auto session = raw(tpm, "00c10000000a0000000a");
    if (session && session->size() == 34) opened.push_back(to_hex(ByteSpan(*session).subspan(10, 4)));
  }
  const auto listed = raw(tpm,
                          "00c1000000160000006500000014"
                          "00000004"
                          "00000002");
  const std::string handles = listed ? to_hex(*listed) : "";
  for (const std::string& handle : opened)
    log.text("session", handles.find(handle) != std::string::npos ? "open" : "lost");
  // What is saved is there until the next command, and gone then.
  run("save", "00c10000000a00000098");
  run("pcr", "00c10000000e000000150000000a");
  run("save", "00c10000000a00000098");
  run("no such index",
      "00c100000016000000cf"
      "00022202"
      "00000000"
      "00000005");
  run("flags",
      "00c1000000160000006500000004"
      "00000004"
      "00000109");
  run("read",
      "00c100000016000000cf"
      "00011101"
      "00000000"
      "00000005");
  run("save", "00c10000000a00000098");
  return log.lines();
}

using Stream = std::vector<std::string> (*)(tpm::Transport&);

void compare(TpmVersion version, std::string_view startup, Stream stream, std::size_t least) {
  const States start = new_tpm(version, startup);
  ASSERT_FALSE(start.permanent.empty() || start.volatile_state.empty());
  MovingTpm undisturbed(version, start, 0);
  const std::vector<std::string> expected = stream(undisturbed);
  ASSERT_GE(expected.size(), least) << testing::PrintToString(expected);
  const bool saved = !undisturbed.suspend().saved.empty();
  EXPECT_EQ(saved, version == TpmVersion::v1_2) << "the stream of a TPM 1.2 ends with TPM_SaveState";
  for (const unsigned every : {1U, 3U, 7U}) {
    MovingTpm moving(version, start, every);
    EXPECT_EQ(stream(moving), expected) << "moved before every command number " << every;
    EXPECT_GT(moving.moves(), 1U);
    EXPECT_EQ(!moving.suspend().saved.empty(), saved);
  }
}

TEST(Suspend, BetweenAnyTwoCommandsOfATpm20ChangesNothing) {
  compare(TpmVersion::v2_0, "80010000000c000001440000", tpm20_stream, 35);
}

TEST(Suspend, BetweenAnyTwoCommandsOfATpm12ChangesNothing) {
  compare(TpmVersion::v1_2, "00c10000000c000000990001", tpm12_stream, 20);
}

}  // namespace
}  // namespace bootseal::swtpm
