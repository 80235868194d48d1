#include "support.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "bootseal/base/subprocess.h"

namespace bootseal::vmgs::test {
namespace {

Bytes counting(std::uint8_t from) {
  Bytes bytes;
  for (std::uint8_t i = 0; i < kKeySize; ++i) bytes.push_back(static_cast<std::byte>(from + i));
  return bytes;
}

// A folder with the unpacked samples, removed at the end of the program.
class SampleFolder {
 public:
  SampleFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "bootseal-vmgs-XXXXXX").native();
    BOOTSEAL_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    const auto unpacked = run_checked(
        {.arguments = {"tar", "-xJf", BOOTSEAL_SOURCE_DIR "/lib/vmgs/tests/data/stores.tar.xz", "-C", name}});
    if (!unpacked) ADD_FAILURE() << unpacked.error().describe();
  }
  SampleFolder(const SampleFolder&) = delete;
  SampleFolder& operator=(const SampleFolder&) = delete;
  ~SampleFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

Status BorrowedDevice::count_down() {
  if (!remaining_) return {};
  if (*remaining_ == 0) return fail(code_, "injected failure");
  --*remaining_;
  return {};
}

Status BorrowedDevice::write(std::uint64_t offset, ByteSpan data) {
  BOOTSEAL_TRY_STATUS(count_down());
  return device_->write(offset, data);
}

Status BorrowedDevice::flush() {
  BOOTSEAL_TRY_STATUS(count_down());
  return device_->flush();
}

Bytes key1() {
  return counting(0x00);
}
Bytes key2() {
  return counting(0x80);
}

Bytes pattern(std::size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator());
  return bytes;
}

MemoryDevice blank_device(std::uint64_t blocks) {
  return MemoryDevice(Bytes(blocks * kBlockSize + kFooterSize));
}

Store format_on(Device& device) {
  auto store = Store::format(std::make_unique<BorrowedDevice>(device), Container::fixed_vhd);
  if (!store) ADD_FAILURE() << store.error().describe();
  return std::move(store).value();
}

Result<Store> try_open_on(Device& device, std::optional<ByteSpan> key) {
  BOOTSEAL_TRY(Store store, Store::open(std::make_unique<BorrowedDevice>(device), Container::fixed_vhd));
  if (key) BOOTSEAL_TRY_STATUS(store.unlock(*key));
  return store;
}

Store open_on(Device& device, std::optional<ByteSpan> key) {
  auto store = try_open_on(device, key);
  if (!store) ADD_FAILURE() << store.error().describe();
  return std::move(store).value();
}

Result<Content> content_of(Store& store) {
  Content content;
  for (const FileInfo& file : store.list()) {
    BOOTSEAL_TRY(content[file.id], store.read(file.id));
  }
  return content;
}

Bytes sample(const std::string& name) {
  static const SampleFolder folder;
  auto bytes = read_file(folder.path() / name, 8U << 20);
  if (!bytes) ADD_FAILURE() << bytes.error().describe();
  return bytes.value_or(Bytes());
}

}  // namespace bootseal::vmgs::test
