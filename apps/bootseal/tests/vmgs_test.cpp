// `bootseal vmgs` as people and scripts run it: every sample, vmgstool's exit codes, round trips, wrong keys,
// damage, no space.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"

namespace bootseal::app {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kLimit = std::size_t{16} << 20;

class VmgsTest : public ::testing::Test {
 protected:
  VmgsTest() {
    std::string text = "/tmp/bs-vmgs-XXXXXX";
    EXPECT_NE(::mkdtemp(text.data()), nullptr);
    folder_ = text;
    EXPECT_TRUE(
        run_checked({.arguments = {"tar", "-xJf", BOOTSEAL_SOURCE_DIR "/lib/vmgs/tests/data/stores.tar.xz",
                                   "-C", folder_}}));
    write_key("key1", 0x00);
    write_key("key2", 0x80);
  }
  ~VmgsTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // Without HOME and without a site.
  CommandOutput run(std::vector<std::string> arguments, const std::string& before = "") const {
    Command command;
    if (!before.empty()) {
      command.arguments = {"/bin/bash", "-c", before + " exec \"$0\" vmgs \"$@\"", BOOTSEAL_PROGRAM};
    } else {
      command.arguments = {BOOTSEAL_PROGRAM, "vmgs"};
    }
    command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
    command.environment = std::map<std::string, std::string>{{"PATH", "/usr/bin:/bin"}};
    command.working_folder = folder_;
    return run_command(command, {}, std::chrono::seconds(60)).value();
  }
  int exit_of(std::vector<std::string> arguments) const { return run(std::move(arguments)).exit_code; }

  void write_key(const std::string& name, int from) const {
    std::ofstream file(folder_ / name, std::ios::binary);
    for (int i = 0; i < 32; ++i) file.put(static_cast<char>(from + i));
  }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  Bytes content(const std::string& name) const { return read_file(folder_ / name, kLimit).value(); }
  json::Value json_of(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"-o", "json"});
    const CommandOutput output = run(arguments);
    return json::parse(output.standard_output).value_or(json::Value());
  }

  std::filesystem::path folder_;
};

json::Array samples() {
  const auto text = read_file(BOOTSEAL_SOURCE_DIR "/lib/vmgs/tests/data/manifest.json", kLimit).value();
  return json::parse(as_text(text)).value().at("samples").as_array();
}

std::string text_of(const json::Value& value) {
  return value.is_null() ? "" : std::string(value.as_string());
}

std::vector<std::string> place(const json::Value& sample) {
  std::vector<std::string> arguments = {"-f", text_of(sample.at("name"))};
  if (!sample.at("vhd_footer").as_bool())
    arguments.insert(arguments.end(),
                     {"--raw", "--sector-size", std::to_string(sample.at("sector_size").as_int64())});
  return arguments;
}

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST_F(VmgsTest, EverySampleIsReadOrRefusedAsItsManifestSays) {
  const std::map<std::string, int> exits = {
      {"ok", 0}, {"empty", 3}, {"version-1", 5}, {"invalid-format", 1}, {"corrupt", 1}};
  for (const json::Value& sample : samples()) {
    const std::string name = text_of(sample.at("name"));
    SCOPED_TRACE(name);
    const Bytes before = content(name);
    const int exit = exits.at(text_of(sample.at("open")));
    const std::string key = text_of(sample.at("key"));
    EXPECT_EQ(exit_of(with({"dump-headers"}, place(sample))), exit);
    EXPECT_EQ(exit_of(with({"dump-file-table"}, place(sample))), exit);
    for (const json::Value& file : sample.at("files").as_array()) {
      const std::string id = std::to_string(file.at("file_id").to_number<unsigned>());
      std::vector<std::string> dump = with({"dump", "-i", id, "-d", "out"}, place(sample));
      if (!key.empty()) dump = with(dump, {"-k", key});
      const CommandOutput dumped = run(dump);
      const bool readable = file.at("error").is_null();
      EXPECT_EQ(dumped.exit_code, readable ? 0 : 1) << id << dumped.standard_error;
      if (readable) {
        EXPECT_EQ(crypto::sha256(content("out")).to_hex(), text_of(file.at("sha256"))) << id;
      }
      const CommandOutput size = run(with({"query-size", "-i", id}, place(sample)));
      EXPECT_EQ(size.standard_output, std::to_string(file.at("size").to_number<std::uint64_t>()) + "\n");
    }
    EXPECT_EQ(content(name), before) << "reading changes nothing";
  }
}

