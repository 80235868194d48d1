#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "bootseal/base/fds.h"
#include "bootseal/cli/console.h"
#include "bootseal/cli/output.h"
#include "bootseal/cli/site_client.h"
#include "bootseal/cli/suggestion.h"
#include "bootseal/cli/vm_page.h"

namespace bootseal::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Table, AlignsColumnsByWhatIsSeenNotByBytes) {
  const Table table{{"Name", "State"}, {{"é", "on"}, {"longer", "off"}}};
  EXPECT_EQ(table.to_text(), "Name    State\né       on\nlonger  off\n");
}

TEST(Table, TabSeparatedValuesHaveNoHeadersAndNoStrayTabs) {
  EXPECT_EQ((Table{{"A", "B"}, {{"x\ty", "z\n"}}}).to_tsv(), "x y\tz \n");
}

TEST(Printable, NothingThatMovesATerminalPasses) {
  EXPECT_EQ(printable("a\x1b[2Jb\x7f\r\n"), "a?[2Jb???");
  EXPECT_EQ(printable("a\nb\x1b", true), "a\nb?");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "??31m");
  EXPECT_EQ(printable("é—…"), "é—…");
}

TEST(WithoutTerminalControls, LeavesTheTextAndTakesWholeSequences) {
  EXPECT_EQ(without_terminal_controls("\x1b[2J\x1b[1;31mred\x1b[0m\r\n\tend"), "red\n\tend");
  EXPECT_EQ(without_terminal_controls("a\x1b]0;title\x07"
                                      "b\x1bP1$r\x1b\\c\x1b(Bd\x1b"
                                      "7e"),
            "abcde");
  EXPECT_EQ(without_terminal_controls("a\x1b]never ends\nb"), "a\nb");
  EXPECT_EQ(without_terminal_controls("\xc2\x9b"
                                      "2J\x9b"
                                      "1m\x7f\x08é…"),
            "??2J?1mé…");
  EXPECT_EQ(without_terminal_controls("\x1b\x1b[1\x1b[2Jx\x1b"), "x");
}

TEST(Nearest, ForgivesASlipAndNothingMore) {
  const std::vector<std::string> known = {"show", "stop", "start", "restart", "list"};
  EXPECT_EQ(nearest("shw", known), "show");
  EXPECT_EQ(nearest("LIST", known), "list");
  EXPECT_EQ(nearest("strat", known), "start");
  EXPECT_EQ(nearest("help", known), std::nullopt);
  EXPECT_EQ(nearest("delete", known), std::nullopt);
  EXPECT_EQ(nearest("", known), std::nullopt);
}

TEST(Age, IsReadAsPeopleSayIt) {
  const TimePoint now = *parse_time("2026-11-21T12:00:00Z");
  EXPECT_EQ(age("2026-11-21T11:59:59Z", now), "1 second ago");
  EXPECT_EQ(age("2026-11-21T11:57:00Z", now), "3 minutes ago");
  EXPECT_EQ(age("2026-11-21T07:00:00Z", now), "5 hours ago");
  EXPECT_EQ(age("2026-11-11T12:00:00Z", now), "10 days ago");
  EXPECT_EQ(age("soon", now), "soon");
}

json::Value vm() {
  return *json::parse(
      R"({"id":"/subscriptions/s/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/demo","name":"demo","properties":{
    "vmId":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","provisioningState":"Succeeded","timeCreated":"2026-11-21T11:00:00Z","hardwareProfile":{"vmSize":"Standard_B1s"},
    "storageProfile":{"imageReference":{"offer":"debian-12-mini","exactVersion":"1.0.0"}},
    "securityProfile":{"securityType":"TrustedLaunch","uefiSettings":{"secureBootEnabled":true,"vTpmEnabled":true}},
    "instanceView":{"statuses":[{"code":"ProvisioningState/succeeded"},{"code":"PowerState/running"}],
      "guestState":{"sealed":true,"algorithm":"AES-256-GCM","keyName":"6ba7b810","generation":214},
      "vtpm":{"ekCertificateIssuer":"CN=Bootseal site CA 1"},
      "boot":{"outcome":"Booted","message":""},
      "attestation":{"status":"Healthy","evidenceTime":"2026-11-21T11:59:48Z","secureBoot":"Enabled","kernelCommandLine":"/vmlinuz console=ttyS0 quiet",
        "firmwareVersion":"2022.11","reasons":[{"severity":"info","code":"a","message":"every check passed"},{"severity":"failure","component":"grub","message":"unknown\u001b[31m"}],
        "bootChain":[{"role":"shim","file":"/EFI/BOOT/BOOTX64.EFI","sha256":"0123456789abcdef0123456789abcdef","signer":"Microsoft","version":"15.8","inBaseline":true},
                     {"role":"grub","file":"","sha256":"ff","signer":"","version":"2.06","inBaseline":false},
                     {"role":"initrd","file":"/initrd.gz","sha256":"aa","signer":"","version":"","inBaseline":false}]}}}})");
}

