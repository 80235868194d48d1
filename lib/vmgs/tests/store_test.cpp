#include "bootseal/vmgs/store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "format.h"
#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::blank_device;
using test::BorrowedDevice;
using test::content_of;
using test::format_on;
using test::key1;
using test::kTestBlocks;
using test::open_on;
using test::pattern;
using test::try_open_on;
using ::testing::HasSubstr;

constexpr FileId kFirst{40};
constexpr FileId kSecond{41};

// What a Windows host writes: the first 16 bytes of a freshly created default store, CRC 0x6d2eed28.
TEST(Format, GivesTheBytesThatHyperVGives) {
  MemoryDevice device(Bytes(kDefaultBodySize + kFooterSize));
  const Store store = format_on(device);
  EXPECT_EQ(to_hex(ByteSpan(device.content()).first(16)),
            "475545535452545300000300"
            "28ed2e6d");
  EXPECT_EQ(device.content().size(), 4194816U);
  EXPECT_EQ(store.info().sequence, 1U);
  EXPECT_FALSE(store.info().encrypted);
  EXPECT_EQ(store.info().body_size, kDefaultBodySize);
  EXPECT_EQ(store.info().free_blocks, 1020U);
  // Apart from the footer's random GUID, byte for byte the sample of the reference implementation.
  Bytes expected = test::sample("formatted-default.vmgs");
  Bytes made = device.content();
  ASSERT_EQ(made.size(), expected.size());
  for (Bytes* bytes : {&made, &expected}) {
    const auto footer = bytes->begin() + static_cast<std::ptrdiff_t>(kDefaultBodySize);
    std::fill(footer + 64, footer + 84, std::byte{0});
  }
  EXPECT_TRUE(made == expected);
}

TEST(Format, RefusesADeviceThatHoldsAnythingElse) {
  MemoryDevice device = blank_device();
  { format_on(device); }
  const Bytes before = device.content();
  const auto again = Store::format(std::make_unique<BorrowedDevice>(device), Container::fixed_vhd);
  EXPECT_EQ(again.error().code, ErrorCode::already_exists);
  EXPECT_EQ(device.content(), before);
  MemoryDevice other(pattern(kTestBlocks * kBlockSize + kFooterSize, 1));
  EXPECT_EQ(Store::format(std::make_unique<BorrowedDevice>(other), Container::fixed_vhd).error().code,
            ErrorCode::already_exists);
}

TEST(Format, RefusesSizesThatCannotHoldAStore) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{512}, std::size_t{kMinimumBodySize}}) {
    MemoryDevice device{Bytes(size)};
    EXPECT_EQ(Store::format(std::make_unique<BorrowedDevice>(device), Container::fixed_vhd).error().code,
              ErrorCode::invalid_argument)
        << size;
  }
  MemoryDevice large_sectors(Bytes(64 * kBlockSize), 4096);
  EXPECT_EQ(Store::format(std::make_unique<BorrowedDevice>(large_sectors), Container::fixed_vhd).error().code,
            ErrorCode::invalid_argument);
  MemoryDevice odd_sectors(Bytes(64 * kBlockSize), 1024);
  EXPECT_EQ(Store::format(std::make_unique<BorrowedDevice>(odd_sectors), Container::raw).error().code,
            ErrorCode::invalid_argument);
}

TEST(Format, WorksWithLargeSectorsAndNoFooter) {
  MemoryDevice device(Bytes(16 * kBlockSize), 4096);
  auto store = Store::format(std::make_unique<BorrowedDevice>(device), Container::raw);
  ASSERT_TRUE(store);
  ASSERT_TRUE(store->write(kFirst, as_bytes("one"), Protection::plain));
  ASSERT_TRUE(store->write(kFirst, as_bytes("two"), Protection::plain));
  auto again = Store::open(std::make_unique<BorrowedDevice>(device), Container::raw);
  EXPECT_EQ(as_text(*again->read(kFirst)), "two");
}

