#include "bootseal/uefi/boot_diagnosis.h"

#include <gmock/gmock.h>

#include <charconv>

#include "bootseal/json/json.h"
#include "files.h"
#include "memory_builder.h"
#include "serial_signs.h"

namespace bootseal::uefi {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kBootFile = "\\EFI\\BOOT\\BOOTX64.EFI";

// One recorded boot: its serial text, the execution table as it was read from its memory, what must be
// concluded.
struct RecordedBoot {
  std::string serial, outcome, refused_by;
  std::vector<ImageExecution> executions;
  Bytes event_log;
};

// "   action=0x4 (AUTH_SIG_FOUND) … name='PciRoot…' … data 80a6…"
std::vector<ImageExecution> read_executions(std::string_view text) {
  std::vector<ImageExecution> executions;
  for (std::size_t at = text.find("action=0x"); at != std::string_view::npos;
       at = text.find("action=0x", at + 1)) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    ImageExecution execution;
    execution.action = static_cast<ImageAction>(line[9] - '0');
    const std::size_t name = line.find("name='") + 6;
    execution.name = line.substr(name, line.find('\'', name) - name);
    execution.file = kBootFile;
    if (const std::size_t data = line.find("data "); data != std::string_view::npos)
      execution.sha256 = *crypto::Sha256Digest::parse(line.substr(data + 5, 64));
    executions.push_back(std::move(execution));
  }
  return executions;
}

RecordedBoot load(const std::string& name) {
  const std::filesystem::path folder = test_data("vm-logs") / name;
  RecordedBoot run;
  run.serial = as_text(read_or_fail(folder / "serial0.log"));
  const json::Value expected = *json::parse(as_text(read_or_fail(folder / "expected.json")));
  run.outcome = std::string(expected.at("outcome").as_string());
  if (expected.at("refusedBy").is_string())
    run.refused_by = std::string(expected.at("refusedBy").as_string());
  if (std::filesystem::exists(folder / "image-execution.txt"))
    run.executions = read_executions(as_text(read_or_fail(folder / "image-execution.txt")));
  if (std::filesystem::exists(folder / "eventlog.bin")) run.event_log = read_or_fail(folder / "eventlog.bin");
  return run;
}

std::vector<std::string> runs(std::string_view prefix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(test_data("vm-logs"))) {
    std::string name = entry.path().filename();
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  return names;
}

TEST(DiagnoseBoot, FindsWhatEveryRecordedFailureMustGive) {
  std::vector<std::string> names = runs("neg-");
  ASSERT_EQ(names.size(), 12U);
  names.push_back("direct-kernel-sid");
  for (const std::string& name : names) {
    const RecordedBoot run = load(name);
    const Bytes memory = build_memory(run.executions, run.event_log);
    const BootDiagnosis diagnosis = diagnose_boot({.serial = run.serial, .memory = memory});
    EXPECT_EQ(diagnosis.outcome,
              run.outcome == "refused" ? BootOutcome::refused : BootOutcome::nothing_to_boot)
        << name;
    EXPECT_EQ(diagnosis.refused_by, run.refused_by == "grub/shim" ? "grub" : run.refused_by) << name;
    EXPECT_THAT(diagnosis.message, ::testing::EndsWith(".")) << name;
    EXPECT_TRUE(serial_shows_end_of_boot(run.serial)) << name;
    if (!run.executions.empty()) {
      EXPECT_EQ(diagnosis.file, kBootFile) << name;
      EXPECT_EQ(diagnosis.component, "bootApplication") << name;
      EXPECT_EQ(diagnosis.sha256, run.executions.front().sha256) << name;
    }
  }
}

TEST(DiagnoseBoot, SaysWhyTheFirmwareRefused) {
  const auto message = [](const std::string& name) {
    const RecordedBoot run = load(name);
    return diagnose_boot({.serial = run.serial, .memory = build_memory(run.executions, {})}).message;
  };
  EXPECT_THAT(message("neg-winonly"), HasSubstr("choose the template that fits"));
  EXPECT_THAT(message("neg-dbx-shim"), HasSubstr("its hash is revoked"));
  EXPECT_THAT(message("neg-shim-ca-in-dbx"), HasSubstr("its signer is revoked"));
}