TEST_F(VmgsTest, ExitCodesAreThoseOfVmgstool) {
  write("data", "x");
  const struct {
    std::vector<std::string> arguments;
    int exit_code;
  } cases[] = {
      {{"query-encryption", "-f", "encrypted-key1.vmgs"}, 0},
      {{"query-encryption", "-f", "plain-multi.vmgs"}, 2},
      {{"query-encryption", "-f", "zero-metadata-key.vmgs"}, 7},
      {{"query-encryption", "-f", "crash-in-format.vmgs"}, 3},
      {{"query-encryption", "-f", "v1-gpt.vmgs"}, 5},
      {{"query-size", "-f", "plain-history.vmgs", "-i", "3"}, 4},
      {{"dump", "-f", "plain-history.vmgs", "-i", "TPM_NVRAM"}, 4},
      {{"delete", "-f", "plain-history.vmgs", "-i", "3"}, 4},
      {{"move", "-f", "plain-history.vmgs", "--src-file-id", "3", "--dst-file-id", "9"}, 4},
      {{"dump", "-f", "plain-history.vmgs", "-i", "1", "-k", "key1"}, 2},
      {{"update-key", "-f", "plain-history.vmgs", "-k", "key1", "-n", "key2", "-e", "AES_GCM"}, 2},
      {{"encrypt", "-f", "encrypted-key1.vmgs", "-k", "key2", "-e", "AES_GCM"}, 1},
      {{"write", "-f", "encrypted-key1.vmgs", "-i", "9", "-d", "data"}, 1},
      {{"write", "-f", "plain-history.vmgs", "-i", "1", "-d", "data"}, 1},
      {{"write", "-f", "plain-history.vmgs", "-i", "0", "-d", "data"}, 1},
      {{"write", "-f", "plain-history.vmgs", "-i", "9", "-d", "gone"}, 1},
      {{"create", "-f", "plain-history.vmgs"}, 1},
      {{"create", "-f", "new", "-s", "1000"}, 1},
      {{"create", "-f", "new", "-s", "16385"}, 1},
      {{"create", "-f", "new", "-e", "AES_GCM"}, 2},
      {{"create", "-f", "new", "-k", "data"}, 1},
      {{"dump-headers", "-f", "gone"}, 1},
      {{"dump-headers", "-f", "."}, 1},
      {{"check", "-f", "both-headers-bad.vmgs"}, 1},
      {{"check", "-f", "plain-multi.vmgs"}, 0},
      {{"check", "-f", "enc-data-bitflip-file1.vmgs", "-k", "key1"}, 1},
      {{"dump", "-f", "plain-multi.vmgs", "-i", "NO_SUCH_NAME"}, 2},
      {{"dump", "-f", "plain-multi.vmgs", "-i", "64"}, 2},
      {{"dump", "-f", "plain-multi.vmgs"}, 2},
      {{"fly", "-f", "plain-multi.vmgs"}, 2},
      {{"update-key", "-f", "encrypted-key1.vmgs", "-k", "key1", "-n", "key2", "-e", "ROT13"}, 2},
  };
  std::map<std::string, Bytes> before;
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    before[entry.path().filename()] = content(entry.path().filename());
  for (const auto& one : cases) {
    const CommandOutput output = run(one.arguments);
    const std::string shown = ::testing::PrintToString(one.arguments);
    EXPECT_EQ(output.exit_code, one.exit_code) << shown << output.standard_error;
    EXPECT_EQ(output.standard_error.find("error: ") == std::string::npos, one.exit_code == 0) << shown;
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(before.contains(name)) << "left behind: " << name;
    EXPECT_EQ(content(name), before[name]) << name;
  }
  // A VM id alone: encrypted "by id".
  ASSERT_EQ(exit_of({"delete", "-f", "encrypted-key1.vmgs", "-i", "KEY_PROTECTOR", "-k", "key1"}), 0);
  EXPECT_EQ(exit_of({"query-encryption", "-f", "encrypted-key1.vmgs"}), 6);
}

TEST_F(VmgsTest, AWrongKeyIsRefusedEverywhereAndChangesNothing) {
  write("short", "0123456789");
  write("long", std::string(33, 'x'));
  write("data", "x");
  const Bytes before = content("encrypted-key1.vmgs");
  for (const std::string key : {"key2", "short", "long", "gone", "/"}) {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"write", "-i", "1", "-d", "data", "--allow-overwrite"},
          {"dump", "-i", "1"},
          {"dump-file-table"},
          {"delete", "-i", "1"},
          {"move", "--src-file-id", "1", "--dst-file-id", "9"},
          {"update-key", "-n", "key2"},
          {"check"},
          {"repair", "--yes"}}) {
      const CommandOutput output = run(with(command, {"-f", "encrypted-key1.vmgs", "-k", key}));
      EXPECT_EQ(output.exit_code, 1) << key << ::testing::PrintToString(command) << output.standard_error;
      EXPECT_THAT(output.standard_error, ::testing::StartsWith("error: "));
    }
  }
  EXPECT_EQ(content("encrypted-key1.vmgs"), before);
}