TEST(Open, TellsTheConditionsApart) {
  const auto condition = [](Bytes bytes) {
    MemoryDevice device(std::move(bytes));
    return Store::examine(device, Container::fixed_vhd)->condition;
  };
  EXPECT_EQ(condition({}), Condition::empty);
  EXPECT_EQ(condition(Bytes(64 * kBlockSize)), Condition::empty);
  EXPECT_EQ(condition(Bytes(511)), Condition::corrupt);
  MemoryDevice device = blank_device();
  { format_on(device); }
  EXPECT_EQ(condition(device.content()), Condition::valid);
  Bytes cut = device.content();
  cut.resize(cut.size() - 512);
  EXPECT_EQ(condition(cut), Condition::corrupt);
  Bytes longer = device.content();
  longer.resize(longer.size() + 512);
  EXPECT_EQ(condition(longer), Condition::corrupt);
  for (const std::size_t offset : {std::size_t{0}, std::size_t{8}, std::size_t{20}, std::size_t{16},
                                   std::size_t{36}, std::size_t{167}}) {
    Bytes damaged = device.content();
    damaged[offset] ^= std::byte{1};
    EXPECT_EQ(condition(damaged), Condition::invalid_format) << offset;
  }
  for (const std::size_t offset : {std::size_t{0}, std::size_t{13}, std::size_t{50}, std::size_t{60},
                                   std::size_t{67}, std::size_t{511}}) {
    Bytes damaged = device.content();
    damaged[kTestBlocks * kBlockSize + offset] ^= std::byte{1};
    EXPECT_EQ(condition(damaged), Condition::corrupt) << "footer byte " << offset;
  }
}

TEST(Open, RefusesOverlappingFilesAndATableThatDeniesItself) {
  MemoryDevice device = blank_device();
  {
    Store store = format_on(device);
    ASSERT_TRUE(store.write(kFirst, pattern(5000, 1), Protection::plain));
    ASSERT_TRUE(store.write(kSecond, pattern(5000, 2), Protection::plain));
  }
  const Store store = open_on(device);
  const std::uint32_t header = store.info().active_header * 512;
  const std::size_t table = std::size_t{load_le32(device.content(), header + 24)} * kBlockSize;
  const auto refusal = [&](std::size_t entry, std::size_t field, std::uint32_t value) {
    Bytes bytes = device.content();
    store_le32(bytes, table + 64 * entry + field, value);
    MemoryDevice changed(std::move(bytes));
    const auto opened = try_open_on(changed);
    return opened ? std::string("opened") : opened.error().message;
  };
  const std::uint32_t first_block = store.query(kFirst)->block;
  EXPECT_THAT(refusal(41, 0, first_block + 1), HasSubstr("overlap"));
  EXPECT_THAT(refusal(41, 0, first_block), HasSubstr("overlap"));
  EXPECT_THAT(refusal(41, 0, load_le32(device.content(), header + 24)), HasSubstr("overlap"));
  EXPECT_THAT(refusal(0, 0, 9), HasSubstr("says that it is"));
  EXPECT_THAT(refusal(0, 4, 2), HasSubstr("says that it is"));
  EXPECT_THAT(refusal(41, 0, 1), HasSubstr("outside"));
  EXPECT_THAT(refusal(41, 0, kTestBlocks), HasSubstr("outside"));
  EXPECT_THAT(refusal(41, 4, 0xffffffff), HasSubstr("outside"));
  EXPECT_THAT(refusal(41, 8, 2 * kBlockSize + 1), HasSubstr("holds 8193 bytes in 2 blocks"));
  EXPECT_THAT(refusal(41, 12, 1), HasSubstr("bytes in 2 blocks"));
  EXPECT_EQ(refusal(41, 8, 2 * kBlockSize), "opened");
}

