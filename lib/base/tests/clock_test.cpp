#include "bootseal/base/clock.h"

#include <gtest/gtest.h>

namespace bootseal {
namespace {

TEST(Time, RoundTripsThroughText) {
  const Result<TimePoint> time = parse_time("2026-11-21T20:44:45.123456Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(format_time(*time), "2026-11-21T20:44:45.123456Z");
  EXPECT_EQ(format_time(*parse_time("1970-01-01T00:00:00Z")), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(format_time(*parse_time("2024-02-29T23:59:59.5Z")), "2024-02-29T23:59:59.500000Z");
}

TEST(Time, RefusesWhatIsNotATimeInUtc) {
  for (const std::string_view text :
       {"", "2026-11-21", "2026-11-21T20:44:45", "2026-11-21T20:44:45+01:00", "2026-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T20:44:45.Z", "2026-11-21T20:44:4xZ",
        "2026-11-21T20:44:45.12a456Z"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

}  // namespace
}  // namespace bootseal