TEST_F(VmgsTest, CreateWriteEncryptUpdateKeyAndDumpGoRound) {
  write("one", std::string(5000, 'a') + "end");
  write("two", "second");
  ASSERT_EQ(exit_of({"create", "-f", "s", "--file-size", "131072"}), 0);
  EXPECT_EQ(content("s").size(), 131072U + 512);
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "s").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  ASSERT_EQ(exit_of({"write", "-f", "s", "-i", "BIOS_NVRAM", "-d", "one"}), 0);
  ASSERT_EQ(exit_of({"encrypt", "-f", "s", "-k", "key1", "-e", "AES_GCM"}), 0);
  ASSERT_EQ(exit_of({"write", "-f", "s", "-i", "1", "-d", "one", "-k", "key1", "--allow-overwrite"}), 0);
  ASSERT_EQ(exit_of({"write", "-f", "s", "-i", "4", "-d", "two", "-k", "key1", "--plain"}), 0);
  ASSERT_EQ(exit_of({"update-key", "-f", "s", "-k", "key1", "-n", "key2", "-e", "AES_GCM"}), 0);
  EXPECT_EQ(exit_of({"dump", "-f", "s", "-i", "1", "-k", "key1"}), 1) << "the old key opens it no more";
  EXPECT_EQ(run({"dump", "-f", "s", "-i", "1", "-k", "key2", "--raw-stdout"}).standard_output,
            std::string(as_text(content("one"))));
  EXPECT_EQ(run({"dump", "-f", "s", "-i", "4", "--raw-stdout"}).standard_output, "second")
      << "plain files need no key";
  const CommandOutput sealed = run({"dump", "-f", "s", "-i", "1", "--raw-stdout"});
  EXPECT_EQ(sealed.exit_code, 0);
  EXPECT_THAT(sealed.standard_error, HasSubstr("warning: BIOS_NVRAM (1) is sealed"));
  EXPECT_EQ(sealed.standard_output.size(), 5003U);
  EXPECT_EQ(sealed.standard_output.find("aaaa"), std::string::npos);
  ASSERT_EQ(exit_of({"move", "-f", "s", "--src-file-id", "1", "--dst-file-id", "17", "-k", "key2"}), 0);
  EXPECT_EQ(exit_of({"move", "-f", "s", "--src-file-id", "4", "--dst-file-id", "17", "-k", "key2"}), 1);
  ASSERT_EQ(exit_of({"delete", "-f", "s", "-i", "4", "-k", "key2"}), 0);
  const json::Value table = json_of({"dump-file-table", "-f", "s", "-k", "key2"});
  ASSERT_EQ(table.as_array().size(), 1U);
  EXPECT_EQ(table.at(0).at("name").as_string(), "TPM_NVRAM_BACKUP");
  EXPECT_EQ(table.at(0).at("sizeBytes").to_number<int>(), 5003);
  EXPECT_TRUE(table.at(0).at("encrypted").as_bool());
  EXPECT_EQ(exit_of({"check", "-f", "s", "-k", "key2"}), 0);
}

TEST_F(VmgsTest, ADumpIsHexadecimalUnlessAskedOtherwise) {
  EXPECT_EQ(
      run({"dump", "-f", "plain-history.vmgs", "-i", "5"}).standard_output,
      "0x68,0x65,0x6c,0x6c,0x6f,0x20,0x77,0x6f,0x72,0x6c,0x64,                           // hello.world\n");
  const json::Value value = json_of({"dump", "-f", "plain-history.vmgs", "-i", "5"});
  EXPECT_EQ(value.at("content").as_string(), "aGVsbG8gd29ybGQ=");
}

TEST_F(VmgsTest, AStoreWhoseKeysAnybodyCanReadIsAcceptedWithAWarningAndMendedOnWrite) {
  write("data", "x");
  const CommandOutput read =
      run({"dump", "-f", "zero-metadata-key.vmgs", "-i", "1", "-k", "key1", "-d", "out"});
  EXPECT_EQ(read.exit_code, 0);
  EXPECT_THAT(read.standard_error,
              HasSubstr("warning: the sealed files of zero-metadata-key.vmgs can be read by anybody"));
  ASSERT_EQ(exit_of({"write", "-f", "zero-metadata-key.vmgs", "-i", "9", "-d", "data", "-k", "key1"}), 0);
  const CommandOutput after =
      run({"dump", "-f", "zero-metadata-key.vmgs", "-i", "1", "-k", "key1", "-d", "out2"});
  EXPECT_THAT(after.standard_error, ::testing::Not(HasSubstr("warning")));
  EXPECT_EQ(content("out"), content("out2"));
}