TEST(VmPage, SaysInWordsWhatTheResourceHolds) {
  const std::string page = vm_page(vm(), *parse_time("2026-11-21T12:00:00Z"));
  for (const char* wanted :
       {"demo\n", "Running, Healthy (evidence of 12 seconds ago)", "every check passed",
        "failure: grub: unknown", "Enabled, as the firmware measured it",
        "2.0, EK certificate issued by CN=Bootseal site CA 1",
        "sealed with AES-256-GCM under key 6ba7b810, generation 214",
        "shim 15.8, signed by Microsoft (/EFI/BOOT/BOOTX64.EFI), sha256 0123456789abcdef, as in the image",
        "initrd (/initrd.gz), sha256 aa, changed since the image was made",
        "grub 2.06, sha256 ff, NOT in the baseline", "/vmlinuz console=ttyS0 quiet",
        "debian-12-mini 1.0.0"}) {
    EXPECT_THAT(page, HasSubstr(wanted));
  }
  EXPECT_THAT(page, Not(HasSubstr("\x1b")));
}

TEST(VmPage, OfAVmThatDidNotBootSaysWhoRefusedWhat) {
  json::Value refused = vm();
  json::Object& view = refused.as_object()["properties"].as_object()["instanceView"].as_object();
  view["boot"] = json::Object{{"outcome", "Refused"}, {"message", "shim refused grubx64.efi"}};
  view["statuses"] = json::Array{json::Object{{"code", "PowerState/stopped"}}};
  view["stopReason"] = json::Object{{"message", "Secure Boot refused it"}};
  view.erase("attestation");
  const std::string page = vm_page(refused, TimePoint{});
  EXPECT_THAT(page, HasSubstr("Stopped, not attested yet"));
  EXPECT_THAT(page, HasSubstr("Refused: shim refused grubx64.efi"));
  EXPECT_THAT(page, HasSubstr("Secure Boot refused it"));
}

TEST(VmPage, PromisesNoMeasurementWhereNoneWillCome) {
  json::Value standard = vm();
  json::Object& properties = standard.as_object()["properties"].as_object();
  properties["securityProfile"] = json::Object{{"securityType", "Standard"}};
  properties["instanceView"].as_object().erase("attestation");
  const std::string page = vm_page(standard, TimePoint{});
  EXPECT_THAT(page, HasSubstr("Running, never attested: it has no TPM"));
  EXPECT_THAT(page, HasSubstr("off (security type Standard)"));
  EXPECT_THAT(page, Not(HasSubstr("yet")));
  json::Value stopped = vm();
  json::Object& view = stopped.as_object()["properties"].as_object()["instanceView"].as_object();
  view.erase("attestation");
  EXPECT_THAT(vm_page(stopped, TimePoint{}), HasSubstr("on, not measured yet"));
  view["statuses"] = json::Array{json::Object{{"code", "PowerState/stopped"}}};
  EXPECT_THAT(vm_page(stopped, TimePoint{}), Not(HasSubstr("not measured yet")));
}

TEST(VmPage, ToleratesAnyShape) {
  for (
      const char* text :
      {"{}", R"({"name":1,"properties":[]})",
       R"({"properties":{"instanceView":{"statuses":{},"attestation":{"reasons":{},"bootChain":[1,null]}}}})"}) {
    EXPECT_FALSE(vm_page(*json::parse(text), TimePoint{}).empty()) << text;
  }
}

TEST(VmTable, HasARowForEachVm) {
  const Table table = vm_table({vm()});
  EXPECT_EQ(table.rows.at(0), (std::vector<std::string>{"demo", "rg1", "running", "Healthy", "TrustedLaunch",
                                                        "Standard_B1s", "debian-12-mini:1.0.0"}));
}

TEST(OutputWatch, SeesATextThatComesInPieces) {
  OutputWatch watch("PROBE-FOUND");
  EXPECT_EQ(watch.feed("…PROBE-"), OutputWatch::State::absent);
  EXPECT_EQ(watch.feed("FOUND nv="), OutputWatch::State::seen);
  EXPECT_EQ(watch.feed("12\r\n"), OutputWatch::State::line_complete);
}

TEST(OutputWatch, SeesARegularExpressionAndTakesABrokenOneAsText) {
  OutputWatch expression("^[a-z]+-[0-9]{2}$");
  EXPECT_EQ(expression.feed("x\nREAD-42\n"), OutputWatch::State::absent);
  EXPECT_EQ(expression.feed("read-42\n"), OutputWatch::State::line_complete);
  OutputWatch text("a[");
  EXPECT_EQ(text.feed("xa[\n"), OutputWatch::State::line_complete);
}

