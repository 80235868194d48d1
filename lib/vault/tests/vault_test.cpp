#include "vault_fixture.h"

namespace bootseal::vault {
namespace {

using testing::HasSubstr;
using testing::Not;

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
  EXPECT_TRUE(vault().remove(kHost, vm, kRack1));
  EXPECT_TRUE(vault().remove(kHost, vm, kRack1)) << "deleting what is gone is success";
  EXPECT_EQ(vault().release(kHost, vm, kRack1).error().code, ErrorCode::permission_denied);
  EXPECT_EQ(vault().key(vm).error().code, ErrorCode::not_found);
}

TEST_F(VaultTest, OnlyTheOwnerAtTheCurrentEpochDeletes) {
  const VmId vm = placed_vm();
  const auto refused = vault().remove(kHost, vm, {"rack-2", Epoch{1}});
  EXPECT_EQ(refused.error().code, ErrorCode::permission_denied);
  EXPECT_EQ(vault().remove(kHost, vm, {"rack-1", Epoch{0}}).error().code, ErrorCode::invalid_argument);
  ASSERT_TRUE(vault().place(kControl, vm, kRack2));
  EXPECT_EQ(vault().remove(kHost, vm, kRack1).error().code, ErrorCode::permission_denied)
      << "the old owner is fenced";
  EXPECT_TRUE(vault().release(kHost, vm, kRack2)) << "nothing was deleted";
  EXPECT_THAT(audit_text(), HasSubstr("\"action\":\"key.delete\",\"object\":\"vm:" + vm.to_string() +
                                      "\",\"result\":\"PermissionDenied: host rack-2 at epoch 1"));
  EXPECT_TRUE(vault().remove(kHost, vm, kRack2));
}

TEST_F(VaultTest, ADeletedVmDoesNotComeBackAtAnOlderEpoch) {
  const VmId vm = VmId::random();
  const Placement last{"rack-1", Epoch{7}};
  ASSERT_TRUE(vault().place(kControl, vm, last));
  ASSERT_TRUE(vault().create_key(kHost, vm, last));
  ASSERT_TRUE(vault().remove(kControl, vm, last));
  reopen();
  for (const Placement& older : {Placement{"rack-1", Epoch{1}}, Placement{"rack-1", Epoch{6}},
                                 Placement{"rack-2", Epoch{6}}, Placement{"rack-2", Epoch{7}}}) {
    const auto refused = vault().place(kControl, vm, older);
    ASSERT_FALSE(refused) << older.host_id << " " << older.epoch.value;
    EXPECT_EQ(refused.error().code, ErrorCode::conflict);
    EXPECT_THAT(refused.error().message,
                HasSubstr("was deleted at epoch 7 on host rack-1 (" + format_time(kNow)));
    EXPECT_EQ(vault().create_key(kHost, vm, older).error().code, ErrorCode::permission_denied);
  }
  EXPECT_THAT(audit_text(), HasSubstr("Conflict: VM " + vm.to_string() + " was deleted at epoch 7"));
  EXPECT_EQ(vault().create_key(kHost, vm, last).error().code, ErrorCode::permission_denied)
      << "its last owner has no placement any more";

  const Placement again{"rack-2", Epoch{8}};
  ASSERT_TRUE(vault().place(kControl, vm, again));
  ASSERT_TRUE(vault().create_key(kHost, vm, again));
  ASSERT_TRUE(vault().remove(kControl, vm, again));
  EXPECT_EQ(vault().place(kControl, vm, last).error().code, ErrorCode::conflict) << "the last epoch counts";
}

TEST_F(VaultTest, EveryReleaseRefusalAndCreationIsAudited) {
  const VmId vm = placed_vm();
  ASSERT_TRUE(vault().release(kHost, vm, kRack1));
  ASSERT_FALSE(vault().release(kHost, vm, kRack2));
  ASSERT_TRUE(vault().remove(kControl, vm, kRack1));
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
  ASSERT_TRUE(vault().remove(kHost, vm, kRack1));
  opened_ = {};
  EXPECT_EQ(found(), 0U);
}

TEST_F(VaultTest, KeyOfOneVmDoesNotOpenInAnotherOnesPlace) {
  const VmId one = placed_vm(), other = placed_vm();
  const auto entry = *opened_.store->get("keys/" + one.to_string());
  ASSERT_TRUE(opened_.store->put("keys/" + other.to_string(), entry->value));
  EXPECT_EQ(vault().release(kHost, other, kRack1).error().code, ErrorCode::corrupt);
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

}  // namespace
}  // namespace bootseal::vault
