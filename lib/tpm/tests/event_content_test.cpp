#include "bootseal/tpm/event_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "bootseal/crypto/digest.h"
#include "fixtures.h"

namespace bootseal::tpm {
namespace {

using testing::fixture;
using testing::manifest;

EventLog vm_log(const std::string& run) {
  auto log = EventLog::parse(fixture("vm-logs/" + run + ".bin.gz"));
  BOOTSEAL_CHECK(log.has_value());
  return *std::move(log);
}

template <typename Content>
std::vector<Content> contents(const EventLog& log, unsigned pcr) {
  std::vector<Content> found;
  for (const Event& event : log.events()) {
    if (event.pcr != pcr) continue;
    auto content = read_content(event);
    BOOTSEAL_CHECK(content.has_value());
    if (auto* typed = std::get_if<Content>(&*content)) found.push_back(std::move(*typed));
  }
  return found;
}

// What the run's events.txt says in words (data/vm-logs pos-good).
TEST(EventContent, TellsTheVariablesOfADebianBoot) {
  const EventLog log = vm_log("pos-good");
  std::vector<std::string> names;
  for (const VariableContent& variable : contents<VariableContent>(log, 7)) names.push_back(variable.name);
  EXPECT_EQ(names, (std::vector<std::string>{"SecureBoot", "PK", "KEK", "db", "dbx", "db", "SbatLevel",
                                             "MokListRT"}));
  const auto variables = contents<VariableContent>(log, 7);
  EXPECT_EQ(variables[0].vendor.to_string(), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
  EXPECT_EQ(to_hex(variables[0].data), "01");
  EXPECT_EQ(variables[3].vendor.to_string(), "d719b2cb-3d3a-4596-a3bc-dad00e67656f");
  EXPECT_EQ(variables[3].data.size(), 3143U);
  EXPECT_EQ(variables[6].vendor.to_string(), "605dab50-e046-4300-abb6-3dd810dd8b23");
}

TEST(EventContent, TellsThePathsOfTheBootApplications) {
  std::vector<std::string> paths;
  for (const ImageContent& image : contents<ImageContent>(vm_log("pos-good"), 4))
    paths.push_back(image.device_path);
  ASSERT_EQ(paths.size(), 4U);
  EXPECT_THAT(paths[0], ::testing::StartsWith("PciRoot(0x0)/Pci("));
  EXPECT_THAT(paths[0], ::testing::HasSubstr("HD(1,GPT,"));
  EXPECT_THAT(paths[0], ::testing::EndsWith("\\EFI\\BOOT\\BOOTX64.EFI"));
  EXPECT_THAT(paths[1], ::testing::EndsWith("grubx64.efi"));
}

TEST(EventContent, TellsGrubsCommandsAndTheKernelCommandLine) {
  const auto entries = contents<IplContent>(vm_log("pos-cmdline"), 8);
  std::size_t commands = 0;
  std::vector<std::string> command_lines;
  for (const IplContent& entry : entries) {
    commands += entry.kind == IplContent::Kind::grub_command ? 1 : 0;
    if (entry.kind == IplContent::Kind::kernel_command_line) command_lines.push_back(entry.text);
  }
  EXPECT_EQ(commands, 8U);
  ASSERT_EQ(command_lines.size(), 1U);
  EXPECT_THAT(command_lines[0], ::testing::StartsWith("/vmlinuz console=ttyS0 quiet"));
  EXPECT_THAT(command_lines[0], ::testing::HasSubstr("tl.extra=1"));
}

TEST(EventContent, TellsTheSectionsOfAUnifiedKernelImage) {
  std::vector<std::string> names;
  for (const IplContent& entry : contents<IplContent>(vm_log("pos-uki-own-key"), 11))
    names.push_back(entry.text);
  EXPECT_THAT(names, ::testing::Contains(".linux"));
  EXPECT_THAT(names, ::testing::Contains(".cmdline"));
}

TEST(EventContent, TellsThePartitionsAndTheFirmwareVersion) {
  const auto gpt = contents<GptContent>(vm_log("pos-good"), 5);
  ASSERT_EQ(gpt.size(), 1U);
  ASSERT_FALSE(gpt[0].partitions.empty());
  EXPECT_EQ(gpt[0].partitions[0].type.to_string(),
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");  // EFI system partition
  EXPECT_GT(gpt[0].partitions[0].last_lba, gpt[0].partitions[0].first_lba);
  const auto version = contents<TextContent>(vm_log("pos-sid-ms"), 0);
  ASSERT_FALSE(version.empty());
  EXPECT_EQ(version[0].text, "2026.08+ds-2");
}

// Counted by hand over the same logs with another program: what each type's digests cover on real machines.
TEST(EventContent, FindsWhatDigestsCoverOnRealMachines) {
  std::map<EventType, std::map<DigestCover, int>> covers;
  std::vector<std::string> unreadable;
  std::vector<std::string> mismatches;
  for (const json::Value& entry : manifest().at("logs").as_array()) {
    const std::string kind(entry.at("kind").as_string());
    if (kind != "agile" && kind != "sha1") continue;
    const std::string name(entry.at("name").as_string());
    const auto log = EventLog::parse(fixture("event-logs/" + name + ".bin.gz"));
    ASSERT_TRUE(log);
    const auto& banks = log->banks();
    const bool has_sha256 = std::find(banks.begin(), banks.end(), Algorithm::sha256) != banks.end();
    for (const Event& event : log->events()) {
      if (!read_content(event)) unreadable.push_back(name);
      const DigestCover cover = check_digest(event, has_sha256 ? Algorithm::sha256 : banks[0]);
      if (cover == DigestCover::mismatch) mismatches.push_back(name + " " + event_type_name(event.type));
      ++covers[event.type][cover];
    }
  }
  EXPECT_THAT(unreadable, ::testing::IsEmpty());
  // Error separators: the digest is that of ffffffff, the data says who made it.
  EXPECT_EQ(mismatches, std::vector<std::string>(8, "acs-tpm2-small EV_SEPARATOR"));
  using Counts = std::map<DigestCover, int>;
  EXPECT_EQ(covers[EventType::ipl],
            (Counts{{DigestCover::data, 3}, {DigestCover::text, 932}, {DigestCover::opaque, 385}}));
  EXPECT_EQ(covers[EventType::efi_action], (Counts{{DigestCover::data, 88}}));
  EXPECT_EQ(covers[EventType::efi_variable_boot],
            (Counts{{DigestCover::data, 72}, {DigestCover::variable_data, 223}}));
  EXPECT_EQ(covers[EventType::efi_variable_driver_config], (Counts{{DigestCover::data, 221}}));
  EXPECT_EQ(covers[EventType::efi_variable_authority],
            (Counts{{DigestCover::data, 50}, {DigestCover::data_without_last_byte, 14}}));
  EXPECT_EQ(covers[EventType::efi_boot_services_application], (Counts{{DigestCover::opaque, 107}}));
  EXPECT_EQ(covers[EventType::event_tag], (Counts{{DigestCover::data, 55}, {DigestCover::opaque, 2}}));
}

Event event_of(EventType type, ByteSpan data, const Bytes& digest) {
  Event event{.pcr = 7, .type = type, .digests = {}, .data = data, .offset = 0};
  event.digests[algorithm_index(Algorithm::sha256)] = digest;
  return event;
}

Bytes sha256(ByteSpan data) {
  return crypto::digest(crypto::HashAlgorithm::sha256, data);
}

TEST(CheckDigest, SeesAChangedTextBehindAGenuineDigest) {
  const Bytes digest = sha256(as_bytes("boot"));
  EXPECT_EQ(check_digest(event_of(EventType::ipl, as_bytes(std::string_view("grub_cmd: boot\0", 15)), digest),
                         Algorithm::sha256),
            DigestCover::text);
  EXPECT_EQ(check_digest(event_of(EventType::ipl, as_bytes("grub_cmd: boof"), digest), Algorithm::sha256),
            DigestCover::mismatch);
  EXPECT_EQ(check_digest(event_of(EventType::efi_action, as_bytes("boof"), digest), Algorithm::sha256),
            DigestCover::mismatch);
  EXPECT_EQ(check_digest(event_of(EventType::ipl, as_bytes("boof"), digest), Algorithm::sha256),
            DigestCover::opaque);
  EXPECT_EQ(check_digest(event_of(EventType::ipl, as_bytes("boot"), digest), Algorithm::sha384),
            DigestCover::absent);
  EXPECT_TRUE(covers_data(DigestCover::text));
  EXPECT_FALSE(covers_data(DigestCover::opaque));
}

TEST(CheckDigest, HashesAnEmptyKernelCommandLine) {
  const Bytes digest = sha256({});
  EXPECT_EQ(check_digest(event_of(EventType::ipl, as_bytes("grub_cmd: "), digest), Algorithm::sha256),
            DigestCover::text);
}

TEST(ReadContent, RefusesVariablesWhoseSizesDoNotFit) {
  const auto variable = [](std::uint64_t name_units, std::uint64_t size, std::size_t follow) {
    ByteWriter writer;
    writer.fill(16).le64(name_units).le64(size).fill(follow, std::byte{'a'});
    return writer.take();
  };
  const auto code_of = [](const Bytes& data) {
    const auto content = read_content(event_of(EventType::efi_variable_driver_config, data, {}));
    return content ? ErrorCode::internal : content.error().code;
  };
  EXPECT_EQ(code_of(variable(1, 1, 3)), ErrorCode::internal);  // reads
  EXPECT_EQ(code_of(variable(1, 2, 3)), ErrorCode::corrupt);
  EXPECT_EQ(code_of(variable(2, 0, 3)), ErrorCode::corrupt);
  EXPECT_EQ(code_of(variable(0x8000000000000001, 0, 3)), ErrorCode::corrupt);
  EXPECT_EQ(code_of(variable(0, 0xFFFFFFFFFFFFFFFF, 3)), ErrorCode::corrupt);
  EXPECT_EQ(code_of(Bytes(31)), ErrorCode::corrupt);
}

TEST(ReadContent, TellsErrorSeparators) {
  const auto is_error = [](ByteSpan data) {
    return std::get<SeparatorContent>(*read_content(event_of(EventType::separator, data, {}))).error;
  };
  EXPECT_FALSE(is_error(Bytes(4)));
  EXPECT_FALSE(is_error(as_bytes("WBCL")));
  EXPECT_TRUE(is_error(Bytes(4, std::byte{0xFF})));
  EXPECT_TRUE(is_error({}));
}

// UEFI 2.10, 10.6.1.6 and what EDK2 prints for the same bytes.
TEST(DevicePathText, WritesTheUsualNodes) {
  const std::string end = "7fff0400";
  const auto text = [&](const std::string& hex) {
    const auto path = device_path_text(*from_hex(hex + end));
    return path ? *path : path.error().message;
  };
  EXPECT_EQ(text(""), "");
  EXPECT_EQ(text("02010c00d041030a00000000"
                 "010106000003"),
            "PciRoot(0x0)/Pci(0x3,0x0)");
  EXPECT_EQ(text("03120a00"
                 "0100ffff0000"),
            "Sata(0x1,0xffff,0x0)");
  EXPECT_EQ(text("04040c00"
                 "5c0061005c000000"),
            "\\a\\");
  EXPECT_EQ(text("0317100001000000"
                 "0011223344556677"),
            "NVMe(0x1,0011223344556677)");
  EXPECT_EQ(text("6a050600abcd"), "Path(106,5,abcd)");
}

TEST(DevicePathText, RefusesPathsThatDoNotEnd) {
  for (const char* hex : {"", "7f", "7f010400", "04040300", "04040000", "0404ff005c00", "7fff040000"}) {
    const auto path = device_path_text(*from_hex(hex));
    ASSERT_FALSE(path) << hex;
    EXPECT_EQ(path.error().code, ErrorCode::corrupt);
  }
}

TEST(TextFromUtf16, EscapesWhatATerminalMustNotSee) {
  EXPECT_EQ(*text_from_utf16le(*from_hex("610020ac3dd800de")), "a\xea\xb0\xa0\xf0\x9f\x98\x80");
  EXPECT_EQ(*text_from_utf16le(*from_hex("1b0000d8")), "\\u001b\\ud800");
  EXPECT_EQ(*text_from_utf16le(*from_hex("610000006200")), "a");
  EXPECT_EQ(text_from_utf16le(*from_hex("61")).error().code, ErrorCode::corrupt);
}

}  // namespace
}  // namespace bootseal::tpm