TEST(DiagnoseBoot, NamesTheKernelThatGrubRefused) {
  const RecordedBoot run = load("neg-kernel");
  const BootDiagnosis diagnosis =
      diagnose_boot({.serial = run.serial, .memory = build_memory({}, run.event_log)});
  EXPECT_EQ(diagnosis.component, "kernel");
  EXPECT_EQ(diagnosis.file, "/vmlinuz");
  EXPECT_THAT(diagnosis.message, HasSubstr("the kernel /vmlinuz:"));
  EXPECT_EQ(diagnose_boot({.serial = run.serial}).file, "");
}

TEST(DiagnoseBoot, SeesThatEveryRecordedSystemCameUp) {
  const std::vector<std::string> names = runs("pos-");
  ASSERT_EQ(names.size(), 9U);
  for (const std::string& name : names) {
    const RecordedBoot run = load(name);
    const BootDiagnosis diagnosis = diagnose_boot({.serial = run.serial});
    if (name == "pos-sboff-dump") {
      // Stopped while grub ran: nothing failed yet.
      EXPECT_EQ(diagnosis.outcome, BootOutcome::did_not_boot);
      EXPECT_EQ(diagnosis.component, "grub");
    } else {
      EXPECT_EQ(diagnosis.outcome, BootOutcome::booted) << name;
    }
    EXPECT_FALSE(serial_shows_end_of_boot(run.serial)) << name;
  }
}

TEST(DiagnoseBoot, TheAgentsWordCountsWithoutAnySerialText) {
  EXPECT_EQ(diagnose_boot({.agent_spoke = true}).outcome, BootOutcome::booted);
  EXPECT_EQ(diagnose_boot({}).outcome, BootOutcome::did_not_boot);
}

TEST(DiagnoseBoot, TheLastBootCounts) {
  const RecordedBoot good = load("pos-good"), refused = load("neg-grub");
  EXPECT_EQ(diagnose_boot({.serial = good.serial + refused.serial}).outcome, BootOutcome::refused);
  EXPECT_EQ(diagnose_boot({.serial = refused.serial + "\n" + good.serial}).outcome, BootOutcome::booted);
  const std::string restarting = good.serial + "BdsDxe: loading Boot0001 \"UEFI Misc Device\"\r\n";
  EXPECT_EQ(diagnose_boot({.serial = restarting}).outcome, BootOutcome::did_not_boot);
}

TEST(DiagnoseBoot, TheMemoryTellsWhenTheSerialPortIsSilent) {
  const RecordedBoot run = load("neg-dbx-shim");
  const BootDiagnosis diagnosis = diagnose_boot({.memory = build_memory(run.executions, run.event_log)});
  EXPECT_EQ(diagnosis.outcome, BootOutcome::refused);
  EXPECT_EQ(diagnosis.sha256->to_hex(), "80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8");
}

TEST(DiagnoseBoot, AnotherDeviceThatStartsOutweighsARefusedOne) {
  const RecordedBoot run = load("neg-unsigned");
  const std::string serial =
      "BdsDxe: starting Boot0002 \"UEFI Misc Device 2\" from PciRoot(0x0)/Pci(0x2,0x0)\r\nWelcome to "
      "GRUB!\r\n";
  EXPECT_EQ(diagnose_boot({.serial = serial, .memory = build_memory(run.executions, {})}).outcome,
            BootOutcome::did_not_boot);
}

TEST(ScanMemory, FindsTablesAndTheWholeLog) {
  const RecordedBoot run = load("neg-unsigned");
  const MemoryFindings findings = scan_memory(build_memory(run.executions, run.event_log));
  EXPECT_TRUE(findings.system_table);
  EXPECT_TRUE(findings.execution_table);
  ASSERT_EQ(findings.executions.size(), 2U);
  EXPECT_EQ(findings.executions[0].action, ImageAction::untested);
  EXPECT_THAT(findings.executions[0].name, HasSubstr("HD(1,GPT,"));
  EXPECT_EQ(findings.event_log, run.event_log);
}

TEST(ScanMemory, FindsNothingInMemoryWithoutFirmware) {
  const MemoryFindings findings = scan_memory(Bytes(kMemorySize));
  EXPECT_FALSE(findings.system_table);
  EXPECT_THAT(findings.executions, IsEmpty());
  EXPECT_THAT(findings.event_log, IsEmpty());
  EXPECT_FALSE(scan_memory(ByteSpan()).system_table);
}

