// The audit chain and the head of it that the store remembers.
#include <fmt/format.h>

#include "bootseal/crypto/digest.h"
#include "bootseal/vault/vault.h"
#include "records.h"

namespace bootseal::vault {

Result<std::optional<log::AuditHead>> remembered_audit_head(store::Store& store) {
  BOOTSEAL_TRY(const auto entry, store.get(std::string(kAuditHeadKey)));
  if (!entry) return std::optional<log::AuditHead>();
  BOOTSEAL_TRY(log::AuditHead head, read_audit_head(*entry));
  return std::make_optional(std::move(head));
}

Result<std::unique_ptr<log::AuditChain>> open_audit_chain(const std::filesystem::path& path,
                                                          store::Store& store, bool begin_anew,
                                                          const Clock& clock) {
  const auto hash = [](ByteSpan bytes) { return crypto::sha256(bytes).to_hex(); };
  BOOTSEAL_TRY(const std::optional<log::AuditHead> remembered, remembered_audit_head(store));
  if (!begin_anew) {
    auto chain = log::AuditChain::open(path, hash, clock, remembered);
    if (chain || chain.error().code != ErrorCode::corrupt) return chain;
    return fail(
        ErrorCode::corrupt,
        fmt::format("{}. Somebody changed or cut the record of who got which key: put {} back from a "
                    "backup that is not older than store.sqlite. When there is none, start "
                    "bootseal-vaultd once with --begin-new-audit-chain: what is left is put aside and "
                    "the new chain tells of the loss",
                    chain.error().message, path.string()));
  }
  std::error_code problem;
  if (std::filesystem::exists(path, problem)) {
    const std::filesystem::path aside = path.string() + ".replaced-" + format_time(clock.now());
    std::filesystem::rename(path, aside, problem);
    if (problem) return fail_errno(problem.value(), fmt::format("renaming {}", path.string()));
  }
  BOOTSEAL_TRY(std::unique_ptr<log::AuditChain> chain, log::AuditChain::open(path, hash, clock));
  const std::string object = remembered ? fmt::format("the chain before: sequence:{} sha256:{}",
                                                      remembered->sequence, remembered->sha256)
                                        : "no chain before";
  BOOTSEAL_TRY_STATUS(chain->append({"vaultd", "audit.begin", object, "ok"}));
  return chain;
}

}  // namespace bootseal::vault
