// What one durable change costs: a sealed file of 6 KB (a manufactured TPM) on a file of the folder TMPDIR
// (/tmp).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "bootseal/crypto/secret.h"
#include "bootseal/vmgs/store.h"

namespace bootseal::vmgs {
namespace {

constexpr FileId kFile{48};

UniqueFd temporary_file() {
  std::string path = (std::filesystem::temp_directory_path() / "bootseal-bench-XXXXXX").native();
  UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
  BOOTSEAL_CHECK(fd.valid());
  ::unlink(path.c_str());
  return fd;
}

Store make_store(std::unique_ptr<Device> device, const crypto::Secret& key) {
  auto store = Store::format(std::move(device), Container::fixed_vhd);
  BOOTSEAL_CHECK(store && store->set_first_key(key.view()));
  return std::move(store).value();
}

void run(benchmark::State& state, Store store) {
  const Bytes content(static_cast<std::size_t>(state.range(0)), std::byte{0x5a});
  for (auto unused : state) {
    const Status written = store.write(kFile, content, Protection::encrypted);
    BOOTSEAL_CHECK(written);
  }
  state.SetItemsProcessed(state.iterations());
}

void commit_to_disk(benchmark::State& state) {
  const crypto::Secret key = crypto::Secret::random(kKeySize);
  auto device = FileDevice::create(temporary_file(), kDefaultBodySize + kFooterSize);
  BOOTSEAL_CHECK(device);
  run(state, make_store(*std::move(device), key));
}
BENCHMARK(commit_to_disk)->Arg(6144)->Arg(540712)->UseRealTime();

// The same without a disk: encryption, tables and copies.
void commit_to_memory(benchmark::State& state) {
  const crypto::Secret key = crypto::Secret::random(kKeySize);
  run(state, make_store(std::make_unique<MemoryDevice>(Bytes(kDefaultBodySize + kFooterSize)), key));
}
BENCHMARK(commit_to_memory)->Arg(6144)->Arg(540712)->UseRealTime();

// The least that two flushes cost on this disk: one write of 4096 bytes before each.
void two_flushes(benchmark::State& state) {
  auto device = FileDevice::create(temporary_file(), kDefaultBodySize);
  BOOTSEAL_CHECK(device);
  const Bytes block(kBlockSize, std::byte{0x5a});
  for (auto unused : state) {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{kBlockSize}}) {
      BOOTSEAL_CHECK((*device)->write(offset, block));
      BOOTSEAL_CHECK((*device)->flush());
    }
  }
}
BENCHMARK(two_flushes)->UseRealTime();

void open_and_unlock(benchmark::State& state) {
  const crypto::Secret key = crypto::Secret::random(kKeySize);
  auto made = std::make_unique<MemoryDevice>(Bytes(kDefaultBodySize + kFooterSize));
  MemoryDevice& device = *made;
  Store store = make_store(std::move(made), key);
  BOOTSEAL_CHECK(store.write(kFile, Bytes(6144), Protection::encrypted));
  const Bytes image = device.content();
  for (auto unused : state) {
    state.PauseTiming();
    auto copy = std::make_unique<MemoryDevice>(image);
    state.ResumeTiming();
    auto opened = Store::open(std::move(copy), Container::fixed_vhd);
    BOOTSEAL_CHECK(opened && opened->unlock(key.view()));
  }
}
BENCHMARK(open_and_unlock);

}  // namespace
}  // namespace bootseal::vmgs
