#include "bootseal/vault/vault.h"

#include <fmt/format.h>

#include "bootseal/crypto/aead.h"
#include "bootseal/crypto/keywrap.h"
#include "bootseal/json/json.h"
#include "records.h"
#include "seal.h"

namespace bootseal::vault {
namespace {

constexpr std::chrono::days kTlsValidity{730};
constexpr std::chrono::days kTpmValidity{3650};

std::string object_of(const VmId& vm) {
  return "vm:" + vm.to_string();
}

std::string object_of(const VmId& vm, const Placement& placement) {
  return fmt::format("vm:{} host:{} epoch:{}", vm.to_string(), placement.host_id, placement.epoch.value);
}

Status check_placement(const Placement& placement) {
  if (!is_valid_resource_name(placement.host_id)) {
    return fail(ErrorCode::invalid_argument,
                "hostId: a host id has 1 to 64 letters, digits, '.', '_' and '-', and begins and ends with a "
                "letter or digit");
  }
  if (placement.epoch.value == 0)
    return fail(ErrorCode::invalid_argument, "epoch: the first epoch of a VM is 1");
  return {};
}

}  // namespace

struct Vault::KeyRecord {
  KeyMetadata metadata;
  Bytes wrapped_key;
  store::Entry entry;
};

Vault::Vault(crypto::Secret master, const std::string& vault_id, store::Store& store, log::AuditChain& audit,
             const Clock& clock)
    : master_(std::move(master)),
      seal_(std::make_unique<Seal>(master_, vault_id)),
      store_(store),
      audit_(audit),
      clock_(clock) {}
Vault::~Vault() = default;

Status Vault::record(const Caller& caller, std::string_view action, std::string object, std::string result) {
  BOOTSEAL_TRY(const log::AuditHead head,
               audit_.append({caller.name, std::string(action), std::move(object), std::move(result)}));
  return seal_->commit(store_, {}, {store::Put{std::string(kAuditHeadKey), write_audit_head(head), {}}});
}

// The audit entry comes first: an effect without an entry cannot be, an entry whose effect a crash took away
// can.
Status Vault::commit(const Caller& caller, std::string_view action, std::string object,
                     const std::vector<store::Condition>& conditions,
                     std::vector<store::Operation> operations) {
  BOOTSEAL_TRY(const log::AuditHead head, audit_.append({caller.name, std::string(action), object, "ok"}));
  operations.emplace_back(store::Put{std::string(kAuditHeadKey), write_audit_head(head), {}});
  const Status committed = seal_->commit(store_, conditions, std::move(operations));
  if (committed) return {};
  static_cast<void>(audit_.append({caller.name, std::string(action), std::move(object),
                                   "not carried out: " + committed.error().message}));
  return tl::unexpected(committed.error());
}

template <typename T>
Result<T> Vault::refuse(const Caller& caller, std::string_view action, const VmId& vm, Error error) {
  BOOTSEAL_TRY_STATUS(record(caller, action, object_of(vm),
                             fmt::format("{}: {}", error_info(error.code).name, error.message)));
  return tl::unexpected(std::move(error));
}

Result<std::optional<std::pair<Placement, store::Entry>>> Vault::find_placement(const VmId& vm) {
  BOOTSEAL_TRY(std::optional<store::Entry> entry, seal_->get(store_, placement_key(vm)));
  if (!entry) return std::nullopt;
  BOOTSEAL_TRY(Placement placement, read_placement(*entry));
  return std::make_optional(std::pair(std::move(placement), *std::move(entry)));
}

Result<std::optional<Vault::KeyRecord>> Vault::find_key(const VmId& vm) {
  BOOTSEAL_TRY(std::optional<store::Entry> entry, seal_->get(store_, key_key(vm)));
  if (!entry) return std::nullopt;
  BOOTSEAL_TRY(StoredKey stored, read_stored_key(*entry));
  return std::make_optional(KeyRecord{
      {vm, stored.created_time, stored.generation}, std::move(stored.wrapped_key), *std::move(entry)});
}

// Success, or the refusal.
Status Vault::check_claim(const VmId& vm, const Placement& claim) {
  BOOTSEAL_TRY_STATUS(check_placement(claim));
  BOOTSEAL_TRY(const auto known, find_placement(vm));
  if (!known) {
    return fail(ErrorCode::permission_denied, fmt::format("VM {} is not placed on any host", vm.to_string()));
  }
  if (known->first != claim) {
    return fail(
        ErrorCode::permission_denied,
        fmt::format(
            "host {} at epoch {} does not own VM {}, which is placed on another host or at another epoch",
            claim.host_id, claim.epoch.value, vm.to_string()));
  }
  return {};
}

// Success, or the refusal to place a VM where it was before it was deleted.
Status Vault::check_after_deletion(const VmId& vm, const Placement& placement) {
  BOOTSEAL_TRY(const auto entry, seal_->get(store_, tombstone_key(vm)));
  if (!entry) return {};
  BOOTSEAL_TRY(const Tombstone tombstone, read_tombstone(*entry));
  const Placement& last = tombstone.placement;
  if (placement.epoch > last.epoch || placement == last) return {};
  return fail(
      ErrorCode::conflict,
      fmt::format("VM {} was deleted at epoch {} on host {} ({}); a new placement needs a higher epoch "
                  "than {}",
                  vm.to_string(), last.epoch.value, last.host_id, tombstone.deleted_time,
                  placement.epoch.value));
}

Result<Placement> Vault::place(const Caller& caller, const VmId& vm, const Placement& placement) {
  BOOTSEAL_TRY_STATUS(check_placement(placement));
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const auto known, find_placement(vm));
  if (known && known->first == placement) return placement;
  if (known && known->first.epoch >= placement.epoch) {
    return refuse<Placement>(
        caller, "placement.set", vm,
        {ErrorCode::conflict,
         fmt::format("VM {} is at epoch {} on host {}; a new placement needs a higher epoch than {}",
                     vm.to_string(), known->first.epoch.value, known->first.host_id, placement.epoch.value),
         nullptr});
  }
  if (Status fresh = known ? Status() : check_after_deletion(vm, placement); !fresh) {
    if (fresh.error().code != ErrorCode::conflict) return tl::unexpected(fresh.error());
    return refuse<Placement>(caller, "placement.set", vm, fresh.error());
  }
  const store::Condition condition =
      known ? store::Condition::same(known->second) : store::Condition::absent(placement_key(vm));
  BOOTSEAL_TRY_STATUS(commit(caller, "placement.set", object_of(vm, placement), {condition},
                             {store::Put{placement_key(vm), write_placement(placement), {}}}));
  return placement;
}

