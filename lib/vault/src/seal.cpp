#include "seal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"
#include "records.h"

namespace bootseal::vault {
namespace {

constexpr std::size_t kKeySize = 32;
constexpr std::string_view kPurpose = "bootseal vault record seal 1";
constexpr std::string_view kSealKey = "seal";
constexpr std::string_view kMacMember = "mac";
constexpr std::array<std::string_view, 3> kSealedPrefixes = {kKeyPrefix, kPlacementPrefix, kTombstonePrefix};

constexpr std::array<std::byte, 1> kZero{};

template <typename T = void>
Result<T> changed(std::string_view key, std::string_view what) {
  return fail(
      ErrorCode::corrupt,
      fmt::format("the vault's record {} {}: somebody other than vaultd wrote to store.sqlite, or put a "
                  "part of an older copy back. Stop the daemons and restore the whole folder of vaultd "
                  "(store.sqlite, audit.jsonl, master.json) from one backup",
                  key, what));
}

Result<json::Object> members_of(const store::Entry& entry) {
  auto document = json::parse(entry.value);
  if (!document || !document->is_object()) return changed<json::Object>(entry.key, "cannot be read");
  return std::move(document->get_object());
}

}  // namespace

bool is_sealed(std::string_view key) {
  return key == kAuditHeadKey ||
         std::any_of(kSealedPrefixes.begin(), kSealedPrefixes.end(),
                     [&](std::string_view prefix) { return key.starts_with(prefix); });
}

Seal::Seal(const crypto::Secret& master, const std::string& vault_id) {
  Bytes key = crypto::hkdf_sha256(master.view(), as_bytes(vault_id), as_bytes(kPurpose), kKeySize);
  key_ = crypto::Secret::copy_of(key);
  crypto::wipe(key);
}

std::string Seal::mac_of(std::string_view key, std::string_view text) const {
  return to_base64(crypto::hmac(crypto::HashAlgorithm::sha256, key_.view(),
                                {as_bytes("record"), kZero, as_bytes(key), kZero, as_bytes(text)}));
}

std::string Seal::mac_of_all(const Macs& macs) const {
  std::string list;
  for (const auto& [key, mac] : macs) list += fmt::format("{} {}\n", key, mac);  // no key has a space
  return to_base64(
      crypto::hmac(crypto::HashAlgorithm::sha256, key_.view(), {as_bytes("all"), kZero, as_bytes(list)}));
}

Result<std::string> Seal::checked_mac(const store::Entry& entry) const {
  BOOTSEAL_TRY(json::Object members, members_of(entry));
  const json::Value* member = members.if_contains(kMacMember);
  if (member == nullptr || !member->is_string())
    return changed<std::string>(entry.key, "has no seal of this vault");
  const std::string mac(member->get_string());
  members.erase(kMacMember);
  if (!crypto::equal_constant_time(as_bytes(mac), as_bytes(mac_of(entry.key, json::serialize(members)))))
    return changed<std::string>(entry.key, "does not fit its seal");
  return mac;
}

Status Seal::load(store::Store& store) {
  Macs macs;
  BOOTSEAL_TRY(const std::vector<store::Entry> entries, store.list_all(""));
  for (const store::Entry& entry : entries) {
    if (!is_sealed(entry.key)) continue;
    BOOTSEAL_TRY(macs[entry.key], checked_mac(entry));
  }
  BOOTSEAL_TRY(const auto seal, store.get(kSealKey));
  if (!seal) return changed(kSealKey, "is missing");
  BOOTSEAL_TRY(const json::Object members, members_of(*seal));
  const json::Value* member = members.if_contains(kMacMember);
  const std::string expected = mac_of_all(macs);
  if (member == nullptr || !member->is_string() ||
      !crypto::equal_constant_time(as_bytes(std::string_view(member->get_string())), as_bytes(expected)))
    return changed(kSealKey, "does not fit the records: one is missing, added or from another time");
  macs_ = std::move(macs);
  return {};
}

Status Seal::check(const store::Entry& entry) const {
  BOOTSEAL_TRY(const std::string mac, checked_mac(entry));
  const auto known = macs_.find(entry.key);
  if (known == macs_.end()) return changed(entry.key, "was added");
  if (known->second != mac) return changed(entry.key, "is from another time");
  return {};
}

Result<std::optional<store::Entry>> Seal::get(store::Store& store, const std::string& key) const {
  BOOTSEAL_TRY(std::optional<store::Entry> entry, store.get(key));
  if (!entry) {
    if (macs_.contains(key)) return changed<std::optional<store::Entry>>(key, "was taken away");
    return entry;
  }
  BOOTSEAL_TRY_STATUS(check(*entry));
  return entry;
}

std::size_t Seal::count(std::string_view prefix) const {
  const auto counted = [&](const auto& one) { return one.first.starts_with(prefix); };
  return static_cast<std::size_t>(std::count_if(macs_.begin(), macs_.end(), counted));
}

Status Seal::commit(store::Store& store, const std::vector<store::Condition>& conditions,
                    std::vector<store::Operation> operations) {
  Macs macs = macs_;
  for (store::Operation& operation : operations) {
    if (auto* removed = std::get_if<store::Delete>(&operation)) {
      macs.erase(removed->key);
      continue;
    }
    auto& put = std::get<store::Put>(operation);
    if (!is_sealed(put.key)) continue;
    BOOTSEAL_TRY(json::Value record, json::parse(put.value));
    std::string& mac = macs[put.key];
    mac = mac_of(put.key, json::serialize(record));
    record.as_object()[kMacMember] = mac;
    put.value = json::serialize(record);
  }
  operations.emplace_back(
      store::Put{std::string(kSealKey), json::serialize(json::Object{{kMacMember, mac_of_all(macs)}}), {}});
  BOOTSEAL_TRY_STATUS(store.transact(conditions, operations));
  macs_ = std::move(macs);
  return {};
}

}  // namespace bootseal::vault
