// bootseal-swtpm-setup beside swtpm_setup: the same keys and indices, certificates that chain, exit codes.
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>

#include "bootseal/tpm/public_key.h"
#include "vtpm_process.h"

namespace bootseal::swtpm {
namespace {

using test::kOurs;
using test::kOurSetup;
using test::kTheirs;
using test::run_program;
using test::Session;
using test::TemporaryFolder;
using test::VtpmProcess;
using testing::HasSubstr;

struct Made {
  std::vector<tpm::Handle> persistent;
  std::vector<tpm::Handle> indices;
  std::vector<std::string> key_attributes;  // of the persistent keys
  std::vector<std::uint32_t> index_attributes;
  std::string pcr_banks;
  bool operator==(const Made&) const = default;
};

// What a guest finds in the TPM that `program` serves from `state`.
Made look(const std::string& program, const std::filesystem::path& state,
          const std::vector<std::string>& options = {}) {
  VtpmProcess process(program, state, options);
  Session session(process);
  EXPECT_EQ(session.control.init(), 0U) << process.output();
  EXPECT_TRUE(session.client.startup());
  Made made;
  made.persistent = session.client.handles(0x81000000).value();
  made.indices = session.client.handles(0x01000000).value();
  for (const tpm::Handle key : made.persistent) {
    // Type, name algorithm and attributes; the key itself is random.
    made.key_attributes.push_back(
        to_hex(ByteSpan(session.client.read_public(key).value().public_area).first(8)));
  }
  for (const tpm::Handle index : made.indices)
    made.index_attributes.push_back(session.client.nv_read_public(index).value().attributes);
  for (const auto bank :
       {tpm::Algorithm::sha1, tpm::Algorithm::sha256, tpm::Algorithm::sha384, tpm::Algorithm::sha512})
    if (session.client.pcr_read({bank, 1})) made.pcr_banks += std::string(tpm::algorithm_name(bank)) + " ";
  process.kill(SIGTERM);
  return made;
}

class Setup : public testing::Test {
 protected:
  void SetUp() override {
    test::write_text(folder_ / "swtpm_setup.conf",
                     "# a comment\nlocal_ca_folder = ${BOOTSEAL_TEST_CA}\nactive_pcr_banks = sha256\n");
  }
  CommandOutput setup(std::vector<std::string> arguments, const std::string& program = kOurSetup) {
    arguments.insert(arguments.begin(),
                     {program, "--tpm2", "--config", (folder_ / "swtpm_setup.conf").native()});
    return run_program(arguments, {{"BOOTSEAL_TEST_CA", (folder_ / "ca").native()}});
  }
  std::filesystem::path state(std::string_view name) {
    std::filesystem::create_directory(folder_ / name);
    return folder_ / name;
  }