Result<KeyMetadata> Vault::create_key(const Caller& caller, const VmId& vm, const Placement& claim) {
  const std::lock_guard lock(mutex_);
  if (Status owner = check_claim(vm, claim); !owner)
    return refuse<KeyMetadata>(caller, "key.create", vm, owner.error());
  BOOTSEAL_TRY(const auto existing, find_key(vm));
  if (existing) {
    return refuse<KeyMetadata>(
        caller, "key.create", vm,
        {ErrorCode::already_exists, fmt::format("VM {} has a guest-state protection key", vm.to_string()),
         nullptr});
  }
  const crypto::Secret key = crypto::Secret::random(crypto::kAesKeySize);
  const StoredKey stored{format_time(clock_.now()), Generation{0},
                         crypto::wrap_key(master_, key, key_label(vm))};
  BOOTSEAL_TRY_STATUS(commit(caller, "key.create", object_of(vm, claim),
                             {store::Condition::absent(key_key(vm))},
                             {store::Put{key_key(vm), write_stored_key(stored), {}}}));
  return KeyMetadata{vm, stored.created_time, stored.generation};
}

Result<std::vector<KeyMetadata>> Vault::keys() {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const std::vector<store::Entry> entries, store_.list_all(kKeyPrefix));
  if (entries.size() != seal_->count(kKeyPrefix))
    return fail(ErrorCode::corrupt,
                "keys were added to or taken away from store.sqlite by somebody other than vaultd; stop the "
                "daemons and restore the whole folder of vaultd from one backup");
  std::vector<KeyMetadata> result;
  for (const store::Entry& entry : entries) {
    BOOTSEAL_TRY(const VmId vm, VmId::parse(std::string_view(entry.key).substr(kKeyPrefix.size())));
    BOOTSEAL_TRY_STATUS(seal_->check(entry));
    BOOTSEAL_TRY(const StoredKey stored, read_stored_key(entry));
    result.push_back({vm, stored.created_time, stored.generation});
  }
  return result;
}

