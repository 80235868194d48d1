// Framing and replay, against logs of real machines and the values of independent replayers
// (tests/data/README.md).
#include "bootseal/tpm/event_log.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/crypto/digest.h"
#include "fixtures.h"

namespace bootseal::tpm {
namespace {

using testing::fixture;
using ::testing::HasSubstr;
using testing::manifest;
using testing::vm_runs;

std::string text_of(const json::Value& value) {
  return std::string(value.as_string());
}

Bytes log_bytes(const std::string& name) {
  return fixture("event-logs/" + name + ".bin.gz");
}

// One test for each recorded log.
class RecordedLog : public ::testing::TestWithParam<std::size_t> {
 protected:
  [[nodiscard]] const json::Value& entry() const { return manifest().at("logs").as_array().at(GetParam()); }
};

TEST_P(RecordedLog, ReplaysToTheExpectedValuesOrIsRefused) {
  const auto log = EventLog::parse(log_bytes(text_of(entry().at("name"))));
  if (!entry().at("valid").as_bool()) {
    ASSERT_FALSE(log);
    EXPECT_EQ(log.error().code, ErrorCode::corrupt);
    return;
  }
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(log->crypto_agile(), entry().at("format").as_string() == "agile");
  EXPECT_EQ(log->startup_locality(), entry().at("startup_locality").as_int64());
  EXPECT_EQ(log->padding() != 0, entry().at("padded").as_bool());
  EXPECT_EQ(log->events().size(), static_cast<std::size_t>(entry().at("events").as_int64()));
  std::vector<std::string> banks;
  for (const Algorithm bank : log->banks()) banks.emplace_back(algorithm_name(bank));
  std::vector<std::string> expected_banks;
  for (const json::Value& bank : entry().at("banks").as_array()) expected_banks.push_back(text_of(bank));
  EXPECT_EQ(banks, expected_banks);

  std::uint32_t extended = 0;
  for (const json::Value& pcr : entry().at("registers_extended").as_array()) extended |= 1U << pcr.as_int64();
  const json::Object& not_replayable = entry().at("not_replayable_in_bank").as_object();
  for (const Algorithm bank : log->banks()) {
    const auto replay = log->replay(bank);
    ASSERT_TRUE(replay);
    EXPECT_EQ(replay->extended, extended);
    std::uint32_t gaps = 0;
    if (const json::Value* list = not_replayable.if_contains(algorithm_name(bank))) {
      for (const json::Value& pcr : list->as_array()) gaps |= 1U << pcr.as_int64();
    }
    EXPECT_EQ(replay->without_digest, gaps) << algorithm_name(bank);
    const json::Value* expected = entry().at("expected_pcrs").as_object().if_contains(algorithm_name(bank));
    if (expected == nullptr) continue;
    std::size_t compared = 0;
    for (const auto& [pcr, value] : expected->as_object()) {
      EXPECT_EQ(to_hex(replay->value(static_cast<unsigned>(std::stoul(std::string(pcr))))), text_of(value))
          << algorithm_name(bank) << " PCR " << pcr;
      ++compared;
    }
    EXPECT_EQ(compared, static_cast<std::size_t>(std::popcount(extended & ~gaps)));
  }
}

TEST_P(RecordedLog, IsRefusedOrShorterWhereverItIsCutOff) {
  const Bytes whole = log_bytes(text_of(entry().at("name")));
  const auto log = EventLog::parse(whole);
  if (!log) {
    EXPECT_FALSE(entry().at("valid").as_bool());
    return;
  }
  const std::size_t step = std::max<std::size_t>(1, whole.size() / 200);
  for (std::size_t size = 0; size < whole.size() - log->padding(); size += step) {
    const auto cut = EventLog::parse(ByteSpan(whole).first(size));
    if (cut) {
      EXPECT_LT(cut->events().size(), log->events().size()) << size;
    }
  }
}

std::string log_name(const ::testing::TestParamInfo<std::size_t>& info) {
  std::string name = text_of(manifest().at("logs").as_array().at(info.param).at("name"));
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, RecordedLog, ::testing::Range<std::size_t>(0, 62), log_name);

TEST(RecordedLogs, AreSixtyTwo) {
  EXPECT_EQ(manifest().at("logs").as_array().size(), 62U);
}

// Logs of VMs with this project's firmware; the PCRs were read from their TPMs.
TEST(VmLogs, ReplayToThePcrsOfTheirTpms) {
  std::size_t logs = 0;
  for (const json::Value& run : vm_runs().as_array()) {
    SCOPED_TRACE(text_of(run.at("run")));
    const auto log = EventLog::parse(fixture("vm-logs/" + text_of(run.at("run")) + ".bin.gz"));
    ASSERT_TRUE(log) << log.error().message;
    ++logs;
    EXPECT_EQ(log->events().size(), static_cast<std::size_t>(run.at("log").at("events").as_int64()));
    const auto replay = log->replay(Algorithm::sha256);
    ASSERT_TRUE(replay);
    for (const auto& [pcr, value] : run.at("replayedSha256Pcrs").as_object()) {
      EXPECT_EQ(to_hex(replay->value(static_cast<unsigned>(std::stoul(std::string(pcr))))), text_of(value))
          << pcr;
    }
    const json::Value* read = run.as_object().if_contains("sha256Pcrs");
    if (read == nullptr || !read->is_object()) continue;
    for (const auto& [pcr, value] : read->as_object()) {
      const unsigned index = static_cast<unsigned>(std::stoul(std::string(pcr)));
      bool mismatch = (replay->extended >> index & 1U) == 0;
      for (const json::Value& named : run.at("replayMismatch").as_array()) {
        mismatch |= json::serialize(named).find(std::to_string(index)) != std::string::npos;
      }
      if (!mismatch) {
        EXPECT_EQ(to_hex(replay->value(index)), text_of(value)) << "PCR " << index;
      }
    }
  }
  EXPECT_EQ(logs, 25U);
}

// A small agile log made here, to be broken in one place each.
using Algorithms = std::vector<std::pair<std::uint16_t, std::uint16_t>>;
class LogBuilder {
 public:
  explicit LogBuilder(const Algorithms& algorithms = {{0x0004, 20}, {0x000B, 32}},
                      std::string_view vendor = {}) {
    ByteWriter spec;
    spec.text(std::string_view("Spec ID Event03\0", 16)).le32(0).u8(0).u8(2).u8(0).u8(2);
    spec.le32(static_cast<std::uint32_t>(algorithms.size()));
    for (const auto& [id, size] : algorithms) spec.le16(id).le16(size);
    spec.u8(static_cast<std::uint8_t>(vendor.size())).text(vendor);
    log_.le32(0).le32(3).fill(20).le32(static_cast<std::uint32_t>(spec.size())).bytes(spec.view());
  }
  struct Digest {
    std::uint16_t algorithm;
    Bytes value;
  };
  LogBuilder& event(std::uint32_t pcr, std::uint32_t type, const std::vector<Digest>& digests,
                    ByteSpan data) {
    log_.le32(pcr).le32(type).le32(static_cast<std::uint32_t>(digests.size()));
    for (const Digest& digest : digests) log_.le16(digest.algorithm).bytes(digest.value);
    log_.le32(static_cast<std::uint32_t>(data.size())).bytes(data);
    return *this;
  }
  ByteWriter& raw() { return log_; }
  Result<EventLog> parse() { return EventLog::parse(log_.view()); }

