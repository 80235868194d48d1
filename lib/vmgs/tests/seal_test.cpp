// What encryption is worth, seen by a decoder of its own: keys are fresh, the wrong one opens nothing,
// nothing leaks.
#include <gtest/gtest.h>

#include "decoder.h"
#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::blank_device;
using test::decode;
using test::Decoded;
using test::format_on;
using test::key1;
using test::key2;
using test::open_on;
using test::pattern;
using Octets = std::vector<std::uint8_t>;

constexpr FileId kFile{40};
constexpr int kFileNumber = 40;

Octets octets(ByteSpan bytes) {
  Octets result;
  for (const std::byte byte : bytes) result.push_back(std::to_integer<std::uint8_t>(byte));
  return result;
}

bool occurs(const Octets& image, const Octets& part) {
  return std::search(image.begin(), image.end(), part.begin(), part.end()) != image.end();
}

// No run of eight bytes of the secret stands anywhere in the image.
void expect_hidden(const Octets& image, const Octets& secret, const std::string& what) {
  for (std::size_t at = 0; at + 8 <= secret.size(); ++at) {
    const Octets part(secret.begin() + static_cast<std::ptrdiff_t>(at),
                      secret.begin() + static_cast<std::ptrdiff_t>(at + 8));
    ASSERT_FALSE(occurs(image, part)) << what << ", at its byte " << at;
  }
}

Decoded decoded(const MemoryDevice& device, const Bytes& key) {
  auto result = decode(octets(device.content()), octets(key));
  if (!result) ADD_FAILURE() << "the independent decoder cannot open the store";
  return result.value_or(Decoded{});
}

TEST(Seal, TheIndependentDecoderReadsTheSampleOfTheReferenceImplementation) {
  for (const std::string name :
       {"encrypted-key1.vmgs", "independent-writer-enc-key1.vmgs", "legacy-no-attrs-in-file-table.vmgs"}) {
    const auto result = decode(octets(test::sample(name)), octets(key1()));
    ASSERT_TRUE(result) << name;
    EXPECT_EQ(result->files.at(1).content->size(), 479U);
    EXPECT_EQ(result->files.at(3).content->size(), 32768U);
    EXPECT_FALSE(decode(octets(test::sample(name)), octets(key2())));
  }
}

TEST(Seal, ContentIsReadByTheIndependentDecoder) {
  MemoryDevice device = blank_device(48);
  Store store = format_on(device);
  const Bytes key = pattern(kKeySize, 77);
  ASSERT_TRUE(store.set_first_key(key));
  for (const std::size_t size : {std::size_t{1}, std::size_t{15}, std::size_t{4096}, std::size_t{30000}}) {
    const Bytes content = pattern(size, static_cast<unsigned>(size));
    ASSERT_TRUE(store.write(kFile, content, Protection::encrypted));
    EXPECT_EQ(decoded(device, key).files.at(kFileNumber).content, octets(content));
  }
  ASSERT_TRUE(store.update_key(key2()));
  EXPECT_FALSE(decode(octets(device.content()), octets(key)));
  EXPECT_EQ(decoded(device, key2()).files.at(kFileNumber).content, octets(pattern(30000, 30000)));
}

TEST(Seal, EveryWriteHasKeysAndNoncesOfItsOwn) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  std::vector<Decoded> states;
  for (int round = 0; round < 8; ++round) {
    ASSERT_TRUE(store.write(kFile, as_bytes("the same content each time"), Protection::encrypted));
    states.push_back(decoded(device, key1()));
  }
  ASSERT_TRUE(store.touch());
  states.push_back(decoded(device, key1()));
  for (std::size_t a = 0; a < states.size(); ++a) {
    EXPECT_NE(states[a].metadata_key, Octets(32));
    EXPECT_NE(states[a].files.at(kFileNumber).key, Octets(32));
    for (std::size_t b = 0; b < a; ++b) {
      EXPECT_NE(states[a].metadata_key, states[b].metadata_key);
      EXPECT_NE(states[a].header_nonce, states[b].header_nonce);
      EXPECT_NE(states[a].stored_table, states[b].stored_table);
      if (a + 1 == states.size()) continue;  // touch() leaves the file as it is
      EXPECT_NE(states[a].files.at(kFileNumber).key, states[b].files.at(kFileNumber).key);
      EXPECT_NE(states[a].files.at(kFileNumber).nonce, states[b].files.at(kFileNumber).nonce);
      EXPECT_NE(states[a].files.at(kFileNumber).stored, states[b].files.at(kFileNumber).stored);
    }
  }
}

TEST(Seal, NoKeyAndNoContentStandsInTheClear) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  const Bytes first = pattern(kKeySize, 1);
  const Bytes second = pattern(kKeySize, 2);
  ASSERT_TRUE(store.set_first_key(first));
  std::vector<Decoded> states;
  const Bytes content = pattern(3000, 3);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(store.write(kFile, content, Protection::encrypted));
    states.push_back(decoded(device, first));
  }
  ASSERT_TRUE(store.update_key(second));
  const Octets image = octets(device.content());
  expect_hidden(image, octets(first), "the first key");
  expect_hidden(image, octets(second), "the second key");
  expect_hidden(image, octets(content), "the content");
  for (const Decoded& state : states) {
    expect_hidden(image, state.metadata_key, "a metadata key");
    expect_hidden(image, state.files.at(kFileNumber).key, "a file key");
  }
}