Result<KeyMetadata> Vault::key(const VmId& vm) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const auto found, find_key(vm));
  if (!found)
    return fail(ErrorCode::not_found,
                fmt::format("VM {} has no guest-state protection key in this vault", vm.to_string()));
  return found->metadata;
}

Result<ReleasedKey> Vault::release(const Caller& caller, const VmId& vm, const Placement& claim) {
  const std::lock_guard lock(mutex_);
  if (Status owner = check_claim(vm, claim); !owner)
    return refuse<ReleasedKey>(caller, "key.release", vm, owner.error());
  BOOTSEAL_TRY(const auto found, find_key(vm));
  if (!found) {
    return refuse<ReleasedKey>(
        caller, "key.release", vm,
        {ErrorCode::not_found,
         fmt::format("VM {} has no guest-state protection key in this vault", vm.to_string()), nullptr});
  }
  Result<crypto::Secret> key = crypto::unwrap_key(master_, found->wrapped_key, key_label(vm));
  if (!key) return refuse<ReleasedKey>(caller, "key.release", vm, key.error());
  BOOTSEAL_TRY_STATUS(record(caller, "key.release", object_of(vm, claim), "ok"));
  return ReleasedKey{*std::move(key), found->metadata.generation};
}

Result<Generation> Vault::record_generation(const Caller& caller, const VmId& vm, const Placement& claim,
                                            Generation generation) {
  const std::lock_guard lock(mutex_);
  if (Status owner = check_claim(vm, claim); !owner)
    return refuse<Generation>(caller, "key.generation", vm, owner.error());
  BOOTSEAL_TRY(const auto found, find_key(vm));
  if (!found) {
    return refuse<Generation>(
        caller, "key.generation", vm,
        {ErrorCode::not_found,
         fmt::format("VM {} has no guest-state protection key in this vault", vm.to_string()), nullptr});
  }
  const Generation known = found->metadata.generation;
  if (generation == known) return known;
  if (generation < known) {
    return refuse<Generation>(caller, "key.generation", vm,
                              {ErrorCode::conflict,
                               fmt::format("the guest state of VM {} is at generation {}; {} would go back",
                                           vm.to_string(), known.value, generation.value),
                               nullptr});
  }
  const StoredKey stored{found->metadata.created_time, generation, found->wrapped_key};
  BOOTSEAL_TRY_STATUS(seal_->commit(store_, {store::Condition::same(found->entry)},
                                    {store::Put{key_key(vm), write_stored_key(stored), {}}}));
  return generation;
}

Status Vault::remove(const Caller& caller, const VmId& vm, const Placement& claim) {
  BOOTSEAL_TRY_STATUS(check_placement(claim));
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(const auto key, seal_->get(store_, key_key(vm)));
  BOOTSEAL_TRY(const auto placement, find_placement(vm));
  if (!key && !placement) return {};
  if (Status owner = check_claim(vm, claim); !owner)
    return tl::unexpected(refuse<Placement>(caller, "key.delete", vm, owner.error()).error());
  const Tombstone tombstone{claim, format_time(clock_.now())};
  return commit(caller, "key.delete", object_of(vm, claim), {store::Condition::same(placement->second)},
                {store::Delete{key_key(vm)}, store::Delete{placement_key(vm)},
                 store::Put{tombstone_key(vm), write_tombstone(tombstone), {}}});
}

Result<crypto::Certificate> Vault::issue(const crypto::PublicKey& key, crypto::CertificateContent content) {
  content.not_after = std::min(content.not_after, ca_certificate_->not_after());
  content.not_before = std::max(content.not_before, ca_certificate_->not_before());
  return crypto::issue_certificate(*ca_key_, *ca_certificate_, key, content);
}

