// Every sample store opens or is refused as its manifest says, with the content it says.
#include <gmock/gmock.h>

#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"
#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::key1;
using test::key2;
using test::open_on;
using test::sample;
using ::testing::HasSubstr;

json::Value manifest() {
  const auto text = read_file(BOOTSEAL_SOURCE_DIR "/lib/vmgs/tests/data/manifest.json", 1U << 20);
  BOOTSEAL_CHECK(text.has_value());
  auto value = json::parse(as_text(*text));
  BOOTSEAL_CHECK(value.has_value());
  return *std::move(value);
}

std::string text_of(const json::Value& value) {
  return value.is_null() ? std::string() : std::string(value.as_string());
}

Condition condition_of(const std::string& word) {
  static const std::map<std::string, Condition> words{{"ok", Condition::valid},
                                                      {"empty", Condition::empty},
                                                      {"version-1", Condition::version_1},
                                                      {"invalid-format", Condition::invalid_format},
                                                      {"corrupt", Condition::corrupt}};
  return words.at(word);
}

void check_files(Store& store, const json::Array& files) {
  std::vector<FileId> expected_ids;
  for (const json::Value& item : files) {
    const auto id = static_cast<FileId>(item.at("file_id").to_number<unsigned>());
    SCOPED_TRACE("file " + describe(id));
    expected_ids.push_back(id);
    const auto info = store.query(id);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->size, item.at("size").to_number<std::uint64_t>());
    EXPECT_EQ(info->block, item.at("offset_block").to_number<std::uint32_t>());
    EXPECT_EQ(info->blocks, item.at("blocks").to_number<std::uint32_t>());
    EXPECT_EQ(info->encrypted, item.at("encrypted").as_bool());
    const auto content = store.read(id);
    if (!item.at("error").is_null()) {
      ASSERT_EQ(text_of(item.at("error")), "tag");
      ASSERT_FALSE(content);
      EXPECT_EQ(content.error().code, ErrorCode::corrupt);
      continue;
    }
    ASSERT_TRUE(content) << content.error().describe();
    EXPECT_EQ(crypto::sha256(*content).to_hex(), text_of(item.at("sha256")));
  }
  std::vector<FileId> ids;
  for (const FileInfo& file : store.list()) ids.push_back(file.id);
  EXPECT_EQ(ids, expected_ids);
}

TEST(Samples, OpenOrAreRefusedAsTheManifestSays) {
  const json::Value value = manifest();
  EXPECT_EQ(value.at("samples").as_array().size(), 23U);
  for (const json::Value& item : value.at("samples").as_array()) {
    const std::string name = text_of(item.at("name"));
    SCOPED_TRACE(name);
    const Bytes bytes = sample(name);
    ASSERT_EQ(crypto::sha256(bytes).to_hex(), text_of(item.at("sha256")));
    MemoryDevice device(bytes, item.at("sector_size").to_number<std::uint32_t>());
    device.start_recording();
    const Container container = item.at("vhd_footer").as_bool() ? Container::fixed_vhd : Container::raw;

    const auto examination = Store::examine(device, container);
    ASSERT_TRUE(examination);
    EXPECT_EQ(examination->condition, condition_of(text_of(item.at("open")))) << examination->reason;
    auto store = Store::open(std::make_unique<test::BorrowedDevice>(device), container);
    EXPECT_EQ(store.has_value(), text_of(item.at("open")) == "ok");
    if (!store) continue;

    EXPECT_EQ(store->info().sequence, item.at("sequence").to_number<std::uint32_t>());
    EXPECT_EQ(store->info().active_header, item.at("active_header").to_number<unsigned>());
    const std::string key = text_of(item.at("key"));
    EXPECT_EQ(store->info().encrypted, !key.empty());
    if (!key.empty()) {
      EXPECT_EQ(store->unlock(key == "key1" ? key2() : key1()).error().code, ErrorCode::permission_denied);
      ASSERT_TRUE(store->unlock(key == "key1" ? key1() : key2()));
      EXPECT_EQ(store->info().active_key_slot, item.at("active_key_slot").to_number<unsigned>());
      EXPECT_EQ(store->info().zero_metadata_key, name == "zero-metadata-key.vmgs");
    }
    check_files(*store, item.at("files").as_array());
    EXPECT_TRUE(device.operations().empty()) << "opening and reading must write nothing";
    EXPECT_EQ(device.content(), bytes);
  }
}