TEST(Write, KeepsFilesOfAllSizesAcrossReopening) {
  MemoryDevice device = blank_device(64);
  test::Content expected;
  {
    Store store = format_on(device);
    ASSERT_TRUE(store.set_first_key(key1()));
    unsigned id = 20;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{511}, std::size_t{512}, std::size_t{4095},
          std::size_t{4096}, std::size_t{4097}, std::size_t{20000}}) {
      const auto plain = static_cast<FileId>(id++);
      const auto sealed = static_cast<FileId>(id++);
      expected[plain] = pattern(size, id);
      ASSERT_TRUE(store.write(plain, expected[plain], Protection::plain));
      if (size == 0) continue;
      expected[sealed] = pattern(size, id + 100);
      ASSERT_TRUE(store.write(sealed, expected[sealed], Protection::encrypted));
    }
    EXPECT_EQ(*content_of(store), expected);
  }
  Store store = open_on(device, key1());
  EXPECT_EQ(*content_of(store), expected);
}

// A header that is lost to a bad sector must not take the state before it along.
TEST(Write, NeverTouchesABlockThatEitherHeaderLeadsTo) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  test::Content previous = *content_of(store);
  for (unsigned round = 0; round < 40; ++round) {
    const test::Content current = *content_of(store);
    ASSERT_TRUE(store.write(FileId{static_cast<std::uint8_t>(40 + round % 3)},
                            pattern(1 + 700 * (round % 7), round), Protection::encrypted));
    Bytes lost = device.content();
    std::fill_n(lost.begin() + static_cast<std::ptrdiff_t>(512 * store.info().active_header), 512,
                std::byte{0xa5});
    MemoryDevice without_newest(std::move(lost));
    Store older = open_on(without_newest, key1());
    EXPECT_EQ(*content_of(older), current) << round;
    EXPECT_FALSE(older.info().other_header_valid);
  }
}

TEST(Write, FlushesBeforeAndAfterTheHeader) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.write(kFirst, as_bytes("settles the header"), Protection::plain));
  device.start_recording();
  ASSERT_TRUE(store.write(kFirst, as_bytes("content"), Protection::plain));
  std::vector<std::string> order;
  for (const auto& operation : device.operations()) {
    order.push_back(operation.flush ? "flush" : operation.offset < 1024 ? "header" : "block");
  }
  EXPECT_EQ(order, (std::vector<std::string>{"block", "block", "flush", "header", "flush"}));
}

// After a failed flush of another process the page cache may hold a header that the disk does not.
TEST(Write, PutsTheHeaderThatWasReadOnTheDiskBeforeTheOtherIsReplaced) {
  MemoryDevice device = blank_device();
  {
    Store store = format_on(device);
    ASSERT_TRUE(store.write(kFirst, as_bytes("one"), Protection::plain));
  }
  Store store = open_on(device);
  const unsigned active = store.info().active_header;
  device.start_recording();
  ASSERT_TRUE(store.write(kFirst, as_bytes("two"), Protection::plain));
  ASSERT_GE(device.operations().size(), 4U);
  EXPECT_EQ(device.operations()[0].offset, active * 512U);
  device.start_recording();
  ASSERT_TRUE(store.write(kFirst, as_bytes("three"), Protection::plain));
  EXPECT_EQ(device.operations().size(), 5U);
}

TEST(Write, ContinuesWhenTheSequenceWraps) {
  MemoryDevice device = blank_device();
  { format_on(device); }
  Bytes bytes = device.content();
  store_le32(bytes, 16, 0xfffffffe);
  store_le32(bytes, 12, 0);
  store_le32(bytes, 12, crc32(ByteSpan(bytes).first(168)));
  MemoryDevice old(std::move(bytes));
  std::uint32_t expected = 0xfffffffe;
  for (int round = 0; round < 5; ++round) {
    Store store = open_on(old);
    EXPECT_EQ(store.info().sequence, expected++);
    ASSERT_TRUE(store.write(kFirst, pattern(10, static_cast<unsigned>(round)), Protection::plain));
    Store again = open_on(old);
    EXPECT_EQ(*again.read(kFirst), pattern(10, static_cast<unsigned>(round)));
  }
  EXPECT_EQ(open_on(old).info().sequence, 3U);
}

