#include "bootseal/netd/address.h"

#include <gtest/gtest.h>

namespace bootseal::netd {
namespace {

TEST(Address, IsReadAndWrittenAsPeopleWriteIt) {
  EXPECT_EQ(Ipv4Address::parse("10.0.0.4")->value, 0x0a000004U);
  EXPECT_EQ((Ipv4Address{0xffffffff}).to_string(), "255.255.255.255");
  for (const char* wrong : {"", "10.0.0", "10.0.0.4.5", "10.0.0.256", "10.0.0.04", "10.0.0.-1", " 10.0.0.1",
                            "10.0.0.1 ", "10..0.1", "0x0a.0.0.1", "::1", "10.0.0.1000"})
    EXPECT_FALSE(Ipv4Address::parse(wrong)) << wrong;
}

TEST(Network, HasNoBitsBehindItsPrefix) {
  const Ipv4Network network = Ipv4Network::parse("10.1.0.0/16").value();
  EXPECT_TRUE(network.contains({0x0a01ffff}));
  EXPECT_FALSE(network.contains({0x0a020000}));
  EXPECT_EQ(network.to_string(), "10.1.0.0/16");
  EXPECT_EQ(Ipv4Network::parse("203.0.113.7")->prefix, 32U);
  EXPECT_TRUE(Ipv4Network::parse("0.0.0.0/0")->contains({0xffffffff}));
  for (const char* wrong : {"10.1.0.1/16", "10.1.0.0/33", "10.1.0.0/", "10.1.0.0/-1", "10.1.0.0/16/2", "/16"})
    EXPECT_FALSE(Ipv4Network::parse(wrong)) << wrong;
}

TEST(Mac, IsThatOfOneMachine) {
  EXPECT_EQ(MacAddress::parse("00-0D-3A-01-02-03")->to_string(), "00:0d:3a:01:02:03");
  for (const char* wrong : {"", "00:0d:3a:01:02", "00:0d:3a:01:02:0g", "01:00:5e:00:00:01",
                            "ff:ff:ff:ff:ff:ff", "000d3a010203", "00:0d:3a:01:02:03:04", "00.0d.3a.01.02.03"})
    EXPECT_FALSE(MacAddress::parse(wrong)) << wrong;
}

}  // namespace
}  // namespace bootseal::netd
