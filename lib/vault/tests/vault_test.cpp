#include "bootseal/vault/vault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "bootseal/base/fds.h"

namespace bootseal::vault {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr crypto::ScryptParameters kQuick{1024, 8, 1};
constexpr std::string_view kPassphrase = "correct horse battery staple";
const Caller kHost{"hostd(uid=0)"};
const Caller kControl{"controld(uid=3)"};
const TimePoint kNow = *parse_time("2026-11-21T20:00:00Z");

std::string hash(ByteSpan bytes) {
  return crypto::sha256(bytes).to_hex();
}
crypto::Secret secret(std::string_view text) {
  return crypto::Secret::copy_of(as_bytes(text));
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/bootseal-vault-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A vault with its store and audit chain on disk.
struct Opened {
  std::unique_ptr<store::Store> store;
  std::unique_ptr<log::AuditChain> audit;
  std::unique_ptr<Vault> vault;

  static Result<Opened> open(const std::filesystem::path& folder, std::string_view passphrase = kPassphrase,
                             const Clock& clock = Clock::system()) {
    Opened opened;
    BOOTSEAL_TRY(opened.store, store::open_sqlite_store(folder / "store.sqlite", {.kept_changes = 0}));
    BOOTSEAL_TRY(opened.audit, log::AuditChain::open(folder / "audit.jsonl", &hash, clock));
    BOOTSEAL_TRY(opened.vault,
                 Vault::open({folder, kQuick}, secret(passphrase), *opened.store, *opened.audit, clock));
    return opened;
  }
};

class VaultTest : public testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    opened_ = {};
    Result<Opened> opened = Opened::open(folder_.path(), kPassphrase, clock_);
    ASSERT_TRUE(opened) << opened.error().describe();
    opened_ = *std::move(opened);
  }
  Vault& vault() { return *opened_.vault; }
  std::string audit_text() {
    return std::string(as_text(*read_file(folder_.path() / "audit.jsonl", 1 << 24)));
  }
  // A VM placed on rack-1 at epoch 1, with a key.
  VmId placed_vm() {
    const VmId vm = VmId::random();
    EXPECT_TRUE(vault().place(kControl, vm, kRack1));
    EXPECT_TRUE(vault().create_key(kHost, vm, kRack1));
    return vm;
  }

  const Placement kRack1{"rack-1", Epoch{1}};
  const Placement kRack2{"rack-2", Epoch{2}};
  TemporaryFolder folder_;
  FixedClock clock_{kNow};
  Opened opened_;
};

TEST_F(VaultTest, ReleasesTheSameKeyToTheOwnerAfterARestart) {
  const VmId vm = placed_vm();
  const Bytes key = to_bytes(vault().release(kHost, vm, kRack1)->key.view());
  EXPECT_EQ(key.size(), 32U);
  EXPECT_NE(key, Bytes(32));
  reopen();
  const ReleasedKey again = *vault().release(kHost, vm, kRack1);
  EXPECT_TRUE(crypto::equal_constant_time(again.key.view(), key));
  EXPECT_EQ(again.minimum_generation, Generation{0});
  EXPECT_NE(to_bytes(vault().release(kHost, placed_vm(), kRack1)->key.view()), key);
}

