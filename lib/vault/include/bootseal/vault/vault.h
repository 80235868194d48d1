// The key vault: one AES-256 key per VM (its guest-state protection key), the site CA, and the rules by which
// they are used.
//
// Hierarchy: the passphrase opens the master key (scrypt, FOLDER/master.json); the master key wraps the site
// CA's private key and every VM's key, which lie in the store. In the clear they exist in locked memory only.
// Rules: a VM has one placement {host, epoch} whose epoch only grows, also past its deletion; keys are
// released to that host at that very epoch and to nobody else; generations only grow. Every release,
// creation, refusal and placement is in the audit chain before its effect is. What the store holds is sealed
// with a key derived from the master key, and checked at each reading.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/base/ids.h"
#include "bootseal/crypto/scrypt.h"
#include "bootseal/crypto/secret.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/log/audit.h"
#include "bootseal/store/store.h"

namespace bootseal::vault {

inline constexpr std::size_t kMinimumPassphraseSize = 16;
inline constexpr std::size_t kMaximumPassphraseSize = 4096;

// Who asks, for the audit chain: "hostd(uid=0)". The transport has checked it.
struct Caller {
  std::string name;
};

// Where a VM runs: also what a host claims when it asks for something.
struct Placement {
  std::string host_id;  // is_valid_resource_name()
  Epoch epoch;          // 1 and more
  bool operator==(const Placement&) const = default;
};

// What may be known about a key. Its name is the VM's id.
struct KeyMetadata {
  VmId vm;
  std::string created_time;  // RFC 3339
  Generation generation;     // of the guest state, as last told
};

struct ReleasedKey {
  crypto::Secret key;  // 32 bytes
  Generation minimum_generation;
};

// SubjectPublicKeyInfo, DER.
struct TpmKeys {
  std::string vm_name;
  std::optional<Bytes> ek_rsa;
  std::optional<Bytes> ek_ecc;
  Bytes ak;
};

// DER.
struct TpmCertificates {
  std::optional<Bytes> ek_rsa;
  std::optional<Bytes> ek_ecc;
  Bytes ak;
};

struct VaultOptions {
  std::filesystem::path folder;     // private to vaultd; master.json is made here
  crypto::ScryptParameters scrypt;  // for a new master key only; an existing one says its own
  // The audit chain was begun anew (open_audit_chain): its head is remembered from now on.
  bool begin_new_audit_chain = false;
};

// The head of the audit chain as the store remembers it: what AuditChain::open() is to be given, so that a
// chain whose end was cut off is found. nullopt before the first entry. corrupt for a malformed record. Its
// seal is checked by Vault::open().
Result<std::optional<log::AuditHead>> remembered_audit_head(store::Store& store);
// Opens the audit chain of `store`. corrupt when it is not, or not as far as, the one that was written, and
// says what to do. With `begin_anew`, a chain that is there is put aside (PATH.replaced-TIME) and another one
// begins with an entry that tells the head that was remembered; the store remembers the head of the new one
// when Vault::open() is told to.
Result<std::unique_ptr<log::AuditChain>> open_audit_chain(const std::filesystem::path& path,
                                                          store::Store& store, bool begin_anew,
                                                          const Clock& clock = Clock::system());

class Seal;

// Thread safe.
class Vault {
 public:
  // Opens the vault, or makes it when `options.folder` holds no master.json and `store` nothing of a vault.
  // `store`, `audit` and `clock` outlive it. Errors, and nothing is changed then:
  //   invalid_argument   the passphrase is too short or too long
  //   permission_denied  the passphrase does not open master.json (or master.json is damaged: the two look
  //   alike) conflict           master.json without its store, a store without its master.json, or both of
  //   different vaults corrupt            master.json or a record of the store is malformed, or a record was
  //   changed, exchanged, added or taken away by somebody who has not got the master key
  // and the errors of files and of the store.
  static Result<std::unique_ptr<Vault>> open(const VaultOptions& options, const crypto::Secret& passphrase,
                                             store::Store& store, log::AuditChain& audit,
                                             const Clock& clock = Clock::system());
  ~Vault();

  [[nodiscard]] const crypto::Certificate& ca_certificate() const { return *ca_certificate_; }

  // Errors of the calls below beside those each names: invalid_argument (malformed input), the errors of the
  // store and of the audit chain.

  // conflict when the epoch is below the known one, or equal with another host. The same again is success. Of
  // a deleted VM the epoch that it was deleted at is known.
  Result<Placement> place(const Caller& caller, const VmId& vm, const Placement& placement);
  // permission_denied unless `claim` is the VM's placement, already_exists when there is a key.
  Result<KeyMetadata> create_key(const Caller& caller, const VmId& vm, const Placement& claim);
  Result<std::vector<KeyMetadata>> keys();
  // not_found.
  Result<KeyMetadata> key(const VmId& vm);
  // permission_denied unless `claim` is the VM's placement, not_found without a key, corrupt when the stored
  // key does not open.
  Result<ReleasedKey> release(const Caller& caller, const VmId& vm, const Placement& claim);
  // permission_denied unless `claim` is the VM's placement, not_found without a key, conflict when
  // `generation` is below the known one. On disk when it returns.
  Result<Generation> record_generation(const Caller& caller, const VmId& vm, const Placement& claim,
                                       Generation generation);
  // Forgets the key and the placement, and keeps the epoch. permission_denied unless `claim` is the VM's
  // placement; success when there is nothing to forget.
  Status remove(const Caller& caller, const VmId& vm, const Placement& claim);

  // permission_denied unless `claim` is the VM's placement; invalid_argument for keys of other kinds than the
  // TPM templates make.
  Result<TpmCertificates> issue_tpm_certificates(const Caller& caller, const VmId& vm, const Placement& claim,
                                                 const TpmKeys& keys);
  // `names`: DNS names and IP addresses, at least one.
  Result<crypto::Certificate> issue_server_certificate(const Caller& caller, std::string_view csr_pem,
                                                       const std::vector<std::string>& names);
  Result<crypto::Certificate> issue_client_certificate(const Caller& caller, std::string_view csr_pem,
                                                       const std::string& common_name);

 private:
  struct KeyRecord;
  Vault(crypto::Secret master, const std::string& vault_id, store::Store& store, log::AuditChain& audit,
        const Clock& clock);

  Status open_site_ca(const std::string& vault_id);
  Status make_site_ca(const std::string& vault_id);
  Status commit(const Caller& caller, std::string_view action, std::string object,
                const std::vector<store::Condition>& conditions, std::vector<store::Operation> operations);
  Status record(const Caller& caller, std::string_view action, std::string object, std::string result);
  template <typename T>
  Result<T> refuse(const Caller& caller, std::string_view action, const VmId& vm, Error error);
  Status check_claim(const VmId& vm, const Placement& claim);
  Result<std::optional<std::pair<Placement, store::Entry>>> find_placement(const VmId& vm);
  Result<std::optional<KeyRecord>> find_key(const VmId& vm);
  Status check_after_deletion(const VmId& vm, const Placement& placement);
  Result<crypto::Certificate> issue(const crypto::PublicKey& key, crypto::CertificateContent content);

  std::mutex mutex_;  // held by every call that reads and then writes
  const crypto::Secret master_;
  const std::unique_ptr<Seal> seal_;  // guarded by mutex_
  store::Store& store_;
  log::AuditChain& audit_;
  const Clock& clock_;
  std::optional<crypto::PrivateKey> ca_key_;           // set by open(), never after
  std::optional<crypto::Certificate> ca_certificate_;  // set by open(), never after
};

}  // namespace bootseal::vault
