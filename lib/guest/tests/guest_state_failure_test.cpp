// Failing disks, dying processes and crashes under the guest state.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <iostream>
#include <random>

#include "bootseal/vmgs/store.h"
#include "guest_state_internal.h"

namespace bootseal::guest {
namespace {

using crypto::Secret;
using ::testing::HasSubstr;

constexpr std::size_t kFileSize = 64 * 4096 + 512;  // smaller than real ones: these tests copy it often
constexpr std::size_t kSector = 512;

// A device that the test shares, which fails from a certain operation on.
class FailingDevice final : public vmgs::Device {
 public:
  explicit FailingDevice(std::shared_ptr<vmgs::MemoryDevice> device) : device_(std::move(device)) {}
  void fail_after(std::size_t count, ErrorCode code) {
    remaining_ = count;
    code_ = code;
  }
  [[nodiscard]] std::uint64_t size() const override { return device_->size(); }
  [[nodiscard]] std::uint32_t sector_size() const override { return device_->sector_size(); }
  Status read(std::uint64_t offset, MutableByteSpan data) override { return device_->read(offset, data); }
  Status write(std::uint64_t offset, ByteSpan data) override {
    if (used_up()) return fail(code_, "no space left on device");
    return device_->write(offset, data);
  }
  Status flush() override {
    if (used_up()) return fail(code_, "input/output error");
    return device_->flush();
  }

 private:
  bool used_up() { return remaining_ && (*remaining_ == 0 || (--*remaining_, false)); }

  std::shared_ptr<vmgs::MemoryDevice> device_;
  std::optional<std::size_t> remaining_;
  ErrorCode code_ = ErrorCode::io_error;
};

struct Fixture {
  VmId vm = VmId::random();
  Secret key = Secret::random(32);
  std::shared_ptr<vmgs::MemoryDevice> device = std::make_shared<vmgs::MemoryDevice>(Bytes(kFileSize));