TEST(Write, RefusesWhatItCannotKeep) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  EXPECT_EQ(store.write(FileId::file_table, as_bytes("x"), Protection::plain).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(store.write(FileId::extended_file_table, as_bytes("x"), Protection::plain).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(store.write(FileId{64}, as_bytes("x"), Protection::plain).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(store.write(kFirst, as_bytes("x"), Protection::encrypted).error().code, ErrorCode::conflict);
  ASSERT_TRUE(store.set_first_key(key1()));
  EXPECT_EQ(store.write(kFirst, {}, Protection::encrypted).error().code, ErrorCode::invalid_argument);
  ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
  EXPECT_EQ(store.write(kFirst, as_bytes("plain"), Protection::plain).error().code, ErrorCode::conflict);
  EXPECT_EQ(as_text(*store.read(kFirst)), "secret");
  ASSERT_TRUE(store.write(kFirst, as_bytes("plain"), Protection::plain, Overwrite::allow));
  EXPECT_FALSE(store.query(kFirst)->encrypted);
  EXPECT_EQ(as_text(*store.read(kFirst)), "plain");
}

TEST(Write, SaysThatTheStoreIsFullAndChangesNothing) {
  MemoryDevice device = blank_device(8);
  Store store = format_on(device);
  const Bytes before = device.content();
  const Status full = store.write(kFirst, pattern(5 * kBlockSize, 1), Protection::plain);
  EXPECT_EQ(full.error().code, ErrorCode::exhausted);
  EXPECT_THAT(full.error().message, HasSubstr("5 free blocks"));
  EXPECT_EQ(device.content(), before);
  ASSERT_TRUE(store.write(kFirst, pattern(100, 1), Protection::plain)) << "a store that was too full goes on";
}

TEST(Write, AfterAFailureTheOldContentStaysAndNoChangeIsTaken) {
  for (std::size_t operation = 0; operation < 7; ++operation) {
    SCOPED_TRACE(operation);
    MemoryDevice device = blank_device();
    {
      Store store = format_on(device);
      ASSERT_TRUE(store.set_first_key(key1()));
      ASSERT_TRUE(store.write(kFirst, as_bytes("old"), Protection::encrypted));
    }
    auto faulty = std::make_unique<BorrowedDevice>(device);
    BorrowedDevice& control = *faulty;
    Store store = *Store::open(std::move(faulty), Container::fixed_vhd);
    ASSERT_TRUE(store.unlock(key1()));
    control.fail_after(operation, operation % 2 == 0 ? ErrorCode::io_error : ErrorCode::exhausted);
    EXPECT_EQ(store.write(kFirst, as_bytes("new"), Protection::encrypted).error().code,
              operation % 2 == 0 ? ErrorCode::io_error : ErrorCode::exhausted);
    EXPECT_EQ(as_text(*store.read(kFirst)), "old");
    control.fail_after(1000, ErrorCode::io_error);
    const Status next = store.write(kFirst, as_bytes("newer"), Protection::encrypted);
    EXPECT_EQ(next.error().code, ErrorCode::conflict);
    EXPECT_THAT(next.error().describe(), HasSubstr("injected failure"));
    Store again = open_on(device, key1());
    const Bytes found = *again.read(kFirst);
    EXPECT_TRUE(as_text(found) == "old" || as_text(found) == "new");
    EXPECT_TRUE(again.write(kFirst, as_bytes("newer"), Protection::encrypted));
  }
}

TEST(Move, TakesTheSealAlong) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
  ASSERT_TRUE(store.write(kSecond, as_bytes("plain"), Protection::plain));
  EXPECT_EQ(store.move(kFirst, kSecond).error().code, ErrorCode::already_exists);
  EXPECT_EQ(store.move(FileId{50}, kSecond).error().code, ErrorCode::not_found);
  EXPECT_EQ(store.move(kFirst, kFirst).error().code, ErrorCode::invalid_argument);
  ASSERT_TRUE(store.move(kFirst, kSecond, Overwrite::allow));
  Store again = open_on(device, key1());
  EXPECT_FALSE(again.query(kFirst));
  EXPECT_TRUE(again.query(kSecond)->encrypted);
  EXPECT_EQ(as_text(*again.read(kSecond)), "secret");
  EXPECT_TRUE(again.removed_without_key().empty());
}

TEST(Remove, ForgetsTheFileAndFreesItsBlocks) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  const auto free = store.info().free_blocks;
  ASSERT_TRUE(store.write(kFirst, pattern(9000, 1), Protection::plain));
  ASSERT_TRUE(store.remove(kFirst));
  EXPECT_EQ(store.remove(kFirst).error().code, ErrorCode::not_found);
  EXPECT_EQ(store.read(kFirst).error().code, ErrorCode::not_found);
  ASSERT_TRUE(store.touch());
  ASSERT_TRUE(store.touch());
  EXPECT_EQ(store.info().free_blocks, free - 1) << "one block more: the file table of the other header";
  EXPECT_FALSE(open_on(device).query(kFirst));
}