TEST_F(VaultTest, ReleasesToNobodyButTheOwnerAtTheCurrentEpoch) {
  const VmId vm = placed_vm();
  for (const Placement& claim :
       {Placement{"rack-2", Epoch{1}}, Placement{"rack-1", Epoch{2}}, Placement{"rack-2", Epoch{2}}}) {
    EXPECT_EQ(vault().release(kHost, vm, claim).error().code, ErrorCode::permission_denied);
  }
  EXPECT_EQ(vault().release(kHost, vm, {"rack-1", Epoch{0}}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(vault().release(kHost, VmId::random(), kRack1).error().code, ErrorCode::permission_denied);

  ASSERT_TRUE(vault().place(kControl, vm, kRack2));
  EXPECT_EQ(vault().release(kHost, vm, kRack1).error().code, ErrorCode::permission_denied)
      << "the old owner is fenced";
  EXPECT_EQ(vault().record_generation(kHost, vm, kRack1, Generation{9}).error().code,
            ErrorCode::permission_denied);
  EXPECT_TRUE(vault().release(kHost, vm, kRack2));
}

TEST_F(VaultTest, EpochsOnlyGrow) {
  const VmId vm = VmId::random();
  ASSERT_TRUE(vault().place(kControl, vm, {"rack-1", Epoch{5}}));
  EXPECT_TRUE(vault().place(kControl, vm, {"rack-1", Epoch{5}})) << "the same again is success";
  EXPECT_EQ(vault().place(kControl, vm, {"rack-2", Epoch{5}}).error().code, ErrorCode::conflict);
  EXPECT_EQ(vault().place(kControl, vm, {"rack-1", Epoch{4}}).error().code, ErrorCode::conflict);
  EXPECT_TRUE(vault().place(kControl, vm, {"rack-2", Epoch{6}}));
  EXPECT_EQ(vault().place(kControl, vm, {"../rack", Epoch{7}}).error().code, ErrorCode::invalid_argument);
  reopen();
  EXPECT_EQ(vault().place(kControl, vm, {"rack-1", Epoch{6}}).error().code, ErrorCode::conflict);
}

TEST_F(VaultTest, MakesOneKeyForEachVmAndOnlyForItsOwner) {
  const VmId vm = VmId::random();
  EXPECT_EQ(vault().create_key(kHost, vm, kRack1).error().code, ErrorCode::permission_denied);
  ASSERT_TRUE(vault().place(kControl, vm, kRack1));
  const KeyMetadata made = *vault().create_key(kHost, vm, kRack1);
  EXPECT_EQ(made.created_time, format_time(kNow));
  EXPECT_EQ(made.generation, Generation{0});
  EXPECT_EQ(vault().create_key(kHost, vm, kRack1).error().code, ErrorCode::already_exists);
  EXPECT_EQ(vault().keys()->size(), 1U);
  EXPECT_EQ(vault().key(VmId::random()).error().code, ErrorCode::not_found);
}

TEST_F(VaultTest, GenerationsOnlyGrow) {
  const VmId vm = placed_vm();
  EXPECT_EQ(*vault().record_generation(kHost, vm, kRack1, Generation{7}), Generation{7});
  EXPECT_EQ(*vault().record_generation(kHost, vm, kRack1, Generation{7}), Generation{7});
  EXPECT_EQ(vault().record_generation(kHost, vm, kRack1, Generation{6}).error().code, ErrorCode::conflict);
  reopen();
  EXPECT_EQ(vault().release(kHost, vm, kRack1)->minimum_generation, Generation{7});
  EXPECT_EQ(vault().key(vm)->generation, Generation{7});
  ASSERT_TRUE(vault().place(kControl, vm, kRack2));
  EXPECT_EQ(vault().release(kHost, vm, kRack2)->minimum_generation, Generation{7})
      << "a new owner inherits it";
}

TEST_F(VaultTest, DeletionForgetsKeyAndPlacement) {
  const VmId vm = placed_vm();
  EXPECT_TRUE(vault().remove(kHost, vm));
  EXPECT_TRUE(vault().remove(kHost, vm)) << "deleting what is gone is success";
  EXPECT_EQ(vault().release(kHost, vm, kRack1).error().code, ErrorCode::permission_denied);
  EXPECT_EQ(vault().key(vm).error().code, ErrorCode::not_found);
}

TEST_F(VaultTest, EveryReleaseRefusalAndCreationIsAudited) {
  const VmId vm = placed_vm();
  ASSERT_TRUE(vault().release(kHost, vm, kRack1));
  ASSERT_FALSE(vault().release(kHost, vm, kRack2));
  ASSERT_TRUE(vault().remove(kControl, vm));
  const std::string audit = audit_text();
  EXPECT_THAT(audit, HasSubstr("\"action\":\"ca.create\""));
  EXPECT_THAT(audit, HasSubstr("\"action\":\"placement.set\",\"object\":\"vm:" + vm.to_string() +
                               " host:rack-1 epoch:1\",\"result\":\"ok\""));
  EXPECT_THAT(audit, HasSubstr("\"actor\":\"hostd(uid=0)\",\"action\":\"key.create\""));
  EXPECT_THAT(audit, HasSubstr("\"action\":\"key.release\",\"object\":\"vm:" + vm.to_string() +
                               " host:rack-1 epoch:1\",\"result\":\"ok\""));
  EXPECT_THAT(audit, HasSubstr("\"result\":\"PermissionDenied: host rack-2 at epoch 2 does not own VM"));
  EXPECT_THAT(audit, HasSubstr("\"actor\":\"controld(uid=3)\",\"action\":\"key.delete\""));
  const log::AuditHead head = opened_.audit->head();
  opened_ = {};
  EXPECT_EQ(*log::AuditChain::verify(folder_.path() / "audit.jsonl", &hash, head), head);
}

TEST_F(VaultTest, NoAuditNoRelease) {
  const VmId vm = placed_vm();
  // An actor that the chain cannot write makes every append fail.
  const Caller unwritable{std::string(5000, 'x')};
  EXPECT_FALSE(vault().release(unwritable, vm, kRack1));
  const VmId other = VmId::random();
  ASSERT_TRUE(vault().place(kControl, other, kRack1));
  EXPECT_FALSE(vault().create_key(unwritable, other, kRack1));
  EXPECT_EQ(vault().key(other).error().code, ErrorCode::not_found);
}

TEST_F(VaultTest, KeysAreInNoFileInTheClear) {
  std::vector<Bytes> keys;
  for (int i = 0; i < 3; ++i)
    keys.push_back(to_bytes(vault().release(kHost, placed_vm(), kRack1)->key.view()));
  opened_ = {};
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    EXPECT_EQ(file.status().permissions() & std::filesystem::perms(0077), std::filesystem::perms::none)
        << file.path();
    const std::string content(as_text(*read_file(file.path(), 1 << 26)));
    for (const Bytes& key : keys) {
      EXPECT_EQ(content.find(as_text(key)), std::string::npos) << file.path();
      EXPECT_EQ(content.find(to_hex(key)), std::string::npos) << file.path();
      EXPECT_EQ(content.find(to_base64(key).substr(0, 40)), std::string::npos) << file.path();
    }
    EXPECT_THAT(content, Not(HasSubstr(std::string(kPassphrase)))) << file.path();
    EXPECT_THAT(content, Not(HasSubstr("PRIVATE KEY"))) << file.path();
  }
}

TEST_F(VaultTest, DeletedKeyIsInNoFileEvenWrapped) {
  const VmId vm = placed_vm();
  const std::string record = (*opened_.store->get("keys/" + vm.to_string()))->value;
  const std::string wrapped = record.substr(record.find("wrappedKey") + 13, 60);
  const auto found = [&] {
    std::size_t count = 0;
    for (const auto& file : std::filesystem::directory_iterator(folder_.path())) {
      count +=
          std::string(as_text(*read_file(file.path(), 1 << 26))).find(wrapped) != std::string::npos ? 1U : 0U;
    }
    return count;
  };
  EXPECT_GT(found(), 0U);
  ASSERT_TRUE(vault().remove(kHost, vm));
  opened_ = {};
  EXPECT_EQ(found(), 0U);
}

TEST_F(VaultTest, KeyOfOneVmDoesNotOpenInAnotherOnesPlace) {
  const VmId one = placed_vm(), other = placed_vm();
  const auto entry = *opened_.store->get("keys/" + one.to_string());
  ASSERT_TRUE(opened_.store->put("keys/" + other.to_string(), entry->value));
  EXPECT_EQ(vault().release(kHost, other, kRack1).error().code, ErrorCode::corrupt);
}

// ---- Opening ----

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

// ---- Certificates ----

TEST_F(VaultTest, SiteAuthorityStaysTheSame) {
  const crypto::Certificate ca = vault().ca_certificate();
  EXPECT_THAT(ca.subject(), HasSubstr("CN=Bootseal site CA "));
  EXPECT_EQ(ca.public_key()->kind(), crypto::KeyKind::ec_p384);
  EXPECT_TRUE(ca.is_ca());
  reopen();
  EXPECT_EQ(vault().ca_certificate().sha256(), ca.sha256());
}

TEST_F(VaultTest, CertifiesTheTpmOfAPlacedVm) {
  const VmId vm = placed_vm();
  const auto ek = *crypto::PrivateKey::generate(crypto::KeyKind::rsa),
             ak = *crypto::PrivateKey::generate(crypto::KeyKind::rsa);
  const TpmKeys keys{"web-1", ek.public_key().der(), std::nullopt, ak.public_key().der()};
  const TpmCertificates made = *vault().issue_tpm_certificates(kHost, vm, kRack1, keys);
  const auto ek_certificate = *crypto::Certificate::from_der(*made.ek_rsa),
             ak_certificate = *crypto::Certificate::from_der(made.ak);
  EXPECT_TRUE(
      crypto::verify_chain(ek_certificate, {}, {vault().ca_certificate()}, kNow, crypto::kOidEkCertificate));
  EXPECT_TRUE(
      crypto::verify_chain(ak_certificate, {}, {vault().ca_certificate()}, kNow, crypto::kOidAkCertificate));
  EXPECT_EQ(*ak_certificate.public_key(), ak.public_key());
  EXPECT_THAT(ak_certificate.alternative_names().uris, testing::ElementsAre("urn:uuid:" + vm.to_string()));
  EXPECT_LE(ak_certificate.not_after(), vault().ca_certificate().not_after());
  EXPECT_FALSE(made.ek_ecc);
  EXPECT_THAT(audit_text(), HasSubstr("ak:" + ak.public_key().fingerprint().to_hex()));

  EXPECT_EQ(vault().issue_tpm_certificates(kHost, vm, kRack2, keys).error().code,
            ErrorCode::permission_denied);
  TpmKeys wrong = keys;
  wrong.ek_ecc = ek.public_key().der();
  EXPECT_THAT(vault().issue_tpm_certificates(kHost, vm, kRack1, wrong).error().message, HasSubstr("ekEcc"));
  wrong = keys;
  wrong.ak = to_bytes("no key");
  EXPECT_EQ(vault().issue_tpm_certificates(kHost, vm, kRack1, wrong).error().code,
            ErrorCode::invalid_argument);
}

TEST_F(VaultTest, IssuesServerAndClientCertificatesForRequests) {
  const auto key = *crypto::PrivateKey::generate(crypto::KeyKind::ec_p256);
  const std::string csr = crypto::CertificateRequest::create(key, {{"CN", "controld"}})->pem();
  const crypto::Certificate server =
      *vault().issue_server_certificate(kControl, csr, {"localhost", "127.0.0.1"});
  EXPECT_TRUE(
      crypto::verify_chain(server, {}, {vault().ca_certificate()}, kNow, crypto::kOidServerAuthentication));
  EXPECT_THAT(server.alternative_names().dns, testing::ElementsAre("localhost"));
  const crypto::Certificate client = *vault().issue_client_certificate(kControl, csr, "admin");
  EXPECT_TRUE(
      crypto::verify_chain(client, {}, {vault().ca_certificate()}, kNow, crypto::kOidClientAuthentication));
  EXPECT_EQ(client.subject_common_name(), "admin");
  EXPECT_EQ(vault().issue_server_certificate(kControl, csr, {}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(vault().issue_client_certificate(kControl, "no request", "admin").error().code,
            ErrorCode::invalid_argument);
  EXPECT_THAT(audit_text(), HasSubstr("client:admin serial:" + client.serial()));
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