TEST(Samples, CanBeChangedAndKeepTheirOtherFiles) {
  const json::Value value = manifest();
  for (const json::Value& item : value.at("samples").as_array()) {
    const std::string name = text_of(item.at("name"));
    if (text_of(item.at("open")) != "ok" || name == "enc-data-bitflip-file1.vmgs") continue;
    SCOPED_TRACE(name);
    MemoryDevice device(sample(name), item.at("sector_size").to_number<std::uint32_t>());
    const Container container = item.at("vhd_footer").as_bool() ? Container::fixed_vhd : Container::raw;
    const std::string key = text_of(item.at("key"));
    const auto reopen = [&] {
      auto store = Store::open(std::make_unique<test::BorrowedDevice>(device), container);
      EXPECT_TRUE(store);
      EXPECT_TRUE(key.empty() || store->unlock(key == "key1" ? key1() : key2()));
      return std::move(store).value();
    };
    Store store = reopen();
    test::Content expected = *test::content_of(store);
    for (unsigned round = 0; round < 5; ++round) {
      expected[FileId{40}] = test::pattern(100 + 1000 * round, round);
      const Protection protection = key.empty() ? Protection::plain : Protection::encrypted;
      ASSERT_TRUE(store.write(FileId{40}, expected[FileId{40}], protection));
    }
    EXPECT_EQ(*test::content_of(store), expected);
    Store again = reopen();
    EXPECT_EQ(*test::content_of(again), expected);
    EXPECT_FALSE(again.info().zero_metadata_key);
  }
}

TEST(Samples, SayWhatIsWrongWithThem) {
  const auto reason = [](const std::string& name) {
    MemoryDevice device(sample(name));
    return Store::open(std::make_unique<test::BorrowedDevice>(device), Container::fixed_vhd).error();
  };
  EXPECT_EQ(reason("crash-in-format.vmgs").code, ErrorCode::not_found);
  EXPECT_EQ(reason("v1-gpt.vmgs").code, ErrorCode::unsupported);
  EXPECT_THAT(reason("v1-gpt.vmgs").message, HasSubstr("version 1"));
  EXPECT_THAT(reason("both-headers-bad.vmgs").message, HasSubstr("the header size is"));
  EXPECT_THAT(reason("both-headers-bad.vmgs").message, HasSubstr("the checksum is wrong"));
  EXPECT_THAT(reason("sequence-gap-2.vmgs").message, HasSubstr("7 and 5"));
  EXPECT_THAT(reason("entry-out-of-range.vmgs").message, HasSubstr("TPM_NVRAM (3)"));
}

// As older writers leave them: before the key is given, the attribute words say that the files are plain.
TEST(Samples, ALegacyFileIsNotHandedOutAsPlainWhileLocked) {
  MemoryDevice device(sample("legacy-no-attrs-in-file-table.vmgs"));
  Store store = open_on(device);
  EXPECT_EQ(store.read(FileId::bios_nvram).error().code, ErrorCode::conflict);
  EXPECT_EQ(store.read(FileId::vm_unique_id)->size(), 20U);
  ASSERT_TRUE(store.unlock(key1()));
  EXPECT_EQ(store.read(FileId::bios_nvram)->size(), 479U);
  // The first change brings the attributes into the plain table.
  ASSERT_TRUE(store.touch());
  const Bytes& bytes = device.content();
  const std::uint32_t table = load_le32(bytes, store.info().active_header * std::size_t{512} + 24);
  EXPECT_EQ(load_le32(bytes, std::size_t{table} * kBlockSize + 1 * 64 + 44), 3U);
}

}  // namespace
}  // namespace bootseal::vmgs
