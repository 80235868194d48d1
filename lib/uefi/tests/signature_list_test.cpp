#include "bootseal/uefi/signature_list.h"

#include <gmock/gmock.h>

#include "bootseal/uefi/guids.h"
#include "files.h"

namespace bootseal::uefi {
namespace {

using ::testing::HasSubstr;

Bytes sample(std::string_view name) {
  return read_or_fail(test_data("signature-databases") / name);
}

struct Sample {
  const char* file;
  bool authenticated;
  std::size_t lists, signatures;
};

TEST(SignatureDatabase, ReadsRealDatabases) {
  // Counts as two other implementations give them (provenance: tests/data/README.md).
  const Sample samples[] = {
      {"dbxupdate-2014-08-11.bin", true, 1, 13},
      {"ms-2016-08-08.bin", true, 1, 77},
      {"siglist-1.bin", false, 1, 1},
      {"siglist-2.bin", false, 2, 2},
      {"siglist-3.bin", false, 3, 3},
      {"siglist-4.bin", false, 2, 78},
  };
  for (const Sample& each : samples) {
    const Bytes data = sample(each.file);
    const std::size_t header = authentication_header_size(data);
    EXPECT_EQ(header != 0, each.authenticated) << each.file;
    const Result<SignatureDatabase> database = parse_signature_database(ByteSpan(data).subspan(header));
    ASSERT_TRUE(database) << each.file << ": " << database.error().describe();
    EXPECT_EQ(database->size(), each.lists) << each.file;
    std::size_t signatures = 0;
    for (const SignatureList& list : *database) signatures += list.signatures.size();
    EXPECT_EQ(signatures, each.signatures) << each.file;
    EXPECT_EQ(serialize_signature_database(*database), to_bytes(ByteSpan(data).subspan(header))) << each.file;
  }
}

TEST(SignatureDatabase, RefusesInconsistentSizes) {
  const std::pair<const char*, const char*> broken[] = {
      {"siglist-inconsistent-sizes1.bin", "does not fit"},
      {"siglist-inconsistent-sizes2.bin", "no multiple"},
      {"siglist-invalid-sigheader-size.bin", "does not fit"},
      {"siglist-invalid-signature-size.bin", "owner"},
  };
  for (const auto& [file, message] : broken) {
    const Result<SignatureDatabase> database = parse_signature_database(sample(file));
    ASSERT_FALSE(database) << file;
    EXPECT_EQ(database.error().code, ErrorCode::corrupt) << file;
    EXPECT_THAT(database.error().message, HasSubstr(message)) << file;
  }
}

TEST(SignatureDatabase, RefusesEveryTruncation) {
  const Bytes data = sample("siglist-1.bin");
  for (std::size_t size = 1; size < data.size(); ++size)
    EXPECT_FALSE(parse_signature_database(ByteSpan(data).first(size))) << size;
  EXPECT_TRUE(parse_signature_database({})->empty());
}

TEST(SignatureDatabase, BuildsWhatTheFormatSays) {
  const crypto::Sha256Digest digest = crypto::sha256(as_bytes("image"));
  const SignatureDatabase database = {x509_list(kOwnerMicrosoft, as_bytes("certificate")),
                                      sha256_list(kOwnerBootseal, {digest, crypto::sha256({})})};
  const Bytes data = serialize_signature_database(database);
  EXPECT_EQ(to_hex(ByteSpan(data).first(28)),
            "a159c0a5e494a74a87b5ab155c2bf072"
            "37000000"
            "00000000"
            "1b000000");
  EXPECT_EQ(to_hex(ByteSpan(data).subspan(28, 16)), "bd9afa775903324dbd6028f4e78f784b");
  EXPECT_EQ(as_text(ByteSpan(data).subspan(44, 11)), "certificate");
  EXPECT_EQ(data.size(), 55U + 28 + 96);
  EXPECT_EQ(*parse_signature_database(data), database);

  EXPECT_TRUE(contains_sha256(database, digest));
  EXPECT_FALSE(contains_sha256(database, crypto::sha256(as_bytes("other"))));
  ASSERT_EQ(certificates_of(database).size(), 1U);
  EXPECT_EQ(as_text(certificates_of(database)[0]), "certificate");
}

TEST(SignatureDatabase, RefusesASha256ListOfAnotherSize) {
  Bytes data = serialize_signature_database(
      {sha256_list(kOwnerBootseal, {crypto::sha256({}), crypto::sha256(as_bytes("x"))})});
  store_le32(data, 24, 32);  // 96 bytes of signatures as 3 of 32
  EXPECT_THAT(parse_signature_database(data).error().message, HasSubstr("48 bytes"));
}

TEST(SignatureDatabase, BoundsTheNumberOfEntries) {
  ByteWriter writer;
  const std::uint32_t entries = 65537;
  writer.fill(16).le32(28 + entries * 16).le32(0).le32(16).fill(std::size_t{entries} * 16);
  EXPECT_THAT(parse_signature_database(writer.view()).error().message, HasSubstr("more than 65536"));
}

TEST(SignatureDatabase, LeavesOutListsWithoutEntries) {
  ByteWriter writer;
  writer.bytes(kCertX509.windows_layout()).le32(28).le32(0).le32(48);
  EXPECT_TRUE(parse_signature_database(writer.view())->empty());
}

TEST(AuthenticationHeader, IsOnlySeenWhereItIsWhole) {
  const Bytes data = sample("dbxupdate-2014-08-11.bin");
  const std::size_t size = authentication_header_size(data);
  EXPECT_GT(size, 40U);
  EXPECT_EQ(authentication_header_size(ByteSpan(data).first(size - 1)), 0U);
  EXPECT_EQ(authentication_header_size({}), 0U);
}

}  // namespace
}  // namespace bootseal::uefi
