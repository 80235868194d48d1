#include "bootseal/model/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace bootseal::model {
namespace {

const std::vector<std::string_view> kMembers = {"name", "resourceType", "location", "tagName", "tagValue"};

struct Thing final : Filter::Subject {
  std::map<std::string, std::string> members, tags;
  std::string member(std::string_view name) const override {
    const auto found = members.find(std::string(name));
    return found == members.end() ? std::string() : found->second;
  }
  bool has_tag(std::string_view name, const std::string* value) const override {
    const auto found = tags.find(std::string(name));
    return found != tags.end() && (value == nullptr || *value == found->second);
  }
  bool call(std::string_view function, const std::vector<std::string>& arguments) const override {
    return function == "atScope" && arguments.empty();
  }
};

Thing vm() {
  Thing thing;
  thing.members = {
      {"name", "Vm'1"}, {"resourceType", "Microsoft.Compute/virtualMachines"}, {"location", "local"}};
  thing.tags = {{"a", "1"}, {"b", "2"}};
  return thing;
}

bool matches(std::string_view text) {
  const auto filter = Filter::parse(text, kMembers, {"atScope"});
  EXPECT_TRUE(filter) << text << ": " << filter.error().message;
  return filter && filter->matches(vm());
}

TEST(Filter, ComparesWithoutRegardToCaseAndJoins) {
  EXPECT_TRUE(matches(""));
  EXPECT_TRUE(matches("resourceType eq 'microsoft.compute/virtualmachines'"));
  EXPECT_TRUE(matches("NAME eq 'vm''1' AND location eq 'Local'"));
  EXPECT_FALSE(matches("name eq 'vm1'"));
  EXPECT_TRUE(matches("name ne 'vm1'"));
  EXPECT_TRUE(matches("name eq 'x' or location eq 'local'"));
  // `and` binds more tightly than `or`.
  EXPECT_TRUE(matches("location eq 'local' or name eq 'x' and name eq 'y'"));
  EXPECT_FALSE(matches("(location eq 'local' or name eq 'x') and name eq 'y'"));
  EXPECT_TRUE(matches("not (name eq 'x')"));
  EXPECT_TRUE(matches("substringof('COMPUTE', resourceType)"));
  EXPECT_FALSE(matches("substringof('network', resourceType)"));
  EXPECT_TRUE(matches("atScope() and name gt 'a' and name lt 'w'"));
}

TEST(Filter, ATagsNameAndValueBelongTogether) {
  EXPECT_TRUE(matches("tagName eq 'a'"));
  EXPECT_FALSE(matches("tagName ne 'a'"));
  EXPECT_TRUE(matches("tagName eq 'a' and tagValue eq '1'"));
  EXPECT_FALSE(matches("tagName eq 'a' and tagValue eq '2'"));
  EXPECT_TRUE(matches("tagValue eq '2' and location eq 'local' and tagName eq 'b'"));
}

TEST(Filter, SaysWhatAListCanBeNarrowedDownBy) {
  const auto filter =
      Filter::parse("name ge 'a' and resourceType eq 'T' and (location eq 'x' or location eq 'y')", kMembers)
          .value();
  EXPECT_EQ(filter.required("resourceType"), "T");
  EXPECT_EQ(filter.required("name", Filter::Operator::greater_or_equal), "a");
  EXPECT_EQ(filter.required("name"), "");
  EXPECT_EQ(filter.required("location"), "");
  EXPECT_EQ(Filter::parse("not (resourceType eq 'T')", kMembers).value().required("resourceType"), "");
}

TEST(Filter, RefusesWhatItDoesNotUnderstandAndSaysWhere) {
  for (const char* text :
       {"name", "name eq", "name eq 'x", "name like 'x'", "eq 'x'", "size eq '1'", "name eq 'x' name eq 'y'",
        "(name eq 'x'", "name eq 'x')", "name eq 'x' and", "substringof('x')", "substringof('x', size)",
        "startswith('x', name)", "name eq 'x' ; drop", "atScope(", "not"}) {
    const auto filter = Filter::parse(text, kMembers, {"atScope"});
    ASSERT_FALSE(filter) << text;
    EXPECT_EQ(filter.error().code, "InvalidFilterInQueryString") << text;
    EXPECT_THAT(filter.error().message, ::testing::HasSubstr("at character")) << text;
  }
  EXPECT_FALSE(Filter::parse(std::string(100, '(') + "name eq 'x'" + std::string(100, ')'), kMembers));
  EXPECT_FALSE(Filter::parse("name eq '" + std::string(3000, 'x') + "'", kMembers));
}

TEST(Filter, IsWrittenAsItIsUnderstood) {
  const auto filter = Filter::parse("name eq 'it''s' and tagName eq 'a' and tagValue eq 'b' or atScope()",
                                    kMembers, {"atScope"});
  ASSERT_TRUE(filter);
  EXPECT_EQ(filter->to_string(), "((name eq 'it''s' and (tagName eq 'a' and tagValue eq 'b')) or atScope())");
}

}  // namespace
}  // namespace bootseal::model
