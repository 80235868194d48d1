// Transactions a second: each is on the disk when it is counted.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>

#include "bootseal/store/store.h"

namespace bootseal::store {
namespace {

// In the folder of BOOTSEAL_BENCH_FOLDER, or the one for temporary files: the disk below makes the figure.
std::filesystem::path bench_path() {
  const char* const folder = std::getenv("BOOTSEAL_BENCH_FOLDER");
  return (folder != nullptr ? std::filesystem::path(folder) : std::filesystem::temp_directory_path()) /
         ("bootseal-bench-" + std::to_string(::getpid()) + ".db");
}

struct Opened {
  std::filesystem::path path = bench_path();
  std::unique_ptr<Store> store = open_sqlite_store(path).value();
  ~Opened() {
    store.reset();
    for (const char* suffix : {"", "-wal", "-shm", ".lock"}) std::filesystem::remove(path.string() + suffix);
  }
};

void BM_SqliteTransaction(benchmark::State& state) {
  const Opened opened;
  const std::string value(static_cast<std::size_t>(state.range(0)), 'v');
  Revision revision = 0;
  for (auto _ : state) {
    const auto done = opened.store->transact({Condition{"key", revision}}, {Put{"key", value, {}}});
    if (!done) state.SkipWithError(done.error().message.c_str());
    revision = done.value_or(0);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SqliteTransaction)->UseRealTime()->Arg(200)->Arg(20000);

void BM_SqliteGetAmongTenThousand(benchmark::State& state) {
  const Opened opened;
  constexpr std::size_t kKeys = 10000;
  for (std::size_t key = 0; key < kKeys; key += kMaxOperations) {
    std::vector<Operation> operations;
    for (std::size_t next = key; next < key + kMaxOperations; ++next) {
      operations.emplace_back(Put{"vms/" + std::to_string(next), std::string(1000, 'v'), {}});
    }
    if (!opened.store->transact({}, operations)) state.SkipWithError("the store could not be filled");
  }
  std::size_t key = 0;
  for (auto _ : state) benchmark::DoNotOptimize(opened.store->get("vms/" + std::to_string(key++ % kKeys)));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SqliteGetAmongTenThousand);

}  // namespace
}  // namespace bootseal::store
