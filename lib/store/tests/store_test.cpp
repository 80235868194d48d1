#include "store_contract.h"
#include "temporary_folder.h"

namespace bootseal::store::testing {

struct Memory {};
struct Sqlite {};

template <>
class StoreMaker<Memory> {
 public:
  std::unique_ptr<Store> make(StoreOptions options) { return make_memory_store(options); }
};

template <>
class StoreMaker<Sqlite> {
 public:
  std::unique_ptr<Store> make(StoreOptions options) {
    auto store = open_sqlite_store(folder_.path() / "store.db", options);
    BOOTSEAL_CHECK(store.has_value());
    return *std::move(store);
  }

 private:
  TemporaryFolder folder_;
};

using Kinds = ::testing::Types<Memory, Sqlite>;
INSTANTIATE_TYPED_TEST_SUITE_P(Each, StoreContract, Kinds);

}  // namespace bootseal::store::testing