Result<TpmCertificates> Vault::issue_tpm_certificates(const Caller& caller, const VmId& vm,
                                                      const Placement& claim, const TpmKeys& keys) {
  if (!is_valid_resource_name(keys.vm_name))
    return fail(ErrorCode::invalid_argument, "vmName: is no valid name of a VM");
  const auto parse = [](const Bytes& der, std::string_view field) -> Result<crypto::PublicKey> {
    Result<crypto::PublicKey> key = crypto::PublicKey::from_der(der);
    if (!key) return fail(ErrorCode::invalid_argument, fmt::format("{}: {}", field, key.error().describe()));
    return key;
  };
  BOOTSEAL_TRY(const crypto::PublicKey ak, parse(keys.ak, "ak"));
  std::string fingerprints = "ak:" + ak.fingerprint().to_hex();
  std::optional<crypto::PublicKey> ek_rsa, ek_ecc;
  if (keys.ek_rsa) {
    BOOTSEAL_TRY(ek_rsa, parse(*keys.ek_rsa, "ekRsa"));
    if (ek_rsa->kind() != crypto::KeyKind::rsa)
      return fail(ErrorCode::invalid_argument, "ekRsa: is no RSA key");
    fingerprints += " ek-rsa:" + ek_rsa->fingerprint().to_hex();
  }
  if (keys.ek_ecc) {
    BOOTSEAL_TRY(ek_ecc, parse(*keys.ek_ecc, "ekEcc"));
    if (ek_ecc->kind() == crypto::KeyKind::rsa)
      return fail(ErrorCode::invalid_argument, "ekEcc: is no elliptic curve key");
    fingerprints += " ek-ecc:" + ek_ecc->fingerprint().to_hex();
  }

  const std::lock_guard lock(mutex_);
  if (Status owner = check_claim(vm, claim); !owner)
    return refuse<TpmCertificates>(caller, "certificate.tpm", vm, owner.error());
  BOOTSEAL_TRY_STATUS(record(caller, "certificate.tpm", object_of(vm, claim) + " " + fingerprints, "ok"));
  const TimePoint now = clock_.now();
  TpmCertificates certificates;
  const auto issue_ek = [&](const crypto::PublicKey& key) {
    return issue(key, crypto::tpm_ek_content(vm.to_string(), keys.vm_name, key.kind(), now, kTpmValidity));
  };
  if (ek_rsa) {
    BOOTSEAL_TRY(const crypto::Certificate certificate, issue_ek(*ek_rsa));
    certificates.ek_rsa = certificate.der();
  }
  if (ek_ecc) {
    BOOTSEAL_TRY(const crypto::Certificate certificate, issue_ek(*ek_ecc));
    certificates.ek_ecc = certificate.der();
  }
  BOOTSEAL_TRY(const crypto::Certificate certificate,
               issue(ak, crypto::tpm_ak_content(vm.to_string(), keys.vm_name, now, kTpmValidity)));
  certificates.ak = certificate.der();
  return certificates;
}

Result<crypto::Certificate> Vault::issue_server_certificate(const Caller& caller, std::string_view csr_pem,
                                                            const std::vector<std::string>& names) {
  BOOTSEAL_TRY(const crypto::CertificateRequest request, crypto::CertificateRequest::from_pem(csr_pem));
  if (names.empty() || names.size() > 64)
    return fail(ErrorCode::invalid_argument, "names: give 1 to 64 DNS names or addresses of the server");
  BOOTSEAL_TRY(crypto::Certificate certificate,
               issue(request.public_key(),
                     crypto::tls_server_content(request.common_name(), names, clock_.now(), kTlsValidity)));
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY_STATUS(record(caller, "certificate.server",
                             fmt::format("server:{} serial:{}", names.front(), certificate.serial()), "ok"));
  return certificate;
}

Result<crypto::Certificate> Vault::issue_client_certificate(const Caller& caller, std::string_view csr_pem,
                                                            const std::string& common_name) {
  BOOTSEAL_TRY(const crypto::CertificateRequest request, crypto::CertificateRequest::from_pem(csr_pem));
  if (common_name.empty()) return fail(ErrorCode::invalid_argument, "commonName: must not be empty");
  BOOTSEAL_TRY(
      crypto::Certificate certificate,
      issue(request.public_key(), crypto::tls_client_content(common_name, clock_.now(), kTlsValidity)));
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY_STATUS(record(caller, "certificate.client",
                             fmt::format("client:{} serial:{}", common_name, certificate.serial()), "ok"));
  return certificate;
}

}  // namespace bootseal::vault