// Neither through the active header nor, when that is made unreadable, through the other one.
TEST(Seal, AReplacedKeyOpensNeitherHeader) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFile, as_bytes("secret"), Protection::encrypted));
  ASSERT_TRUE(store.update_key(key2()));
  const unsigned active = store.info().active_header;
  for (const unsigned hidden : {1 - active, active}) {
    Octets image = octets(device.content());
    std::fill_n(image.begin() + 512 * static_cast<std::ptrdiff_t>(hidden), 512, std::uint8_t{0xa5});
    EXPECT_TRUE(decode(image, octets(key2())));
    EXPECT_FALSE(decode(image, octets(key1())));
  }
}

TEST(Seal, NoOtherKeyOpensAnything) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFile, as_bytes("secret"), Protection::encrypted));
  for (std::size_t bit = 0; bit < 8 * kKeySize; ++bit) {
    Bytes close = key1();
    close[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_EQ(test::try_open_on(device, close).error().code, ErrorCode::permission_denied);
    EXPECT_FALSE(decode(octets(device.content()), octets(close)));
  }
}

// One flipped bit anywhere in what the key protects is noticed, in the very file that it is in.
TEST(Seal, EveryFlippedBitIsNoticed) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  const FileId other{41};
  ASSERT_TRUE(store.write(other, as_bytes("untouched"), Protection::encrypted));
  ASSERT_TRUE(store.write(kFile, pattern(600, 1), Protection::encrypted));
  const std::size_t begin = std::size_t{store.query(kFile)->block} * kBlockSize;
  for (std::size_t bit = 0; bit < 8U * 600; bit += 37) {
    Bytes bytes = device.content();
    bytes[begin + bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    MemoryDevice changed(std::move(bytes));
    Store opened = open_on(changed, key1());
    EXPECT_EQ(opened.read(kFile).error().code, ErrorCode::corrupt);
    EXPECT_EQ(as_text(*opened.read(other)), "untouched");
  }
  const Decoded state = decoded(device, key1());
  const Octets image = octets(device.content());
  const auto found =
      std::search(image.begin(), image.end(), state.stored_table.begin(), state.stored_table.end());
  const auto table = static_cast<std::size_t>(found - image.begin());
  for (std::size_t bit = 0; bit < std::size_t{8} * kBlockSize; bit += 613) {
    Bytes bytes = device.content();
    bytes[table + bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    MemoryDevice changed(std::move(bytes));
    EXPECT_EQ(test::try_open_on(changed, key1()).error().code, ErrorCode::corrupt);
  }
}

// Content, nonce and tag of an older version of a file, put back by somebody without the key.
TEST(Seal, AnOlderVersionOfOneFileIsNotAccepted) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  const auto table_of = [](const Store& opened, const Bytes& bytes) {
    return std::size_t{load_le32(bytes, opened.info().active_header * std::size_t{512} + 24)} * kBlockSize;
  };
  ASSERT_TRUE(store.write(kFile, as_bytes("version 1"), Protection::encrypted));
  const Bytes older = device.content();
  const std::size_t older_table = table_of(store, older);
  ASSERT_TRUE(store.write(kFile, as_bytes("version 2"), Protection::encrypted));
  Bytes mixed = device.content();
  const std::size_t table = table_of(store, mixed);
  const std::size_t older_block = load_le32(older, older_table + 64 * 40);
  std::copy_n(older.begin() + static_cast<std::ptrdiff_t>(older_table + 64 * 40), 64,
              mixed.begin() + static_cast<std::ptrdiff_t>(table + 64 * 40));
  std::copy_n(older.begin() + static_cast<std::ptrdiff_t>(older_block * kBlockSize), kBlockSize,
              mixed.begin() + static_cast<std::ptrdiff_t>(older_block * kBlockSize));
  MemoryDevice device_of_attacker(std::move(mixed));
  Store opened = open_on(device_of_attacker, key1());
  EXPECT_EQ(opened.read(kFile).error().code, ErrorCode::corrupt);
}

// Stores of a faulty release: the file keys can be read by anybody until the first change.
TEST(Seal, AStoreWithAZeroMetadataKeyIsSealedAgainByTheFirstChange) {
  const Octets before = octets(test::sample("zero-metadata-key.vmgs"));
  const auto leaked = decode(before, octets(key1()));
  ASSERT_TRUE(leaked);
  ASSERT_EQ(leaked->metadata_key, Octets(32)) << "the sample is what it claims";
  ASSERT_EQ(leaked->files.size(), 2U);

  MemoryDevice device(test::sample("zero-metadata-key.vmgs"));
  Store store = open_on(device, key1());
  EXPECT_TRUE(store.info().zero_metadata_key);
  ASSERT_TRUE(store.write(kFile, as_bytes("first change"), Protection::encrypted));
  EXPECT_FALSE(store.info().zero_metadata_key);

  const Octets image = octets(device.content());
  const Decoded after = decoded(device, key1());
  EXPECT_NE(after.metadata_key, Octets(32));
  for (const auto& [id, file] : leaked->files) {
    EXPECT_EQ(after.files.at(id).content, file.content);
    EXPECT_NE(after.files.at(id).key, file.key);
    const Octets start(file.stored.begin(), file.stored.begin() + 64);
    EXPECT_TRUE(occurs(before, start));
    EXPECT_FALSE(occurs(image, start)) << "what a leaked key opens is overwritten";
  }
  EXPECT_FALSE(occurs(image, leaked->stored_table));
}

}  // namespace
}  // namespace bootseal::vmgs
