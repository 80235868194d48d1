#include "bootseal/base/ids.h"

#include <gtest/gtest.h>

namespace bootseal {
namespace {

TEST(Guid, RoundTripsThroughTextInLowerCase) {
  const auto guid = Guid::parse("6BA7B810-9dad-11d1-80b4-00C04FD430C8");
  ASSERT_TRUE(guid);
  EXPECT_EQ(guid->to_string(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
}

TEST(Guid, WindowsLayoutHasTheFirstThreeFieldsLittleEndian) {
  const Guid guid = *Guid::parse("8be4df61-93ca-11d2-aa0d-00e098032b8c");
  EXPECT_EQ(to_hex(guid.windows_layout()), "61dfe48bca93d211aa0d00e098032b8c");
  EXPECT_EQ(Guid::from_windows_layout(guid.windows_layout()), guid);
}

TEST(Guid, RefusesOtherText) {
  for (const std::string_view text :
       {"", "6ba7b810", "6ba7b810-9dad-11d1-80b4-00c04fd430cx", "6ba7b8109-dad-11d1-80b4-00c04fd430c8",
        "{ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4--0c04fd430c8"}) {
    EXPECT_FALSE(Guid::parse(text)) << text;
  }
}

TEST(Guid, RandomOnesDiffer) {
  EXPECT_NE(Guid::random(), Guid::random());
}

TEST(ResourceName, AllowsWhatMayStandInAPath) {
  for (const std::string_view name : {"demo", "a", "vm-01.prod_x", "A9"})
    EXPECT_TRUE(is_valid_resource_name(name)) << name;
  for (const std::string_view name : {"", "-a", "a-", ".", "..", "a..b", "a/b", "a b", "a\n"})
    EXPECT_FALSE(is_valid_resource_name(name)) << name;
  EXPECT_FALSE(is_valid_resource_name(std::string(65, 'a')));
}

}  // namespace
}  // namespace bootseal
