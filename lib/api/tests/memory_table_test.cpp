#include "memory_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bootseal::api {
namespace {

using ::testing::ElementsAre;

// A record is its text; "bad" cannot be read. Its label is its first letter.
Result<std::string> parse(const store::Entry& entry) {
  if (entry.value == "bad") return fail(ErrorCode::corrupt, entry.key + " is damaged");
  return entry.value;
}

class MemoryTableTest : public ::testing::Test {
 protected:
  std::unique_ptr<store::Store> store_ = store::make_memory_store({.kept_changes = 4});
  MemoryTable<std::string> table_{*store_, "t", parse,
                                  [](const std::string& text) { return std::vector{text.substr(0, 1)}; }};

  void put(const std::string& key, const std::string& value) { ASSERT_TRUE(store_->put(key, value)); }
  std::vector<std::string> list(std::string_view begin = {}) {
    const auto found = table_.list(begin);
    EXPECT_TRUE(found);
    std::vector<std::string> texts;
    for (const auto& one : *found) texts.push_back(*one);
    return texts;
  }
  std::vector<std::string> labelled(const std::string& label, std::string_view begin = {}) {
    std::vector<std::string> texts;
    const auto found = table_.labelled(label, begin);
    EXPECT_TRUE(found);
    for (const auto& one : *found) texts.push_back(*one);
    return texts;
  }
};

TEST_F(MemoryTableTest, EveryReadSeesWhatWasWrittenBeforeIt) {
  put("t/a", "x1");
  EXPECT_THAT(list(), ElementsAre("x1"));
  put("t/b", "y1");
  put("u/c", "elsewhere");
  EXPECT_THAT(list(), ElementsAre("x1", "y1"));
  put("t/a", "y2");
  EXPECT_EQ(*table_.get("/a").value(), "y2");
  EXPECT_THAT(labelled("y"), ElementsAre("y2", "y1"));
  EXPECT_THAT(labelled("x"), ElementsAre());
  EXPECT_THAT(labelled("y", "/b"), ElementsAre("y1"));
  ASSERT_TRUE(store_->remove("t/b"));
  EXPECT_EQ(table_.get("/b").value(), nullptr);
  EXPECT_THAT(labelled("y"), ElementsAre("y2"));
}

TEST_F(MemoryTableTest, IsReadAnewWhenItHasMissedMoreThanTheStoreKeeps) {
  put("t/a", "x1");
  EXPECT_THAT(list(), ElementsAre("x1"));
  for (int i = 0; i < 50; ++i) put("t/b" + std::to_string(i % 3), "y" + std::to_string(i));
  ASSERT_TRUE(store_->remove("t/a"));
  EXPECT_THAT(list(), ElementsAre("y48", "y49", "y47"));
  EXPECT_THAT(labelled("x"), ElementsAre());
}

TEST_F(MemoryTableTest, ADamagedRecordIsReportedAndHidesNoOther) {
  put("t/a", "x1");
  put("t/b", "bad");
  EXPECT_EQ(table_.get("/b").error().code, ErrorCode::corrupt);
  EXPECT_EQ(*table_.get("/a").value(), "x1");
  EXPECT_FALSE(table_.list());
  put("t/b", "x2");
  EXPECT_THAT(list(), ElementsAre("x1", "x2"));
}

TEST_F(MemoryTableTest, HoldsMoreThanOnePageOfTheStore) {
  for (int i = 0; i < 2500; ++i) put("t/" + std::to_string(10000 + i), "x" + std::to_string(i));
  EXPECT_EQ(list().size(), 2500U);
  EXPECT_EQ(list("/1249").size(), 10U);
}

}  // namespace
}  // namespace bootseal::api
