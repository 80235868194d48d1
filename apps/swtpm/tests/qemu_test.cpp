// QEMU with bootseal-swtpm as its TPM emulator, to the firmware and back.
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>

#include "bootseal/json/json.h"
#include "vtpm_process.h"

namespace bootseal::swtpm {
namespace {

using namespace std::chrono_literals;
using test::kOurs;
using test::TemporaryFolder;
using test::VtpmProcess;

// One QMP command and its answer; events before it are left out.
std::string command(test::Socket& qmp, std::string_view text) {
  qmp.send(as_bytes(std::string(text) + "\n"));
  for (;;) {
    const std::string line = qmp.receive_line();
    if (line.find("\"return\"") != std::string::npos || line.find("\"error\"") != std::string::npos)
      return line;
  }
}

// The firmware's measurements show that it spoke with the TPM: PCR 0 is not zero any more.
TEST(Qemu, BootsTheFirmwareWithItsTpmAndResetsIt) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "state");
  VtpmProcess tpm(kOurs, folder / "state", {"--terminate"});
  { const test::Socket ready = test::Socket::connect(tpm.control()); }
  std::filesystem::copy_file("/usr/share/OVMF/OVMF_VARS_4M.fd", folder / "vars.fd");
  Command qemu;
  qemu.arguments = {"qemu-system-x86_64",
                    "-machine",
                    "q35,accel=tcg",
                    "-m",
                    "128",
                    "-display",
                    "none",
                    "-nodefaults",
                    "-drive",
                    "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
                    "-drive",
                    "if=pflash,format=raw,file=" + (folder / "vars.fd").native(),
                    "-chardev",
                    "socket,id=tpm,path=" + tpm.control().native(),
                    "-tpmdev",
                    "emulator,id=tpm0,chardev=tpm",
                    "-device",
                    "tpm-crb,tpmdev=tpm0",
                    "-qmp",
                    "unix:" + (folder / "qmp").native() + ",server=on,wait=off"};
  const ProcessIdentity process = spawn(qemu).value();
  const auto end = [&] {
    static_cast<void>(signal_process(process, SIGKILL));
    static_cast<void>(wait_for_end(process, 10s));
  };
  try {
    test::Socket qmp = test::Socket::connect(folder / "qmp");
    qmp.receive_line();
    EXPECT_THAT(command(qmp, R"({"execute":"qmp_capabilities"})"), testing::HasSubstr("return"));
    EXPECT_THAT(command(qmp, R"({"execute":"query-tpm"})"), testing::HasSubstr("tpm-crb"));
    // Generations of the state: 1 it is made, 2 the TPM is manufactured, 3 the firmware's TPM2_Startup.
    constexpr std::uint64_t kStarted = 3;
    const auto generation = [&] {
      const Bytes text = read_file(folder / "state/.bootseal-swtpm", 4096).value();
      return json::parse(as_text(text)).value().as_object().at("generation").to_number<std::uint64_t>();
    };
    const auto deadline = std::chrono::steady_clock::now() + 120s;
    while (generation() < kStarted && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_GE(generation(), kStarted) << tpm.output();
    const std::uint64_t before = generation();
    EXPECT_THAT(command(qmp, R"({"execute":"system_reset"})"), testing::HasSubstr("return"));
    while (generation() <= before && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_GT(generation(), before) << "the reset TPM was started again: " << tpm.output();
    EXPECT_THAT(command(qmp, R"({"execute":"quit"})"), testing::HasSubstr("return"));
    EXPECT_EQ(tpm.wait(), 0) << "QEMU's exit ends it";
  } catch (const std::exception& error) {
    end();
    FAIL() << error.what() << "\n" << tpm.output();
  }
  static_cast<void>(wait_for_end(process, 10s));
  end();
}

// SeaBIOS finds a TPM 1.2 behind tpm-tis, starts it and measures into it.
TEST(Qemu, MeasuresSeaBiosIntoItsTpm12) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "state");
  const auto log = folder / "log";
  VtpmProcess tpm(kOurs, folder / "state", {"--terminate", "--log", "file=" + log.native() + ",level=2"},
                  test::TpmVersion::v1_2);
  { const test::Socket ready = test::Socket::connect(tpm.control()); }
  Command qemu;
  qemu.arguments = {"qemu-system-x86_64",
                    "-machine",
                    "pc,accel=tcg",
                    "-m",
                    "64",
                    "-display",
                    "none",
                    "-nodefaults",
                    "-chardev",
                    "socket,id=tpm,path=" + tpm.control().native(),
                    "-tpmdev",
                    "emulator,id=tpm0,chardev=tpm",
                    "-device",
                    "tpm-tis,tpmdev=tpm0",
                    "-qmp",
                    "unix:" + (folder / "qmp").native() + ",server=on,wait=off"};
  const ProcessIdentity process = spawn(qemu).value();
  try {
    test::Socket qmp = test::Socket::connect(folder / "qmp");
    qmp.receive_line();
    EXPECT_THAT(command(qmp, R"({"execute":"qmp_capabilities"})"), testing::HasSubstr("return"));
    const auto said = [&] { return std::string(as_text(read_file(log, 4 << 20).value())); };
    const std::string extended = "command 0x14 of 34 bytes: 0x0, 30 bytes";  // TPM_Extend
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (said().find(extended) == std::string::npos && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    EXPECT_THAT(said(), testing::HasSubstr("TPM 1.2 started: 0x0"));
    EXPECT_THAT(said(), testing::HasSubstr(extended));
    EXPECT_THAT(command(qmp, R"({"execute":"quit"})"), testing::HasSubstr("return"));
    EXPECT_EQ(tpm.wait(), 0);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  static_cast<void>(signal_process(process, SIGKILL));
  static_cast<void>(wait_for_end(process, 10s));
}

}  // namespace
}  // namespace bootseal::swtpm