TEST(Remove, WithoutTheKeyIsSeenByWhoHasIt) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
  EXPECT_TRUE(store.removed_without_key().empty());
  Bytes bytes = device.content();
  const std::size_t table =
      std::size_t{load_le32(bytes, store.info().active_header * std::size_t{512} + 24)} * kBlockSize;
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(table + 64 * 40), 64, std::byte{0});
  MemoryDevice changed(std::move(bytes));
  Store robbed = open_on(changed, key1());
  EXPECT_FALSE(robbed.query(kFirst));
  EXPECT_EQ(robbed.removed_without_key(), std::vector<FileId>{kFirst});
}

TEST(Scrub, OverwritesWhatNobodyLeadsTo) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  const std::string marker = "BEFORE-THE-KEY-WAS-SET";
  ASSERT_TRUE(store.write(kFirst, as_bytes(marker), Protection::plain));
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFirst, as_bytes("sealed now"), Protection::encrypted));
  EXPECT_NE(as_text(device.content()).find(marker), std::string_view::npos);
  ASSERT_TRUE(store.scrub());
  EXPECT_EQ(as_text(device.content()).find(marker), std::string_view::npos);
  EXPECT_EQ(as_text(*open_on(device, key1()).read(kFirst)), "sealed now");
}

TEST(FileDevice, AllocatesItsBlocksAndKeepsAStore) {
  std::string path = "/tmp/bootseal-vmgs-device-XXXXXX";
  UniqueFd fd(::mkstemp(path.data()));
  ASSERT_TRUE(fd.valid());
  {
    auto device = FileDevice::create(UniqueFd(::dup(fd.get())), kDefaultBodySize + kFooterSize);
    ASSERT_TRUE(device) << device.error().describe();
    auto store = Store::format(*std::move(device), Container::fixed_vhd);
    ASSERT_TRUE(store) << store.error().describe();
    ASSERT_TRUE(store->write(kFirst, as_bytes("on disk"), Protection::plain));
  }
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), static_cast<off_t>(kDefaultBodySize + kFooterSize))
      << "no holes";
  EXPECT_EQ(FileDevice::create(UniqueFd(::dup(fd.get())), kDefaultBodySize).error().code,
            ErrorCode::already_exists);
  auto device = FileDevice::open(UniqueFd(fd.release()));
  ASSERT_TRUE(device);
  auto store = Store::open(*std::move(device), Container::fixed_vhd);
  EXPECT_EQ(as_text(*store->read(kFirst)), "on disk");
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace bootseal::vmgs