// Counts what is asked of it; from `readable` on nothing can be read.
class WatchedMemory final : public GuestMemory {
 public:
  explicit WatchedMemory(Bytes memory) : readable(memory.size()), memory_(std::move(memory)) {}
  [[nodiscard]] std::uint64_t size() const override { return memory_.size(); }
  [[nodiscard]] bool read(std::uint64_t address, MutableByteSpan out) const override {
    EXPECT_LE(out.size(), memory_.size() - address) << "reads stay within the memory";
    largest = std::max(largest, out.size());
    total += out.size();
    if (address + out.size() > readable) return false;
    std::ranges::copy(ByteSpan(memory_).subspan(address, out.size()), out.begin());
    return true;
  }
  std::uint64_t readable;
  mutable std::size_t largest = 0, total = 0;

 private:
  Bytes memory_;
};

TEST(ScanMemory, FindsWhatLiesAcrossItsWindows) {
  constexpr std::size_t kBoundary = std::size_t{1} << 20;
  const RecordedBoot run = load("neg-unsigned");
  Bytes memory = build_memory(run.executions, run.event_log);
  const auto move = [&](std::size_t from, std::size_t to, std::size_t size) {
    const Bytes content = to_bytes(ByteSpan(memory).subspan(from, size));
    std::fill_n(memory.begin() + static_cast<std::ptrdiff_t>(from), size, std::byte{});
    place(memory, to, content);
  };
  move(kSystemTable, 7 * kBoundary - 8, 0x78);
  move(kEventLog, 3 * kBoundary - 4096, run.event_log.size());
  ASSERT_GT(run.event_log.size(), 4096U);
  const MemoryFindings findings = scan_memory(WatchedMemory(std::move(memory)));
  EXPECT_EQ(findings.executions.size(), 2U);
  EXPECT_EQ(findings.event_log, run.event_log);
}

TEST(ScanMemory, NeedsLittleMemoryOfItsOwn) {
  const RecordedBoot run = load("neg-unsigned");
  Bytes large(std::size_t{64} << 20);
  place(large, 0, build_memory(run.executions, run.event_log));
  const WatchedMemory memory(std::move(large));
  EXPECT_EQ(scan_memory(memory).event_log, run.event_log);
  EXPECT_LE(memory.largest, std::size_t{5} << 20);
}

TEST(ScanMemory, PassesOverWhatCannotBeReadAnyMore) {
  const RecordedBoot run = load("neg-unsigned");
  WatchedMemory memory(build_memory(run.executions, run.event_log));
  memory.readable = kEventLog + 4096;  // as when the file is shortened while it is read
  const MemoryFindings findings = scan_memory(memory);
  EXPECT_FALSE(findings.system_table);
  EXPECT_THAT(findings.event_log, IsEmpty());
}

TEST(ScanMemory, IsNotKeptBusyByWhatOnlyLooksLikeTables) {
  Bytes memory(kMemorySize);
  // System tables one after another, each of which names an execution table that breaks off at its end; and a
  // log at the beginning of every page.
  const RecordedBoot run = load("neg-unsigned");
  const Bytes good = build_memory(run.executions, run.event_log);
  for (std::size_t at = std::size_t{4} << 20; at + 0x78 <= kMemorySize; at += 0x78)
    place(memory, at, ByteSpan(good).subspan(kSystemTable, 0x78));
  place(memory, kConfigurationTables, ByteSpan(good).subspan(kConfigurationTables, 0x78));
  for (std::size_t at = 0; at < std::size_t{4} << 20; at += 4096)
    place(memory, at, ByteSpan(run.event_log).first(4096));
  const WatchedMemory watched(std::move(memory));
  (void)scan_memory(watched);
  EXPECT_LE(watched.total, std::size_t{64} * (9 << 20)) << "64 tries of each kind, and the windows";
}

