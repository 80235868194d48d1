#include "bootseal/store/store.h"

namespace bootseal::store {

Result<std::vector<Entry>> Store::list_all(std::string_view prefix) {
  constexpr std::size_t kPageSize = 1000;
  std::vector<Entry> entries;
  std::string after;
  for (;;) {
    BOOTSEAL_TRY(Page page, list(prefix, kPageSize, after));
    std::move(page.entries.begin(), page.entries.end(), std::back_inserter(entries));
    if (!page.more) return entries;
    after = entries.back().key;
  }
}

Result<Revision> Store::put(std::string key, std::string value, LeaseId lease) {
  return transact({}, {Put{std::move(key), std::move(value), lease}});
}

Result<Revision> Store::remove(std::string key) {
  return transact({}, {Delete{std::move(key)}});
}

}  // namespace bootseal::store