  explicit Fixture(Blob blob = Blob::tpm_permanent) {
    auto state = format_guest_state(std::make_unique<FailingDevice>(device), vm, key, "state");
    BOOTSEAL_CHECK(state && (*state)->commit(blob, as_bytes("old")));
  }
  [[nodiscard]] Result<std::unique_ptr<GuestState>> open_content(Bytes content,
                                                                 Generation minimum = {}) const {
    return open_guest_state(std::make_unique<vmgs::MemoryDevice>(std::move(content)), vm, key, minimum,
                            "state");
  }
};

TEST(GuestStateFailure, AFailedCommitKeepsTheOldContentAndEndsTheWriting) {
  for (std::size_t operation = 0; operation < 7; ++operation) {
    for (const ErrorCode code : {ErrorCode::io_error, ErrorCode::exhausted}) {
      Fixture fixture;
      auto failing = std::make_unique<FailingDevice>(fixture.device);
      FailingDevice& control = *failing;
      auto state = open_guest_state(std::move(failing), fixture.vm, fixture.key, {}, "state");
      ASSERT_TRUE(state);
      control.fail_after(operation, code);
      const auto failed = (*state)->commit(Blob::tpm_permanent, as_bytes("new"));
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, code);
      EXPECT_THAT(failed.error().message, HasSubstr("tpm-permanent (generation 3)"));
      EXPECT_EQ((*state)->generation(), Generation{2});
      EXPECT_EQ(as_text(**(*state)->read(Blob::tpm_permanent)), "old");
      control.fail_after(100, code);
      EXPECT_EQ((*state)->advance().error().code, ErrorCode::conflict);
      EXPECT_EQ((*state)->commit(Blob::tpm_permanent, as_bytes("x")).error().code, ErrorCode::conflict);

      auto again = fixture.open_content(fixture.device->content(), Generation{2});
      ASSERT_TRUE(again) << again.error().describe();
      const std::string found(as_text(**(*again)->read(Blob::tpm_permanent)));
      EXPECT_EQ(found, (*again)->generation() == Generation{2} ? "old" : "new");
    }
  }
}

// Whatever subset of the unflushed sectors a power cut leaves, the state opens and no acknowledged generation
// is lost.
void survive_power_cuts(Blob blob) {
  Fixture fixture(blob);
  auto state =
      open_guest_state(std::make_unique<FailingDevice>(fixture.device), fixture.vm, fixture.key, {}, "state");
  ASSERT_TRUE(state);
  std::mt19937_64 random(7);
  std::size_t states = 0;
  std::string acknowledged = "old";
  for (int round = 0; round < 12; ++round) {
    // Nothing, every now and then: a saved state that is used up.
    const std::string next = round % 5 == 2 ? "" : "content " + std::to_string(round);
    const Generation before = (*state)->generation();
    Bytes disk = fixture.device->content();
    fixture.device->start_recording();
    ASSERT_TRUE(round % 4 == 3 ? (*state)->advance() : (*state)->commit(blob, as_bytes(next)));
    const std::string after = round % 4 == 3 ? acknowledged : next;
    std::vector<std::pair<std::size_t, ByteSpan>> pending;
    const auto check = [&](const Bytes& content) {
      ++states;
      auto opened = fixture.open_content(content, before);
      ASSERT_TRUE(opened) << opened.error().describe();
      const std::string found(as_text(**(*opened)->read(blob)));
      EXPECT_EQ(found, (*opened)->generation() == before ? acknowledged : after);
    };
    for (const auto& operation : fixture.device->operations()) {
      for (std::size_t at = 0; at < operation.data.size(); at += kSector) {
        pending.emplace_back(operation.offset + at, ByteSpan(operation.data).subspan(at, kSector));
      }
      if (!operation.flush) continue;
      for (int subset = 0; subset < 12; ++subset) {
        Bytes content = disk;
        for (const auto& [offset, data] : pending) {
          if ((random() & 1) != 0)
            std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
        }
        check(content);
      }
      for (const auto& [offset, data] : pending)
        std::ranges::copy(data, disk.begin() + static_cast<std::ptrdiff_t>(offset));
      pending.clear();
    }
    ASSERT_TRUE(pending.empty()) << "what is acknowledged is flushed";
    auto opened = fixture.open_content(disk, (*state)->generation());
    ASSERT_TRUE(opened) << "an acknowledged generation was lost";
    acknowledged = after;
  }
  std::cout << "[   states ] power cuts: " << states << "\n";
}

TEST(GuestStateFailure, NoPowerCutLosesAnAcknowledgedCommit) {
  survive_power_cuts(Blob::tpm_permanent);
}

TEST(GuestStateFailure, NoPowerCutLosesOrBringsBackWhatATpm12Saved) {
  survive_power_cuts(Blob::tpm12_saved_state);
}

// A real process, a real file: killed at an arbitrary moment, what it said it had written is there.
TEST(GuestStateFailure, AKilledProcessLosesNothingItAcknowledged) {
  std::string path = "/tmp/bootseal-guest-state-kill-XXXXXX";
  const UniqueFd made(::mkstemp(path.data()));
  const VmId vm = VmId::random();
  const Secret key = Secret::random(32);
  const auto file = [&] { return std::move(open_file(path, O_RDWR)).value(); };
  { ASSERT_TRUE(GuestState::format(file(), vm, key)); }
  std::uint64_t acknowledged = 1;
  for (int round = 0; round < 5; ++round) {
    auto pipe = make_pipe();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto state = GuestState::open(file(), vm, key, Generation{acknowledged});
      while (state) {
        const auto done =
            (*state)->commit(Blob::tpm_permanent, as_bytes(std::to_string((*state)->generation().value + 1)));
        if (!done || !write_all(pipe->write_end.get(), std::as_bytes(std::span(&done->value, 1)))) break;
      }
      ::_exit(1);
    }
    pipe->write_end.reset();
    const auto read_generation = [&] {
      std::uint64_t value = 0;
      const ssize_t got = ::read(pipe->read_end.get(), &value, sizeof value);
      if (got == static_cast<ssize_t>(sizeof value)) acknowledged = value;
      return got > 0;
    };
    for (int i = 0; i < 3 + 4 * round; ++i) ASSERT_TRUE(read_generation());
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    while (read_generation()) {
    }
    auto state = GuestState::open(file(), vm, key, Generation{acknowledged});
    ASSERT_TRUE(state) << state.error().describe();
    EXPECT_LE((*state)->generation().value, acknowledged + 1);
    EXPECT_EQ(as_text(**(*state)->read(Blob::tpm_permanent)), std::to_string((*state)->generation().value));
    acknowledged = (*state)->generation().value;
  }
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace bootseal::guest