 private:
  ByteWriter log_;
};

const LogBuilder::Digest kSha1One{0x0004, Bytes(20, std::byte{1})};
const LogBuilder::Digest kSha256One{0x000B, Bytes(32, std::byte{1})};

void expect_refused(const Result<EventLog>& log, ErrorCode code, const char* message) {
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code, code);
  EXPECT_THAT(log.error().message, HasSubstr(message));
}

TEST(EventLog, TakesFewerDigestsThanBanksAndSaysWhichPcrCannotBeReplayed) {
  const auto log =
      LogBuilder().event(4, 4, {kSha1One, kSha256One}, {}).event(11, 13, {kSha256One}, {}).parse();
  ASSERT_TRUE(log) << log.error().message;
  const auto sha1 = log->replay(Algorithm::sha1);
  ASSERT_TRUE(sha1);
  EXPECT_TRUE(sha1->not_replayable(11));
  EXPECT_TRUE(sha1->value(11).empty());
  EXPECT_FALSE(sha1->not_replayable(4));
  const auto sha256 = log->replay(Algorithm::sha256);
  EXPECT_EQ(to_hex(sha256->value(11)),
            to_hex(crypto::digest(crypto::HashAlgorithm::sha256, {Bytes(32), kSha256One.value})));
  EXPECT_EQ(log->replay(Algorithm::sha384).error().code, ErrorCode::unsupported);
}

TEST(EventLog, StartsPcrZeroAtTheLocalityThatWasTold) {
  Bytes told = to_bytes(std::string_view("StartupLocality\0\3", 17));
  const auto log = LogBuilder()
                       .event(0, 3, {kSha256One}, told)
                       .event(0, 8, {kSha256One}, {})
                       .event(1, 8, {kSha256One}, {})
                       .parse();
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(log->startup_locality(), 3);
  Bytes start(32);
  start.back() = std::byte{3};
  const auto replay = log->replay(Algorithm::sha256);
  EXPECT_EQ(to_hex(replay->value(0)),
            to_hex(crypto::digest(crypto::HashAlgorithm::sha256, {start, kSha256One.value})));
  EXPECT_EQ(to_hex(replay->value(1)),
            to_hex(crypto::digest(crypto::HashAlgorithm::sha256, {Bytes(32), kSha256One.value})));
}

TEST(EventLog, RefusesALocalityThatComesLateTwiceOrMalformed) {
  const Bytes told = to_bytes(std::string_view("StartupLocality\0\3", 17));
  expect_refused(LogBuilder().event(0, 8, {kSha256One}, {}).event(0, 3, {}, told).parse(), ErrorCode::corrupt,
                 "StartupLocality");
  expect_refused(LogBuilder().event(0, 3, {}, told).event(0, 3, {}, told).parse(), ErrorCode::corrupt,
                 "StartupLocality");
  expect_refused(LogBuilder().event(0, 3, {}, ByteSpan(told).first(16)).parse(), ErrorCode::corrupt,
                 "StartupLocality");
  Bytes two = told;
  two.back() = std::byte{2};
  expect_refused(LogBuilder().event(0, 3, {}, two).parse(), ErrorCode::corrupt, "StartupLocality 2");
}

TEST(EventLog, NeverExtendsNoActionEvents) {
  const auto log =
      LogBuilder().event(7, 3, {kSha256One}, as_bytes("told")).event(0xFFFFFFFF, 3, {}, {}).parse();
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(log->replay(Algorithm::sha256)->extended, 0U);
}

TEST(EventLog, RefusesDigestsThatTheHeaderDoesNotList) {
  expect_refused(LogBuilder().event(1, 4, {{0x000C, Bytes(48)}}, {}).parse(), ErrorCode::corrupt,
                 "does not list");
  expect_refused(LogBuilder().event(1, 4, {{0x0027, Bytes(32)}}, {}).parse(), ErrorCode::unsupported,
                 "0x0027");
  expect_refused(LogBuilder().event(1, 4, {kSha256One, kSha256One}, {}).parse(), ErrorCode::corrupt,
                 "two sha256");
  expect_refused(LogBuilder().event(1, 4, {kSha1One, kSha256One, kSha1One}, {}).parse(), ErrorCode::corrupt,
                 "3 digests");
}

TEST(EventLog, RefusesABadHeader) {
  expect_refused(LogBuilder(Algorithms{}).parse(), ErrorCode::corrupt, "0 hash algorithms");
  expect_refused(LogBuilder(Algorithms{{0x000B, 31}}).parse(), ErrorCode::corrupt, "31 bytes");
  expect_refused(LogBuilder(Algorithms{{0x000B, 32}, {0x000B, 32}}).parse(), ErrorCode::corrupt, "twice");
  expect_refused(LogBuilder(Algorithms{{0x0027, 32}}).parse(), ErrorCode::unsupported, "0x0027");
  EXPECT_TRUE(LogBuilder(Algorithms{{0x000B, 32}}, "vendor").parse());
}

TEST(EventLog, RefusesPcrsThatDoNotExist) {
  expect_refused(LogBuilder().event(24, 4, {kSha256One}, {}).parse(), ErrorCode::corrupt, "no PCR 24");
  expect_refused(LogBuilder().event(0xFFFFFFFF, 4, {kSha256One}, {}).parse(), ErrorCode::corrupt, "no PCR");
}

TEST(EventLog, RefusesSizesPastTheEndWithoutAskingForMemory) {
  LogBuilder builder;
  builder.raw().le32(1).le32(4).le32(0).le32(0xFFFFFFFF);
  expect_refused(builder.parse(), ErrorCode::corrupt, "offset 69");
}

TEST(EventLog, BoundsTheSizeAndTheNumberOfEvents) {
  expect_refused(EventLog::parse(Bytes(EventLog::kMaximumSize + 1)), ErrorCode::exhausted,
                 "more than 2097152");
  LogBuilder builder;
  for (std::size_t i = 0; i <= EventLog::kMaximumEvents; ++i) builder.event(1, 4, {}, Bytes(1, std::byte{9}));
  expect_refused(builder.parse(), ErrorCode::exhausted, "more than 16384 events");
}

TEST(EventLog, ToleratesPaddingOfOneKindOnly) {
  LogBuilder builder;
  builder.event(1, 4, {kSha256One}, {});
  builder.raw().fill(64, std::byte{0xFF});
  EXPECT_EQ(builder.parse()->padding(), 64U);
  builder.raw().fill(1);
  EXPECT_FALSE(builder.parse());
}

}  // namespace
}  // namespace bootseal::tpm
