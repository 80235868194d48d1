// Opening a vault, and what it outlives.
#include <sys/wait.h>

#include <csignal>

#include "vault_fixture.h"

namespace bootseal::vault {
namespace {

using testing::HasSubstr;

TEST_F(VaultTest, WrongPassphraseIsRefusedAndChangesNothing) {
  const std::string ca = vault().ca_certificate().pem();
  opened_ = {};
  const Bytes master = *read_file(folder_.path() / "master.json", 1 << 16);
  const auto refused = Opened::open(folder_.path(), "wrong horse battery staple");
  EXPECT_EQ(refused.error().code, ErrorCode::permission_denied);
  EXPECT_THAT(refused.error().message, HasSubstr("the passphrase does not open the master key"));
  EXPECT_EQ(*read_file(folder_.path() / "master.json", 1 << 16), master);
  reopen();
  EXPECT_EQ(vault().ca_certificate().pem(), ca);
}

TEST_F(VaultTest, ShortPassphraseIsRefusedBeforeAnythingIsMade) {
  const TemporaryFolder fresh;
  EXPECT_EQ(Opened::open(fresh.path(), "fifteen letters").error().code, ErrorCode::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(fresh.path() / "master.json"));
  EXPECT_TRUE(Opened::open(fresh.path(), "sixteen letters!"));
}

TEST_F(VaultTest, MissingMasterKeyWithExistingKeysIsRefused) {
  opened_ = {};
  std::filesystem::rename(folder_.path() / "master.json", folder_.path() / "elsewhere");
  const auto refused = Opened::open(folder_.path());
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_THAT(refused.error().message, HasSubstr("is missing"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "master.json"));
  std::filesystem::rename(folder_.path() / "elsewhere", folder_.path() / "master.json");
  reopen();
}

TEST_F(VaultTest, MissingStoreOrOneOfAnotherVaultIsRefused) {
  opened_ = {};
  const TemporaryFolder other;
  ASSERT_TRUE(Opened::open(other.path()));
  std::filesystem::copy_file(folder_.path() / "master.json", other.path() / "master.json",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(Opened::open(other.path()).error().message, HasSubstr("belongs to another vault"));
  const TemporaryFolder bare;
  std::filesystem::copy_file(folder_.path() / "master.json", bare.path() / "master.json");
  EXPECT_THAT(Opened::open(bare.path()).error().message, HasSubstr("store is missing"));
}

TEST_F(VaultTest, DamagedMasterFileIsNamed) {
  opened_ = {};
  ASSERT_TRUE(replace_file(folder_.path() / "master.json", as_bytes("{\"format\":1}")));
  const auto refused = Opened::open(folder_.path());
  EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
  EXPECT_THAT(refused.error().describe(), HasSubstr("vaultId"));
}

// ---- The audit chain's end ----

class AuditChainTest : public VaultTest {
 protected:
  AuditChainTest() = default;
  void SetUp() override {
    VaultTest::SetUp();
    for (int i = 0; i < 3; ++i) placed_vm();
    head_ = opened_.audit->head();
    opened_ = {};
  }
  void refused_for(const std::string& why) {
    const auto refused = Opened::open(folder_.path());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
    EXPECT_THAT(refused.error().message, HasSubstr(why));
    EXPECT_THAT(refused.error().message, HasSubstr("put " + path_.string() + " back from a backup"));
    EXPECT_THAT(refused.error().message, HasSubstr("--begin-new-audit-chain"));
  }

  const std::filesystem::path path_ = folder_.path() / "audit.jsonl";
  log::AuditHead head_;
};

TEST_F(AuditChainTest, WithoutItsLastEntryTheVaultDoesNotStart) {
  std::string text = audit_text();
  text.resize(text.rfind('\n', text.size() - 2) + 1);
  ASSERT_TRUE(replace_file(path_, as_bytes(text), 0600));
  ASSERT_TRUE(log::AuditChain::verify(path_, &hash)) << "by itself the shorter chain is whole";
  refused_for("the chain was cut off after " + std::to_string(head_.sequence - 1));
  EXPECT_EQ(audit_text(), text) << "what is left is left alone";
}

TEST_F(AuditChainTest, MissingOrReplacedByAnotherItIsRefused) {
  const std::string text = audit_text();
  ASSERT_TRUE(std::filesystem::remove(path_));
  refused_for("entry 1 is missing");
  const TemporaryFolder other;
  ASSERT_TRUE(Opened::open(other.path()));
  std::filesystem::copy_file(other.path() / "audit.jsonl", path_,
                             std::filesystem::copy_options::overwrite_existing);
  refused_for("is missing");
  ASSERT_TRUE(replace_file(path_, as_bytes(text), 0600));
  EXPECT_TRUE(Opened::open(folder_.path()));
}

TEST_F(AuditChainTest, ALongerOneIsWhatACrashLeaves) {
  {
    const auto chain = *log::AuditChain::open(path_, &hash);
    ASSERT_TRUE(chain->append({"hostd", "key.release", "vm", "ok"}));
  }
  EXPECT_TRUE(Opened::open(folder_.path()));
}

TEST_F(AuditChainTest, ANewOneBeginsOnRequestOnlyAndTellsOfTheOld) {
  ASSERT_TRUE(replace_file(path_, as_bytes("not a chain\n"), 0600));
  ASSERT_FALSE(Opened::open(folder_.path()));
  ASSERT_TRUE(Opened::open(folder_.path(), kPassphrase, clock_, true));
  EXPECT_THAT(audit_text(), HasSubstr("\"action\":\"audit.begin\",\"object\":\"the chain before: sequence:" +
                                      std::to_string(head_.sequence) + " sha256:" + head_.sha256));
  EXPECT_EQ(std::string(as_text(*read_file(path_.string() + ".replaced-" + format_time(kNow), 1 << 20))),
            "not a chain\n");
  reopen();
}

// ---- Crashes ----

struct Acknowledged {
  Guid vm;
  std::uint64_t generation = 0;
};

// Makes keys and counts generations up until it is killed; tells each success through the pipe.
[[noreturn]] void work_until_killed(const std::filesystem::path& folder, int acknowledgements) {
  Result<Opened> opened = Opened::open(folder);
  if (!opened) ::_exit(3);
  const Placement claim{"rack-1", Epoch{1}};
  while (true) {
    const VmId vm = VmId::random();
    if (!opened->vault->place(kControl, vm, claim) || !opened->vault->create_key(kHost, vm, claim))
      ::_exit(4);
    for (std::uint64_t generation = 0; generation < 5; ++generation) {
      if (generation != 0 && !opened->vault->record_generation(kHost, vm, claim, Generation{generation}))
        ::_exit(5);
      const Acknowledged told{vm.guid, generation};
      if (::write(acknowledgements, &told, sizeof(told)) != sizeof(told)) ::_exit(6);
    }
  }
}

TEST_F(VaultTest, KilledAtAnyMomentNothingAcknowledgedIsLost) {
  opened_ = {};
  std::map<Guid, std::uint64_t> acknowledged;
  for (int round = 0; round < 12; ++round) {
    Pipe pipe = *make_pipe();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) work_until_killed(folder_.path(), pipe.write_end.get());
    pipe.write_end.reset();
    Acknowledged told;
    // Killed at another point each time: after so many acknowledgements, and wherever the next one stands
    // then.
    for (int count = 0;
         count < 3 + 5 * round && ::read(pipe.read_end.get(), &told, sizeof(told)) == sizeof(told); ++count) {
      acknowledged[told.vm] = told.generation;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << WEXITSTATUS(status);
    while (::read(pipe.read_end.get(), &told, sizeof(told)) == sizeof(told))
      acknowledged[told.vm] = told.generation;
    reopen();
    for (const auto& [vm, generation] : acknowledged) {
      const auto released = vault().release(kHost, VmId{vm}, kRack1);
      ASSERT_TRUE(released) << released.error().describe();
      EXPECT_GE(released->minimum_generation.value, generation);
    }
    opened_ = {};
    EXPECT_TRUE(log::AuditChain::verify(folder_.path() / "audit.jsonl", &hash));
  }
  EXPECT_GE(acknowledged.size(), 12U);
}

}  // namespace
}  // namespace bootseal::vault
