// What the tests of the vault share: a vault with its store and its audit chain in a folder of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "bootseal/base/fds.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/vault/vault.h"

namespace bootseal::vault {

inline constexpr crypto::ScryptParameters kQuick{1024, 8, 1};
inline constexpr std::string_view kPassphrase = "correct horse battery staple";
inline const Caller kHost{"hostd(uid=0)"};
inline const Caller kControl{"controld(uid=3)"};
inline const TimePoint kNow = *parse_time("2026-11-21T20:00:00Z");

inline std::string hash(ByteSpan bytes) {
  return crypto::sha256(bytes).to_hex();
}
inline crypto::Secret secret(std::string_view text) {
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
                             const Clock& clock = Clock::system(), bool begin_anew = false) {
    Opened opened;
    BOOTSEAL_TRY(opened.store, store::open_sqlite_store(folder / "store.sqlite", {.kept_changes = 0}));
    BOOTSEAL_TRY(opened.audit, open_audit_chain(folder / "audit.jsonl", *opened.store, begin_anew, clock));
    BOOTSEAL_TRY(opened.vault, Vault::open({folder, kQuick, begin_anew}, secret(passphrase), *opened.store,
                                           *opened.audit, clock));
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

}  // namespace bootseal::vault