  TemporaryFolder folder_;
};

TEST_F(Setup, MakesTheKeysAndIndicesThatSwtpmSetupMakes) {
  // Its certificates come from a tool: one that needs nothing.
  const auto tool = folder_ / "tool";
  test::write_text(
      tool,
      "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --type) t=$2;; --dir) d=$2;; esac; shift; done\n"
      "printf certificate > \"$d/$t.cert\"\n");
  std::filesystem::permissions(tool, std::filesystem::perms::owner_all);
  test::write_text(folder_ / "swtpm_setup.conf",
                   "create_certs_tool = " + tool.native() + "\nactive_pcr_banks = sha256\n");
  int number = 0;
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{},
        {"--createek"},
        {"--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--create-spk"},
        {"--createek", "--allow-signing", "--create-spk", "--ecc", "--pcr-banks", "sha1,sha512"},
        {"--createek", "--allow-signing", "--decryption", "--rsa-keysize", "3072", "--create-ek-cert",
         "--pcr-banks", "-"}}) {
    const auto ours = state("ours" + std::to_string(number));
    const auto theirs = state("theirs" + std::to_string(number++));
    std::vector<std::string> arguments{"--tpm-state", ours.native()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const CommandOutput made = setup(arguments);
    ASSERT_EQ(made.exit_code, 0) << made.standard_error << made.standard_output;
    arguments[1] = theirs.native();
    ASSERT_EQ(setup(arguments, "swtpm_setup").exit_code, 0);
    const Made here = look(kOurs, ours);
    const Made there = look(kTheirs, theirs);
    EXPECT_EQ(here.persistent, there.persistent) << testing::PrintToString(options);
    EXPECT_EQ(here.indices, there.indices) << testing::PrintToString(options);
    EXPECT_EQ(here.key_attributes, there.key_attributes) << testing::PrintToString(options);
    EXPECT_EQ(here.index_attributes, there.index_attributes) << testing::PrintToString(options);
    EXPECT_EQ(here.pcr_banks, there.pcr_banks) << testing::PrintToString(options);
  }
}

TEST_F(Setup, CertifiesTheEndorsementKeysByACaOfTheMachine) {
  const auto folder = state("state");
  const auto files = state("certificates");
  const CommandOutput made =
      setup({"--tpm-state", folder.native(), "--create-ek-cert", "--create-platform-cert", "--vmid",
             "demo:6f0c5a58-9c0c-4a8e-8f0a-3b8d7f0f1c11", "--write-ek-cert-files", files.native()});
  ASSERT_EQ(made.exit_code, 0) << made.standard_error;
  VtpmProcess process(kOurs, folder);
  Session session(process);
  ASSERT_EQ(session.control.init(), 0U);
  ASSERT_TRUE(session.client.startup());
  const std::pair<tpm::Handle, tpm::Handle> keys[] = {{0x81010001, 0x01C00002}, {0x81010016, 0x01C00016}};
  for (const auto& [key, index] : keys) {
    const Bytes certificate = session.client.nv_read(tpm::kOwner, index).value();
    ASSERT_TRUE(replace_file(folder_ / "certificate.der", certificate));
    const auto der = (folder_ / "certificate.der").native();
    const auto pem = (folder_ / "certificate.pem").native();
    ASSERT_EQ(run_program({"openssl", "x509", "-inform", "DER", "-in", der, "-out", pem}).exit_code, 0);
    const CommandOutput verified = run_program(
        {"openssl", "verify", "-ignore_critical", "-CAfile", (folder_ / "ca/ca.pem").native(), pem});
    EXPECT_EQ(verified.exit_code, 0) << verified.standard_output << verified.standard_error;
    const CommandOutput public_key = run_program({"openssl", "x509", "-in", pem, "-noout", "-pubkey"});
    test::write_text(folder_ / "key.pem", public_key.standard_output);
    ASSERT_EQ(run_program({"openssl", "pkey", "-pubin", "-in", (folder_ / "key.pem").native(), "-outform",
                           "DER", "-out", (folder_ / "key.der").native()})
                  .exit_code,
              0);
    EXPECT_EQ(read_file(folder_ / "key.der", 4096).value(),
              tpm::subject_public_key_info(session.client.read_public(key).value().public_area).value());
    EXPECT_THAT(run_program({"openssl", "x509", "-in", pem, "-noout", "-text"}).standard_output,
                HasSubstr("demo"));
  }
  EXPECT_EQ(read_file(files / "ek-rsa2048.crt", 4096).value(),
            session.client.nv_read(tpm::kOwner, 0x01C00002).value());
  EXPECT_TRUE(std::filesystem::exists(files / "ek-secp384r1.crt"));
  EXPECT_EQ(std::filesystem::status(folder_ / "ca/ca-key.pem").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(Setup, OverwritesOnlyWhenToldToAndLeavesTheOldTpmWhenItFails) {
  const auto folder = state("state");
  const std::string place = folder.native();
  ASSERT_EQ(setup({"--tpm-state", place, "--createek"}).exit_code, 0);
  const Bytes first = read_file(folder / "tpm2-00.permall", 8 << 20).value();
  EXPECT_EQ(setup({"--tpm-state", place, "--createek"}).exit_code, 1);
  EXPECT_EQ(setup({"--tpm-state", place, "--createek", "--not-overwrite"}).exit_code, 0);
  EXPECT_EQ(setup({"--tpm-state", place, "--overwrite", "--pcr-banks", "md5"}).exit_code, 1);
  test::write_text(folder_ / "swtpm_setup.conf", "create_certs_tool = /bin/false\n");
  EXPECT_EQ(setup({"--tpm-state", place, "--overwrite", "--create-ek-cert"}).exit_code, 1);
  EXPECT_EQ(read_file(folder / "tpm2-00.permall", 8 << 20).value(), first) << "none of these changed it";
  EXPECT_EQ(look(kOurs, folder).persistent.size(), 2U);
  ASSERT_EQ(setup({"--tpm-state", place, "--overwrite"}).exit_code, 0);
  EXPECT_TRUE(look(kOurs, folder).persistent.empty()) << "a new TPM without keys";
}

TEST_F(Setup, ChangesPcrBanksAndNothingElse) {
  const auto folder = state("state");
  const std::string place = folder.native();
  EXPECT_EQ(setup({"--tpm-state", place, "--reconfigure", "--pcr-banks", "sha384"}).exit_code, 1)
      << "no TPM yet";
  EXPECT_FALSE(std::filesystem::exists(folder / "tpm2-00.permall"));
  ASSERT_EQ(setup({"--tpm-state", place, "--createek"}).exit_code, 0);
  Made before = look(kOurs, folder);
  ASSERT_EQ(setup({"--tpm-state", place, "--reconfigure", "--pcr-banks", "sha384"}).exit_code, 0);
  const Made after = look(kOurs, folder);
  EXPECT_EQ(before.pcr_banks, "sha256 ");
  EXPECT_EQ(after.pcr_banks, "sha384 ");
  before.pcr_banks = after.pcr_banks;
  EXPECT_EQ(before, after);
}

TEST_F(Setup, SealsUnderAKeyOrAPassphraseAsBootsealSwtpmReadsThem) {
  test::write_text(folder_ / "key", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  test::write_text(folder_ / "passphrase", "correct horse");
  const std::string key = (folder_ / "key").native();
  const std::string passphrase = (folder_ / "passphrase").native();
  const auto one = state("one");
  ASSERT_EQ(setup({"--tpm-state", one.native(), "--createek", "--keyfile", key, "--cipher", "aes-256-cbc"})
                .exit_code,
            0);
  EXPECT_EQ(look(kOurs, one, {"--key", "file=" + key + ",mode=aes-256-cbc"}).persistent.size(), 2U);
  const auto two = state("two");
  ASSERT_EQ(setup({"--tpm-state", "dir://" + two.native(), "--createek", "--pwdfile", passphrase}).exit_code,
            0);
  EXPECT_EQ(look(kOurs, two, {"--key", "pwdfile=" + passphrase}).persistent.size(), 2U);
}

TEST_F(Setup, HasSwtpmSetupsExitCodesForBadCommandLines) {
  const auto folder = state("state");
  const std::string place = folder.native();
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--tpm-state", "/does/not/exist"},
        {},
        {"--tpm-state", place, "--nonsense"},
        {"--tpm-state", place, "--rsa-keysize", "512"},
        {"--tpm-state", place, "--cipher", "rot13"},
        {"--tpm-state", place, "--keyfile", "/does/not/exist"},
        {"--tpm-state", place, "--take-ownership"},
        {"--tpm-state", place, "--reconfigure", "--createek"}}) {
    EXPECT_EQ(setup(arguments).exit_code, 1) << testing::PrintToString(arguments);
    EXPECT_EQ(setup(arguments, "swtpm_setup").exit_code, 1) << testing::PrintToString(arguments);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "tpm2-00.permall"));
  for (const std::string only : {"--ecc", "--create-spk", "--reconfigure"})
    EXPECT_EQ(run_program({kOurSetup, "--tpm-state", place, only}).exit_code, 1) << "not of a TPM 1.2";
  EXPECT_FALSE(std::filesystem::exists(folder / "tpm-00.permall"));
  EXPECT_EQ(run_program({kOurSetup, "--version"}).exit_code, 0);
  EXPECT_EQ(run_program({kOurSetup, "--help"}).exit_code, 0);
  EXPECT_EQ(run_program({kOurSetup, "--tpm2", "--print-capabilities"}).standard_output,
            run_program({"swtpm_setup", "--tpm2", "--print-capabilities"}).standard_output);
}

}  // namespace
}  // namespace bootseal::swtpm
