// The texts of the two command lines.
#include <gmock/gmock.h>
#include <unistd.h>

#include "command_line.h"
#include "key_option.h"
#include "option_string.h"
#include "setup_options.h"

namespace bootseal::swtpm {
namespace {

constexpr OptionRule kRules[] = {{"path", OptionKind::text}, {"port", OptionKind::number},
                                 {"on", OptionKind::truth},  {"mode", OptionKind::mode},
                                 {"uid", OptionKind::user},  {"gid", OptionKind::group}};

TEST(OptionString, ReadsEachKind) {
  const auto options =
      OptionString::parse("path=/a=b,,port=65535,on,mode=0640,uid=root,gid=7,path=second", kRules).value();
  EXPECT_EQ(options.text("path"), "/a=b") << "the first of two counts";
  EXPECT_EQ(options.number("port"), 65535);
  EXPECT_TRUE(options.truth("on"));
  EXPECT_EQ(options.mode("mode"), 0640U);
  EXPECT_EQ(options.user("uid"), 0U);
  EXPECT_EQ(options.group("gid"), 7U);
  EXPECT_TRUE(OptionString::parse("on=TRUE", kRules)->truth("on"));
  EXPECT_TRUE(OptionString::parse("on=1", kRules)->truth("on"));
  EXPECT_FALSE(OptionString::parse("on=yes", kRules)->truth("on"));
}

TEST(OptionString, HasDefaultsForWhatIsAbsent) {
  const auto options = OptionString::parse("", kRules).value();
  EXPECT_EQ(options.text("path"), std::nullopt);
  EXPECT_EQ(options.number("port"), std::nullopt);
  EXPECT_FALSE(options.truth("on"));
  EXPECT_EQ(options.user("uid"), static_cast<uid_t>(-1));
}

TEST(OptionString, RefusesUnknownNamesAndBadValues) {
  for (const std::string_view bad :
       {"nonsense", "nonsense=1", "path=", "port=-1", "port=1x", "port=99999999999", "port", "mode=1000",
        "mode=9", "uid=nobody-has-this-name", "gid=nobody-has-this-name", "on ,port=1", "=", "pathx=1",
        "pat=1"}) {
    EXPECT_EQ(OptionString::parse(bad, kRules).error().code, ErrorCode::invalid_argument) << bad;
  }
}

TEST(Key, IsHexOrBinaryOfExactlyTheModesLength) {
  const std::string hex = "00112233445566778899aabbccddeeff";
  const auto parse = [](std::string_view text, KeyFormat format, std::size_t size) {
    return parse_key(as_bytes(text), format, size);
  };
  EXPECT_EQ(to_hex(parse(hex, KeyFormat::hex, 16)->view()), hex);
  EXPECT_EQ(to_hex(parse("0x" + hex + "\n", KeyFormat::hex, 16)->view()), hex);
  EXPECT_EQ(to_hex(parse("0123456789abcdef", KeyFormat::binary, 16)->view()),
            "30313233343536373839616263646566");
  EXPECT_FALSE(parse(hex, KeyFormat::hex, 32));
  EXPECT_FALSE(parse(hex + "00", KeyFormat::hex, 16));
  EXPECT_FALSE(parse("zz112233445566778899aabbccddeeff", KeyFormat::hex, 16));
  EXPECT_FALSE(parse("", KeyFormat::hex, 16));
  EXPECT_FALSE(parse("short", KeyFormat::binary, 16));
}

TEST(Key, ComesFromAnInheritedDescriptor) {
  Pipe pipe = make_pipe().value();
  ASSERT_TRUE(write_all(pipe.write_end.get(), as_bytes("00112233445566778899aabbccddeeff")));
  pipe.write_end.reset();
  const auto key = key_from_option("fd=" + std::to_string(pipe.read_end.release()));
  EXPECT_EQ(to_hex(key->view()), "00112233445566778899aabbccddeeff");
}

TEST(Key, NeedsASource) {
  EXPECT_EQ(key_from_option("mode=aes-256-cbc").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(key_from_option("file=/dev/null,mode=des").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(key_from_option("file=/dev/null,format=base64").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(key_from_option("pwdfile=/dev/null,kdf=md5").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(key_from_option("file=/does/not/exist").error().code, ErrorCode::not_found);
}

TEST(CommandLine, ReadsSwtpmsOptions) {
  const auto line =
      parse_command_line(Interface::socket, {"swtpm", "socket", "-d", "--tpm2", "--ctrl", "type=tcp,port=1",
                                             "-p", "2321", "-t", "--key=file=k"})
          .value();
  EXPECT_TRUE(line.daemon && line.version == guest::TpmVersion::v2_0 && line.terminate);
  EXPECT_EQ(line.port, "2321");
  EXPECT_EQ(line.server, "type=tcp,disconnect");
  EXPECT_EQ(line.ctrl, "type=tcp,port=1");
  EXPECT_EQ(line.key, "file=k");
  EXPECT_FALSE(parse_command_line(Interface::socket, {"swtpm", "socket", "extra"}));
  EXPECT_TRUE(
      parse_command_line(Interface::chardev, {"swtpm", "chardev", "-c", "/dev/x"})->device.has_value());
  EXPECT_FALSE(parse_command_line(Interface::chardev, {"swtpm", "chardev", "--vtpm-proxy"}));
}

TEST(CommandLine, ReadsThePlaceOfTheState) {
  const auto place = parse_tpmstate_option("dir=/a/b,mode=0600").value().value();
  EXPECT_EQ(place.file, "/a/b/tpm2-00.permall");
  EXPECT_EQ(place.mode, 0600U);
  EXPECT_EQ(parse_tpmstate_option("backend-uri=dir:///a")->value().file, "/a/tpm2-00.permall");
  EXPECT_EQ(parse_tpmstate_option("dir=/a", guest::TpmVersion::v1_2)->value().file, "/a/tpm-00.permall");
  const auto file = parse_tpmstate_option("backend-uri=file:///a/f").value().value();
  EXPECT_EQ(file.file, "/a/f");
  EXPECT_FALSE(file.in_directory);
  EXPECT_EQ(file.mode, 0640U);
  EXPECT_FALSE(parse_tpmstate_option("mode=0600"));
  EXPECT_FALSE(parse_tpmstate_option("backend-uri=http://a"));
}

TEST(CommandLine, ReadsFlagsLocalityAndSeccomp) {
  using Startup = guest::SwtpmOptions::Startup;
  EXPECT_TRUE(parse_flags_option("")->need_init);
  EXPECT_FALSE(parse_flags_option("not-need-init")->need_init);
  EXPECT_EQ(parse_flags_option("startup-clear")->startup, Startup::clear);
  EXPECT_FALSE(parse_flags_option("startup-state")->need_init) << "a startup flag implies it";
  EXPECT_FALSE(parse_flags_option("startup-deactivated"));
  EXPECT_EQ(parse_flags_option("startup-deactivated", guest::TpmVersion::v1_2)->startup,
            Startup::deactivated);
  EXPECT_TRUE(parse_locality_option("reject-locality-4")->reject_4);
  EXPECT_EQ(parse_seccomp_option(""), Seccomp::kill);
  EXPECT_EQ(parse_seccomp_option("action=none"), Seccomp::none);
  EXPECT_FALSE(parse_seccomp_option("action=maybe"));
}

TEST(SetupConfiguration, ReadsNamesValuesAndVariables) {
  ::setenv("BOOTSEAL_TEST_VALUE", "/x", 1);
  const auto configuration = parse_setup_configuration(
      "# comment = no\n  create_certs_tool=  ${BOOTSEAL_TEST_VALUE}/tool  \r\nactive_pcr_banks = "
      "sha1,sha256\n"
      "no value\nempty=\nopen = ${BOOTSEAL_TEST_VALUE\nactive_pcr_banks = later");
  EXPECT_EQ(configuration.at("create_certs_tool"), "/x/tool");
  EXPECT_EQ(configuration.at("active_pcr_banks"), "sha1,sha256") << "the first counts";
  EXPECT_EQ(configuration.at("empty"), "");
  EXPECT_EQ(configuration.at("open"), "${BOOTSEAL_TEST_VALUE");
  EXPECT_FALSE(configuration.contains("comment"));
  EXPECT_THAT(split_list(" sha1 ,,sha256,"), testing::ElementsAre("sha1", "sha256"));
}

TEST(SetupCommandLine, ReadsSwtpmSetupsOptions) {
  const auto line =
      parse_setup_command_line({"setup", "--tpm2", "--tpmstate", "/a", "--create-platform-cert",
                                "--pcr-banks", "sha1", "--pcr-banks", "sha256", "--tpm", "swtpm socket"})
          .value();
  EXPECT_TRUE(line.tpm2 && line.create_ek && line.platform_certificate);
  EXPECT_FALSE(line.ek_certificates);
  EXPECT_EQ(line.state, "/a");
  EXPECT_EQ(line.pcr_banks, "sha1,sha256");
  EXPECT_TRUE(parse_setup_command_line({"setup", "--nonsense"})->wrong_usage);
  EXPECT_FALSE(parse_setup_command_line({"setup", "left"}));
  EXPECT_EQ(
      parse_setup_command_line({"setup", "--create-config-files", "root,overwrite"})->create_config_files,
      "root,overwrite");
  EXPECT_EQ(parse_setup_command_line({"setup", "--create-config-files"})->create_config_files, "");
}

}  // namespace
}  // namespace bootseal::swtpm
