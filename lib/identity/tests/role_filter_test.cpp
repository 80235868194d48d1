#include "bootseal/identity/role_filter.h"

#include <gtest/gtest.h>

namespace bootseal::identity {
namespace {

TEST(RoleFilter, ReadsTheFiltersThatClientsSend) {
  const auto terms = parse_role_filter("atScope() and principalId eq '1111' and assignedTo('x''y')");
  ASSERT_TRUE(terms) << terms.error().message;
  ASSERT_EQ(terms->size(), 3U);
  EXPECT_EQ((*terms)[0].name, "atScope");
  EXPECT_TRUE((*terms)[0].function);
  EXPECT_EQ((*terms)[1].name, "principalId");
  EXPECT_EQ((*terms)[1].value, "1111");
  EXPECT_FALSE((*terms)[1].function);
  EXPECT_EQ((*terms)[2].value, "x'y");
  EXPECT_EQ(parse_role_filter("roleName eq 'Virtual Machine Contributor'")->front().value,
            "Virtual Machine Contributor");
  EXPECT_EQ(parse_role_filter("principalId eq 1-2")->front().value, "1-2");
}

TEST(RoleFilter, RefusesWhatIsNone) {
  for (const char* text : {"", "and", "a", "a eq", "a eq 'x", "a ne 'x'", "a() or b()", "a(", "a('x'",
                           "a eq 'x' and", "a eq 'x' b eq 'y'", "('x')"})
    EXPECT_FALSE(parse_role_filter(text)) << text;
  std::string many = "a()";
  for (int i = 0; i < 8; ++i) many += " and a()";
  EXPECT_FALSE(parse_role_filter(many));
  EXPECT_FALSE(parse_role_filter("a eq '" + std::string(2048, 'x') + "'"));
}

}  // namespace
}  // namespace bootseal::identity