TEST_F(VmgsTest, CheckNamesStructuresAndIsThereForPrograms) {
  const json::Value found = json_of({"check", "-f", "entry-out-of-range.vmgs"});
  EXPECT_FALSE(found.at("opens").as_bool());
  EXPECT_TRUE(found.at("damaged").as_bool());
  bool named = false;
  for (const json::Value& finding : found.at("findings").as_array())
    named = named || (finding.at("where").as_string() == "header 1, file table" &&
                      finding.at("severity").as_string() == "damage");
  EXPECT_TRUE(named);
  const CommandOutput quiet = run({"check", "-q", "-f", "plain-multi.vmgs"});
  EXPECT_EQ(quiet.standard_output, "");
}

TEST_F(VmgsTest, RepairShowsItsPlanAsksAndKeepsACopy) {
  const Bytes before = content("both-headers-bad.vmgs");
  const CommandOutput asked = run({"repair", "-f", "both-headers-bad.vmgs"});
  EXPECT_EQ(asked.exit_code, 1);
  EXPECT_THAT(asked.standard_output, HasSubstr("1. restore header 1"));
  EXPECT_THAT(asked.standard_error, HasSubstr("give --yes"));
  EXPECT_EQ(content("both-headers-bad.vmgs"), before) << "without a terminal and --yes nothing is changed";
  const json::Value done = json_of({"repair", "-f", "both-headers-bad.vmgs", "--yes"});
  EXPECT_TRUE(done.at("opens").as_bool());
  EXPECT_EQ(done.at("steps").as_array().size(), 2U);
  const std::string backup(done.at("backup").as_string());
  EXPECT_EQ(content(backup), before);
  EXPECT_EQ(exit_of({"check", "-f", "both-headers-bad.vmgs"}), 0);
  EXPECT_EQ(run({"dump", "-f", "both-headers-bad.vmgs", "-i", "5", "--raw-stdout"}).standard_output,
            "hello world");

  const json::Value without = json_of({"repair", "-f", "sequence-gap-2.vmgs", "--yes", "--no-backup"});
  EXPECT_TRUE(without.at("backup").is_null());
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    EXPECT_FALSE(entry.path().filename().string().starts_with("sequence-gap-2.vmgs.")) << entry.path();
}

// `script` is the terminal.
TEST_F(VmgsTest, OnATerminalTheAnswerDecides) {
  const Bytes before = content("sequence-gap-2.vmgs");
  const auto answer = [&](const std::string& text) {
    Command command;
    command.arguments = {"/usr/bin/script", "-qec",
                         std::string(BOOTSEAL_PROGRAM) + " vmgs repair -f sequence-gap-2.vmgs", "/dev/null"};
    command.environment = std::map<std::string, std::string>{{"PATH", "/usr/bin:/bin"}, {"SHELL", "/bin/sh"}};
    command.working_folder = folder_;
    return run_command(command, as_bytes(text), std::chrono::seconds(60)).value();
  };
  const CommandOutput no = answer("n\n");
  EXPECT_EQ(no.exit_code, 1) << no.standard_output;
  EXPECT_THAT(no.standard_output, HasSubstr("Change sequence-gap-2.vmgs? [y/N]"));
  EXPECT_THAT(no.standard_output, HasSubstr("nothing was done"));
  EXPECT_EQ(content("sequence-gap-2.vmgs"), before);
  EXPECT_EQ(answer("y\n").exit_code, 0);
  EXPECT_EQ(exit_of({"check", "-f", "sequence-gap-2.vmgs"}), 0);
}

// The footer, by its specification.
TEST_F(VmgsTest, ANewStoreIsAFixedVhdToOthers) {
  ASSERT_EQ(exit_of({"create", "-f", "new", "-s", "1048576"}), 0);
  const Bytes footer = to_bytes(ByteSpan(content("new")).last(512));
  EXPECT_EQ(as_text(ByteSpan(footer).first(8)), "conectix");
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < footer.size(); ++i)
    sum += i >= 64 && i < 68 ? 0U : std::to_integer<std::uint32_t>(footer[i]);
  std::uint32_t stored = 0;
  for (std::size_t i = 64; i < 68; ++i) stored = stored << 8U | std::to_integer<std::uint32_t>(footer[i]);
  EXPECT_EQ(stored, ~sum);
  EXPECT_EQ(content("new").size(), 1048576U + 512);
}