TEST(ScanMemory, PassesOverTablesThatPointNowhere) {
  const RecordedBoot run = load("neg-unsigned");
  const Bytes good = build_memory(run.executions, run.event_log);
  const std::pair<std::size_t, std::uint64_t> damages[] = {
      {kSystemTable + 0x68, 65},                               // too many tables
      {kSystemTable + 0x70, kMemorySize - 24},                 // tables run over the end
      {kSystemTable + 0x70, ~std::uint64_t{0}},                //
      {kConfigurationTables + 40, kMemorySize - 4},            // execution table runs over the end
      {kConfigurationTables + 40, ~std::uint64_t{0}},          //
      {kExecutionTable, 65},                                   // too many entries
      {kExecutionTable + 8, std::uint64_t{7} << 32},           // entry smaller than its header
      {kExecutionTable + 8, std::uint64_t{0x7fffffff} << 32},  // entry larger than anything
  };
  for (const auto& [address, value] : damages) {
    Bytes memory = good;
    store_le64(memory, address, value);
    const MemoryFindings findings = scan_memory(memory);
    EXPECT_FALSE(findings.execution_table) << address;
    EXPECT_EQ(findings.event_log, run.event_log);
  }
}

TEST(ParseImageExecutions, MakesNamesFitToPrint) {
  ImageExecution execution{
      .action = ImageAction::untested, .name = "a\x1b[2Jb", .file = std::string("\\x\x07", 3)};
  const Bytes memory = build_memory({execution}, {});
  const auto executions = parse_image_executions(memory, kExecutionTable);
  ASSERT_TRUE(executions) << executions.error().describe();
  EXPECT_EQ((*executions)[0].name, "a?[2Jb");
  EXPECT_EQ((*executions)[0].file, "\\x?");
}

TEST(PlainText, KeepsWordsAndDropsTheTerminal) {
  EXPECT_EQ(plain_text("\x1b[2J\x1b[01;01H\x1b[0m\x1b[37mBdsDxe\r\n\xb3 x"), "\n\nBdsDxe\n  x");
  EXPECT_EQ(plain_text("\x1b"), "");
  EXPECT_EQ(plain_text("\x1b["), "");
  EXPECT_EQ(plain_text("\x1b[1;"), "");
}

TEST(ReadSigns, KnowsAnOperatingSystem) {
  for (const char* line : {"[    0.000000] Linux version 6.1", "[12.123456] x", "Linux version 6.1.0",
                           "debian login:", "bootseal debian-12-mini ready"}) {
    EXPECT_TRUE(read_signs(line).booted) << line;
  }
  for (const char* line : {"[  OK  ] x", "[1.5] x", "[ 12.123456]x", "[", "[ ", "Welcome to GRUB!",
                           "bootseal", "login:", "[.123456] x"}) {
    EXPECT_FALSE(read_signs(line).booted) << line;
  }
}

TEST(ReadSigns, APanicIsNoSignOfLife) {
  const std::string serial =
      "[    1.2] x\r\n[    2.000001] VFS: Unable to mount root fs\r\n[    2.100000] Kernel panic - not "
      "syncing: VFS: Unable to "
      "mount root fs on unknown-block(0,0)\r\n[    2.200000] ---[ end Kernel panic ]---\r\n";
  const BootDiagnosis diagnosis = diagnose_boot({.serial = serial});
  EXPECT_EQ(diagnosis.outcome, BootOutcome::did_not_boot);
  EXPECT_EQ(diagnosis.component, "kernel");
  EXPECT_THAT(diagnosis.message, HasSubstr("unknown-block(0,0)"));
  EXPECT_TRUE(serial_shows_end_of_boot(serial));
  EXPECT_EQ(
      diagnose_boot({.serial = serial + "BdsDxe: loading Boot0001\r\n[    0.000000] Linux\r\n"}).outcome,
      BootOutcome::booted);
}

TEST(ReadSigns, GrubMayFailToLoadOtherThingsThanTheKernel) {
  const std::string font = "Welcome to GRUB!\r\nerror: prohibited by secure boot policy.\r\n";
  EXPECT_FALSE(serial_shows_end_of_boot(font));
  EXPECT_EQ(read_signs(plain_text(font)).refuser, std::nullopt);
  EXPECT_EQ(read_signs(plain_text(font + "error: you need to load the kernel first.\r\n")).refuser,
            Refuser::grub);
}

TEST(ReadSigns, KnowsARevokedShim) {
  EXPECT_EQ(read_signs("Verifying shim SBAT data failed: Security Policy Violation").refuser,
            Refuser::shim_itself);
  EXPECT_EQ(diagnose_boot({.serial = "Verifying shim SBAT data failed: Security Policy Violation"}).component,
            "shim");
}

}  // namespace
}  // namespace bootseal::uefi
