#include "bootseal/uefi/variable_store.h"

#include <gmock/gmock.h>

#include "bootseal/uefi/guids.h"
#include "files.h"

namespace bootseal::uefi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Guid kVendor = guid_literal("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
constexpr std::size_t kFirstRecord = 0x64, kStateInRecord = 2, kWorkingBlock = 0x41000;

Variable variable(std::u16string name, std::string_view data) {
  return {.vendor = kVendor,
          .name = std::move(name),
          .attributes = kNonVolatile | kBootService | kRuntime,
          .data = to_bytes(data)};
}

VariableStore store_of(std::initializer_list<Variable> variables) {
  VariableStore store = VariableStore::blank(FlashLayout::k4M);
  for (const Variable& each : variables) EXPECT_TRUE(store.set(each));
  return store;
}

TEST(VariableStore, BlankFlashEqualsDebiansTemplates) {
  EXPECT_EQ(VariableStore::blank(FlashLayout::k4M).serialize(),
            read_or_fail("/usr/share/OVMF/OVMF_VARS_4M.fd"));
  EXPECT_EQ(VariableStore::blank(FlashLayout::k2M).serialize(), read_or_fail("/usr/share/OVMF/OVMF_VARS.fd"));
}

TEST(VariableStore, ReadsWhatFirmwareWrote) {
  // Debian makes this one by running the firmware: 57 records, most of them dead.
  for (const char* file : {"/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"}) {
    const Result<VariableStore> store = VariableStore::parse(read_or_fail(file));
    ASSERT_TRUE(store) << store.error().describe();
    EXPECT_EQ(store->records().size(), 57U) << file;
    EXPECT_LT(store->variables().size(), store->records().size());
    const Variable* db = store->find(kImageSecurityDatabase, u"db");
    ASSERT_NE(db, nullptr);
    EXPECT_EQ(db->attributes, kAuthenticatedAttributes);
    EXPECT_EQ(db->data.size(), 3143U);  // as measured into PCR 7 by the recorded boots
    ASSERT_NE(store->find(kGlobalVariable, u"PK"), nullptr);
    EXPECT_EQ(store->find(kGlobalVariable, u"PK")->data.size(), 1005U);
    EXPECT_EQ(store->find(kGlobalVariable, u"KEK")->data.size(), 2565U);
    EXPECT_EQ(store->find(kImageSecurityDatabase, u"dbx")->data.size(), 76U);
    EXPECT_EQ(store->find(kSecureBootEnable, u"SecureBootEnable")->data, Bytes{std::byte{1}});
    EXPECT_EQ(store->find(kImageSecurityDatabase, u"PK"), nullptr);
  }
}

TEST(VariableStore, LiveVariablesSurviveARoundTrip) {
  const VariableStore store = *VariableStore::parse(read_or_fail("/usr/share/OVMF/OVMF_VARS_4M.ms.fd"));
  const VariableStore again = *VariableStore::parse(store.serialize());
  EXPECT_EQ(again.variables(), store.variables());
  EXPECT_EQ(again.records().size(), store.variables().size());
}

TEST(VariableStore, WritesRecordsAsTheFormatSays) {
  VariableStore store = VariableStore::blank(FlashLayout::k4M);
  ASSERT_TRUE(store.set({.vendor = kGlobalVariable,
                         .name = u"KEK",
                         .attributes = kAuthenticatedAttributes,
                         .time = {.year = 2026, .month = 1, .day = 2, .hour = 3, .minute = 4, .second = 5},
                         .data = to_bytes("abc")}));
  const Bytes flash = store.serialize();
  const ByteSpan record = ByteSpan(flash).subspan(kFirstRecord, 72);
  EXPECT_EQ(to_hex(record.first(4)), "aa553f00");
  EXPECT_EQ(to_hex(record.subspan(4, 12)),
            "27000000"
            "0000000000000000");
  EXPECT_EQ(to_hex(record.subspan(16, 16)), "ea070102030405000000000000000000");
  EXPECT_EQ(to_hex(record.subspan(32, 12)),
            "00000000"
            "08000000"
            "03000000");
  EXPECT_EQ(to_hex(record.subspan(44, 16)), "61dfe48bca93d211aa0d00e098032b8c");
  EXPECT_EQ(to_hex(record.subspan(60, 12)),
            "4b0045004b000000"
            "616263ff");
  EXPECT_EQ(to_hex(ByteSpan(flash).subspan(kFirstRecord + 72, 4)), "ffffffff");
}

TEST(VariableStore, ReplacesInPlaceOfAddingASecond) {
  VariableStore store = store_of({variable(u"A", "1"), variable(u"B", "2")});
  ASSERT_TRUE(store.set(variable(u"A", "three")));
  EXPECT_THAT(store.variables(), ElementsAre(variable(u"B", "2"), variable(u"A", "three")));
  store.remove(kVendor, u"B");
  store.remove(kVendor, u"never there");
  EXPECT_THAT(VariableStore::parse(store.serialize())->variables(), ElementsAre(variable(u"A", "three")));
}

TEST(VariableStore, AVariableInTransitionLivesUntilItsSuccessorIsAdded) {
  const VariableStore two = store_of({variable(u"A", "old"), variable(u"B", "x")});
  Bytes flash = two.serialize();
  flash[kFirstRecord + kStateInRecord] = std::byte{0x3e};
  EXPECT_EQ(VariableStore::parse(flash)->find(kVendor, u"A")->data, to_bytes("old"));

  // The same name twice: written as B and renamed in the bytes, since set() replaces.
  Bytes doubled = flash;
  const std::size_t name_of_second = two.records()[1].offset + 60;
  doubled[name_of_second] = std::byte{'A'};
  const VariableStore after = *VariableStore::parse(doubled);
  EXPECT_EQ(after.find(kVendor, u"A")->data, to_bytes("x"));
  EXPECT_EQ(after.variables().size(), 1U);
}

TEST(VariableStore, OfTwoRecordsWithOneNameOneCounts) {
  const VariableStore two = store_of({variable(u"A", "first"), variable(u"B", "second")});
  Bytes flash = two.serialize();
  const std::size_t second = two.records()[1].offset;
  flash[second + 60] = std::byte{'A'};
  EXPECT_THAT(VariableStore::parse(flash)->variables(), ElementsAre(variable(u"A", "first")));
  flash[kFirstRecord + kStateInRecord] = flash[second + kStateInRecord] = std::byte{0x3e};
  EXPECT_THAT(VariableStore::parse(flash)->variables(), ElementsAre(variable(u"A", "second")));
}

TEST(VariableStore, DeadAndUnfinishedRecordsAreNotVariables) {
  for (const int state : {0x3c, 0x3d, 0x7f}) {
    Bytes flash = store_of({variable(u"A", "1"), variable(u"B", "2")}).serialize();
    flash[kFirstRecord + kStateInRecord] = static_cast<std::byte>(state);
    const Result<VariableStore> store = VariableStore::parse(flash);
    ASSERT_TRUE(store) << store.error().describe();
    EXPECT_EQ(store->records().size(), 2U);
    EXPECT_THAT(store->variables(), ElementsAre(variable(u"B", "2")));
  }
  // Power failed inside the header: the sizes are still erased and the next record follows the header.
  Bytes flash = VariableStore::blank(FlashLayout::k4M).serialize();
  store_le16(flash, kFirstRecord, 0x55aa);
  const Bytes other = store_of({variable(u"B", "2")}).serialize();
  std::copy_n(other.begin() + kFirstRecord, 80, flash.begin() + kFirstRecord + 60);
  EXPECT_THAT(VariableStore::parse(flash)->variables(), ElementsAre(variable(u"B", "2")));
}

TEST(VariableStore, RefusesWhatCannotBeStored) {
  VariableStore store = VariableStore::blank(FlashLayout::k2M);
  EXPECT_EQ(store.set(variable(u"", "1")).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(store.set(variable(std::u16string(512, u'n'), "1")).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(store.set(variable(std::u16string(u"a\0b", 3), "1")).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(store.set(variable(u"A", "")).error().code, ErrorCode::invalid_argument);
  Variable not_stored = variable(u"A", "1");
  not_stored.attributes = kBootService;
  EXPECT_EQ(store.set(not_stored).error().code, ErrorCode::invalid_argument);

  ASSERT_TRUE(store.set(variable(u"A", "1")));
  const Bytes before = store.serialize();
  const Status too_large = store.set(variable(u"A", std::string(0xE000, 'x')));
  EXPECT_EQ(too_large.error().code, ErrorCode::exhausted);
  EXPECT_EQ(store.serialize(), before);
}

TEST(VariableStore, FillsTheStoreToItsLastByte) {
  VariableStore store = VariableStore::blank(FlashLayout::k2M);
  const std::size_t header_and_name = 60 + 4;
  const std::size_t room = 0xE000 - kFirstRecord - header_and_name;
  EXPECT_EQ(store.set(variable(u"A", std::string(room + 1, 'x'))).error().code, ErrorCode::exhausted);
  ASSERT_TRUE(store.set(variable(u"A", std::string(room, 'x'))));
  const Result<VariableStore> again = VariableStore::parse(store.serialize());
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ(again->variables(), store.variables());
}

struct Damage {
  const char* what;
  std::size_t offset;
  int value;
};

TEST(VariableStore, NamesDamageInsteadOfGuessing) {
  const Bytes good = store_of({variable(u"A", "1")}).serialize();
  ASSERT_TRUE(VariableStore::parse(good));
  const Damage cases[] = {
      {"volume GUID", 16, 0},        {"volume mark", 40, 'x'},    {"volume length", 33, 0},
      {"volume checksum", 50, 0},    {"store GUID", 0x48, 0},     {"store size", 0x58, 0},
      {"store format", 0x5c, 0},     {"store state", 0x5d, 0x7f}, {"record state", 0x66, 0x11},
      {"name size", 0x88, 3},        {"name size high", 0x8b, 1}, {"data size high", 0x8f, 1},
      {"name not ended", 0xa2, 'x'}, {"block GUID", 0x41000, 0},  {"block checksum", 0x41010, 0},
      {"block size", 0x41018, 0},
  };
  for (const Damage& damage : cases) {
    Bytes flash = good;
    flash[damage.offset] = static_cast<std::byte>(damage.value);
    const Result<VariableStore> store = VariableStore::parse(flash);
    ASSERT_FALSE(store) << damage.what;
    EXPECT_EQ(store.error().code, ErrorCode::corrupt) << damage.what;
  }
  Bytes flash = good;
  flash[0x66] = std::byte{0x11};
  EXPECT_THAT(VariableStore::parse(flash).error().message, HasSubstr("offset 0x64"));
  EXPECT_EQ(VariableStore::parse(ByteSpan(good).first(1000)).error().code, ErrorCode::invalid_argument);
}

TEST(VariableStore, RefusesAFlashWithAWaitingWrite) {
  Bytes flash = VariableStore::blank(FlashLayout::k4M).serialize();
  const std::size_t queue = kWorkingBlock + 32;
  flash[queue] = std::byte{0xfe};  // header allocated, not complete
  EXPECT_EQ(VariableStore::parse(flash).error().code, ErrorCode::conflict);
  // Complete, one write of no private data; nothing behind it.
  flash[queue] = std::byte{0xf8};
  store_le64(flash, queue + 24, 1);
  store_le64(flash, queue + 32, 0);
  EXPECT_TRUE(VariableStore::parse(flash));
  flash[queue + 80] = std::byte{0xfc};
  EXPECT_EQ(VariableStore::parse(flash).error().code, ErrorCode::conflict);
  store_le64(flash, queue + 24, ~std::uint64_t{0});
  EXPECT_EQ(VariableStore::parse(flash).error().code, ErrorCode::corrupt);
}

TEST(ToUtf8, ConvertsAndReplaces) {
  EXPECT_EQ(to_utf8(u"dbx"), "dbx");
  EXPECT_EQ(to_utf8(u"\u00e9\u20ac"), "\xc3\xa9\xe2\x82\xac");
  EXPECT_EQ(to_utf8(u"\U0001f512"), "\xf0\x9f\x94\x92");
  EXPECT_EQ(to_utf8(std::u16string(1, char16_t{0xd800})), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace bootseal::uefi