TEST_F(VmgsTest, AFileThatLostItsFooterIsCompletedAgain) {
  const Bytes whole = content("plain-history.vmgs");
  std::filesystem::resize_file(folder_ / "plain-history.vmgs", whole.size() - 512);
  EXPECT_EQ(exit_of({"dump", "-f", "plain-history.vmgs", "-i", "5"}), 1);
  EXPECT_EQ(exit_of({"repair", "-f", "plain-history.vmgs", "--yes"}), 0);
  EXPECT_EQ(content("plain-history.vmgs").size(), whole.size());
  EXPECT_EQ(run({"dump", "-f", "plain-history.vmgs", "-i", "5", "--raw-stdout"}).standard_output,
            "hello world");
}

// The store of a running VM is locked by its guestd.
TEST_F(VmgsTest, AStoreInUseIsNotTouched) {
  const UniqueFd fd = open_file(folder_ / "plain-history.vmgs", O_RDWR).value();
  struct flock lock {};
  lock.l_type = F_WRLCK;
  ASSERT_EQ(::fcntl(fd.get(), F_OFD_SETLK, &lock), 0);
  write("data", "x");
  for (const std::vector<std::string>& command : {std::vector<std::string>{"write", "-i", "9", "-d", "data"},
                                                  {"dump", "-i", "5"},
                                                  {"check"},
                                                  {"repair", "--yes"},
                                                  {"create", "--force-create"}}) {
    const CommandOutput output = run(with(command, {"-f", "plain-history.vmgs"}));
    EXPECT_EQ(output.exit_code, 1);
    EXPECT_THAT(output.standard_error, HasSubstr("is in use"));
  }
}

TEST_F(VmgsTest, ForceCreateReplacesTheFileAsAWhole) {
  ASSERT_EQ(exit_of({"create", "-f", "plain-multi.vmgs", "--force-create", "-k", "key1", "-e", "AES_GCM"}),
            0);
  EXPECT_EQ(content("plain-multi.vmgs").size(), 4194816U);
  EXPECT_EQ(exit_of({"check", "-f", "plain-multi.vmgs", "-k", "key1"}), 0);
  EXPECT_EQ(json_of({"dump-file-table", "-f", "plain-multi.vmgs"}).as_array().size(), 0U);
}

// RLIMIT_FSIZE stands for a disk without space; SIGXFSZ is ignored, so that the write fails as on a full one.
TEST_F(VmgsTest, WithoutSpaceTheOldFileStays) {
  const std::string full = "trap '' XFSZ; ulimit -f 40;";  // blocks of 1024 bytes
  write("data", std::string(2000, 'x'));
  const Bytes before = content("plain-multi.vmgs");
  EXPECT_EQ(run({"create", "-f", "plain-multi.vmgs", "--force-create"}, full).exit_code, 1);
  EXPECT_EQ(run({"create", "-f", "new"}, full).exit_code, 1);
  EXPECT_EQ(run({"write", "-f", "plain-multi.vmgs", "-i", "40", "-d", "data"}, full).exit_code, 1);
  EXPECT_EQ(exit_of({"check", "-f", "plain-multi.vmgs"}), 0);
  EXPECT_EQ(exit_of({"query-size", "-f", "plain-multi.vmgs", "-i", "40"}), 4);
  EXPECT_EQ(json_of({"dump-file-table", "-f", "plain-multi.vmgs"}).as_array().size(), 10U);
  EXPECT_EQ(run({"dump", "-f", "plain-multi.vmgs", "-i", "8", "-d", "gone"}, full).exit_code, 1);
  EXPECT_EQ(run({"repair", "-f", "entry-out-of-range.vmgs", "--yes"}, full).exit_code, 1)
      << "no copy, no repair";
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const std::string name = entry.path().filename();
    EXPECT_FALSE(name.starts_with('.') || name == "new" || name == "gone" ||
                 name.find("backup") != std::string::npos)
        << name;
  }
  EXPECT_EQ(content("plain-multi.vmgs").size(), before.size());
  // The store itself full: nothing is written.
  write("large", std::string(300000, 'x'));
  const Bytes unchanged = content("plain-multi.vmgs");
  const CommandOutput output = run({"write", "-f", "plain-multi.vmgs", "-i", "40", "-d", "large"});
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_THAT(output.standard_error, HasSubstr("free blocks in a row"));
  EXPECT_EQ(content("plain-multi.vmgs"), unchanged);
}

}  // namespace
}  // namespace bootseal::app