TEST(OutputWatch, StaysBoundedAndSurvivesZeroBytes) {
  OutputWatch watch("end");
  const std::string noise(100000, '\0');
  for (int i = 0; i < 50; ++i) EXPECT_EQ(watch.feed(noise), OutputWatch::State::absent);
  EXPECT_EQ(watch.feed("end\n"), OutputWatch::State::line_complete);
}

// A console that says what it is told to, then nothing, then ends.
class ScriptedSocket final : public net::WebSocket {
 public:
  explicit ScriptedSocket(std::vector<std::string> output) : output_(std::move(output)) {}
  Result<std::string> receive(std::optional<std::chrono::milliseconds> /*limit*/) override {
    if (next_ < output_.size()) return output_[next_++];
    if (closed || next_++ > output_.size()) return fail(ErrorCode::unavailable, "closed");
    return fail(ErrorCode::timeout, "nothing came");
  }
  Status send(std::string_view message) override {
    typed += message;
    return {};
  }
  void close() override { closed = true; }
  std::string typed;
  bool closed = false;

 private:
  std::vector<std::string> output_;
  std::size_t next_ = 0;
};

TEST(TypedText, UnderstandsWhatNoShellTypesEasily) {
  EXPECT_EQ(typed_text("ls\\n\\t\\r\\x1b\\x41\\\\n"),
            "ls\n\t\r\x1b"
            "A\\n");
  EXPECT_EQ(typed_text("plain\n"), "plain\n");
  for (const char* kept : {"printf '\\007'", "\\q", "end\\", "\\x4", "\\xzz", "\\x-1"})
    EXPECT_EQ(typed_text(kept), kept) << kept;
}

TEST(Console, WatchesOnlyWhatComesAfterTheLog) {
  ScriptedSocket old({"READ", "Y\n"});
  ConsoleOptions options{.send = "go\n", .until = "READY", .limit = {}, .skip = 6};
  const Status ended = run_console(old, options, {});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ErrorCode::unavailable);
  EXPECT_EQ(old.typed, "go\n");
  ScriptedSocket fresh({"READY\nREAD", "Y now\n"});
  EXPECT_TRUE(run_console(fresh, options, {}));
  EXPECT_TRUE(fresh.closed);
}

TEST(Console, APromptWithoutANewLineIsEnoughWhenNothingMoreComes) {
  ScriptedSocket socket({"login: "});
  EXPECT_TRUE(run_console(socket, {.send = "", .until = "login:", .limit = {}, .skip = 0}, {}));
}

TEST(ErrorFromAnswer, KeepsTheMessageAndNamesTheCode) {
  const Error error = error_from_answer(
      409, *json::parse(R"({"error":{"code":"GuestStateStale","message":"older\u001b than 9"}})"));
  EXPECT_EQ(error.code, ErrorCode::guest_state_stale);
  EXPECT_EQ(error.message, "older? than 9 [GuestStateStale]");
  EXPECT_EQ(
      error_from_answer(404, *json::parse(R"({"error":{"code":"ResourceNotFound","message":"x"}})")).code,
      ErrorCode::not_found);
  EXPECT_EQ(
      error_from_answer(400, *json::parse(R"({"error":{"code":"InvalidParameter","message":"x"}})")).code,
      ErrorCode::invalid_argument);
  EXPECT_EQ(error_from_answer(502, nullptr).code, ErrorCode::unavailable);
}

class ProfileTest : public ::testing::Test {
 protected:
  ProfileTest() {
    std::string text = "/tmp/bs-cli-XXXXXX";
    EXPECT_NE(::mkdtemp(text.data()), nullptr);
    folder_ = text;
  }
  ~ProfileTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::filesystem::path folder_;
};

TEST_F(ProfileTest, SurvivesItsFilesWhichOnlyTheirOwnerReads) {
  const Profile profile{"https://127.0.0.1:8443", "t", "s", "CA", "token", "CERT", "KEY"};
  ASSERT_TRUE(profile.save(folder_ / "cli"));
  const auto read = Profile::load(folder_ / "cli");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->endpoint, profile.endpoint);
  EXPECT_EQ(read->token, "token");
  EXPECT_EQ(read->client_key_pem, "KEY");
  for (const auto& file : std::filesystem::directory_iterator(folder_ / "cli")) {
    EXPECT_EQ(file.status().permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << file.path();
  }
}

TEST_F(ProfileTest, AFolderWithoutASiteSaysWhatToDo) {
  const auto missing = Profile::load(folder_ / "cli");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr("bootseal up"));
}

}  // namespace
}  // namespace bootseal::cli
