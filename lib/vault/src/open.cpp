// Making and opening a vault.
#include <fmt/format.h>

#include "bootseal/crypto/keywrap.h"
#include "bootseal/vault/vault.h"
#include "master_key.h"
#include "records.h"
#include "seal.h"

namespace bootseal::vault {
namespace {

constexpr std::chrono::days kCaValidity{3650};

Status check_passphrase(const crypto::Secret& passphrase) {
  if (passphrase.size() >= kMinimumPassphraseSize && passphrase.size() <= kMaximumPassphraseSize) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("the passphrase of the vault has {} bytes; it needs {} to {}", passphrase.size(),
                          kMinimumPassphraseSize, kMaximumPassphraseSize));
}

Result<bool> holds_anything(store::Store& store) {
  BOOTSEAL_TRY(const store::Page page, store.list("", 1));
  return !page.entries.empty();
}

}  // namespace

Status Vault::make_site_ca(const std::string& vault_id) {
  BOOTSEAL_TRY(ca_key_, crypto::PrivateKey::generate(crypto::KeyKind::ec_p384));
  const std::string name = fmt::format("Bootseal site CA {}", vault_id.substr(0, 8));
  BOOTSEAL_TRY(ca_certificate_,
               crypto::make_self_signed(*ca_key_, crypto::site_ca_content(name, clock_.now(), kCaValidity)));
  const VaultRecord record{vault_id, ca_certificate_->pem(),
                           crypto::wrap_key(master_, ca_key_->der(), ca_label(vault_id))};
  return commit({"vaultd"}, "ca.create",
                fmt::format("ca:{} sha256:{}", name, ca_certificate_->sha256().to_hex()),
                {store::Condition::absent(std::string(kVaultKey))},
                {store::Put{std::string(kVaultKey), write_vault_record(record), {}}});
}

Status Vault::open_site_ca(const std::string& vault_id) {
  BOOTSEAL_TRY(const auto entry, store_.get(kVaultKey));
  BOOTSEAL_CHECK(entry.has_value());
  BOOTSEAL_TRY(const VaultRecord record, read_vault_record(*entry));
  BOOTSEAL_TRY(const crypto::Secret key,
               crypto::unwrap_key(master_, record.ca_wrapped_key, ca_label(vault_id)));
  BOOTSEAL_TRY(ca_key_, crypto::PrivateKey::from_der(key.view()));
  BOOTSEAL_TRY(ca_certificate_, crypto::Certificate::from_pem(record.ca_certificate_pem));
  BOOTSEAL_TRY(const crypto::PublicKey certified, ca_certificate_->public_key());
  if (!(certified == ca_key_->public_key())) {
    return fail(ErrorCode::corrupt,
                "the site CA's certificate and key do not belong together; restore the store of vaultd from "
                "a backup");
  }
  return {};
}

Result<std::unique_ptr<Vault>> Vault::open(const VaultOptions& options, const crypto::Secret& passphrase,
                                           store::Store& store, log::AuditChain& audit, const Clock& clock) {
  BOOTSEAL_TRY_STATUS(check_passphrase(passphrase));
  const std::filesystem::path path = options.folder / "master.json";
  BOOTSEAL_TRY(std::optional<MasterFile> file, read_master_file(path));
  BOOTSEAL_TRY(const auto entry, store.get(kVaultKey));
  std::optional<VaultRecord> record;
  if (entry) {
    BOOTSEAL_TRY(record, read_vault_record(*entry));
  }
  BOOTSEAL_TRY(const bool filled, holds_anything(store));
  if (!file && filled) {
    return fail(
        ErrorCode::conflict,
        fmt::format("{} is missing, and the vault holds keys that only it opens; restore it from a backup",
                    path.string()));
  }
  if (file && file->ready && !record) {
    return fail(
        ErrorCode::conflict,
        fmt::format("{} belongs to a vault whose store is missing; restore the store of vaultd from a backup",
                    path.string()));
  }
  if (file && record && record->vault_id != file->vault_id) {
    return fail(ErrorCode::conflict,
                fmt::format("{} belongs to another vault than the store of vaultd; restore the two together",
                            path.string()));
  }

  crypto::Secret master;
  if (file) {
    BOOTSEAL_TRY(master, open_master_key(*file, passphrase));
  } else {
    BOOTSEAL_TRY(NewMasterKey made, make_master_key(passphrase, options.scrypt));
    BOOTSEAL_TRY_STATUS(write_master_file(path, made.file));
    file = std::move(made.file);
    master = std::move(made.key);
  }
  std::unique_ptr<Vault> vault(new Vault(std::move(master), file->vault_id, store, audit, clock));
  if (record) BOOTSEAL_TRY_STATUS(vault->seal_->load(store));
  BOOTSEAL_TRY_STATUS(record ? vault->open_site_ca(file->vault_id) : vault->make_site_ca(file->vault_id));
  if (options.begin_new_audit_chain && record) {
    const log::AuditHead head = audit.head();
    BOOTSEAL_TRY_STATUS(vault->seal_->commit(
        store, {}, {store::Put{std::string(kAuditHeadKey), write_audit_head(head), {}}}));
  }
  if (!file->ready) {
    file->ready = true;
    BOOTSEAL_TRY_STATUS(write_master_file(path, *file));
  }
  return vault;
}

}  // namespace bootseal::vault
