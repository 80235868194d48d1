#include "bootseal/identity/form.h"

#include <gtest/gtest.h>

namespace bootseal::identity {
namespace {

TEST(Form, ReadsTheTokenRequestThatAzSends) {
  const auto form = Form::parse(
      "client_id=app&grant_type=client_credentials&client_info=1&client_secret=a%2Bb%25+c&claims=%7B%"
      "22access_"
      "token%22%3A+%7B%22xms_cc%22%3A+%7B%22values%22%3A+%5B%22CP1%22%5D%7D%7D%7D&scope=https%3A%2F%"
      "2Flocalhost%"
      "3A8443%2F.default");
  ASSERT_TRUE(form) << form.error().message;
  EXPECT_EQ(form->get("client_secret"), "a+b% c");
  EXPECT_EQ(form->get("scope"), "https://localhost:8443/.default");
  EXPECT_EQ(form->get("claims"), R"({"access_token": {"xms_cc": {"values": ["CP1"]}}})");
}

TEST(Form, TakesAnEmptyParameterAsLeftOut) {
  const auto form = Form::parse("a=&b&&c=1");
  ASSERT_TRUE(form);
  EXPECT_FALSE(form->get("a"));
  EXPECT_FALSE(form->get("b"));
  EXPECT_FALSE(form->get("d"));
  EXPECT_EQ(form->get_or("a", "x"), "x");
  EXPECT_EQ(form->get("c"), "1");
}

TEST(Form, RefusesWhatIsNoForm) {
  for (const std::string body : {"a=%", "a=%1", "a=%zz", "%0g=1", "a=1&a=2", "a=%00", "a=%ff", "a=b\xc3"})
    EXPECT_FALSE(Form::parse(body)) << body;
  EXPECT_FALSE(Form::parse(std::string(kMaximumFormBytes + 1, 'a')));
  std::string many;
  for (int i = 0; i < 65; ++i) many += "f" + std::to_string(i) + "=1&";
  EXPECT_FALSE(Form::parse(many));
}

TEST(Form, EscapesEverythingThatIsNotUnreserved) {
  EXPECT_EQ(encode_component("aZ09-._~ /?&=+%\xc3\xa9"), "aZ09-._~%20%2F%3F%26%3D%2B%25%C3%A9");
}

}  // namespace
}  // namespace bootseal::identity
