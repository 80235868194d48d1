// The seal over what the vault keeps in the store, so that nobody but the holder of the master key can
// change, exchange, add or take away a record without being noticed.
//
// Each sealed record (placements/, keys/, tombstones/, audit-head) ends with a member "mac": HMAC-SHA256 over
// its key and its text without it. The record "seal" {mac} is one over the keys and macs of all of them, and
// is written in the same transaction as any of them: an older copy of one record does not fit beside the
// others. The key is derived from the master key (HKDF, with the vault's id) and used for nothing else. What
// no seal can show is an older copy of the whole store.
#pragma once

#include <map>

#include "bootseal/crypto/secret.h"
#include "bootseal/store/store.h"

namespace bootseal::vault {

// Not thread safe.
class Seal {
 public:
  Seal(const crypto::Secret& master, const std::string& vault_id);

  // Reads all sealed records and checks them and the seal. corrupt, naming the record and what to do.
  Status load(store::Store& store);

  // The record under this key as load() and commit() know it: nullopt when there is none. corrupt when it has
  // been changed, exchanged, added or taken away since.
  Result<std::optional<store::Entry>> get(store::Store& store, const std::string& key) const;
  // The same for a record that was read already.
  Status check(const store::Entry& entry) const;
  // How many records there are under a prefix.
  [[nodiscard]] std::size_t count(std::string_view prefix) const;

  // Carries the operations out, with a seal on each record that is put and the new seal over all.
  Status commit(store::Store& store, const std::vector<store::Condition>& conditions,
                std::vector<store::Operation> operations);

 private:
  using Macs = std::map<std::string, std::string, std::less<>>;  // record key -> mac, base64
  [[nodiscard]] std::string mac_of(std::string_view key, std::string_view text) const;
  [[nodiscard]] std::string mac_of_all(const Macs& macs) const;
  // The mac that the record carries, when it is the right one.
  Result<std::string> checked_mac(const store::Entry& entry) const;

  crypto::Secret key_;
  Macs macs_;
};

// Whether records under this key carry a seal.
bool is_sealed(std::string_view key);

}  // namespace bootseal::vault
