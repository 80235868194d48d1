// guestd behind a real QEMU: SeaBIOS for the order of the control channel, OVMF with Secure Boot for the
// variables.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <boost/json/object.hpp>
#include <csignal>
#include <cstdlib>

#include "guestd_process.h"

namespace bootseal::guest {
namespace {

using namespace std::chrono_literals;
using test::Guestd;
using test::Socket;
using test::Vm;
using testing::HasSubstr;

constexpr const char* kFirmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
constexpr const char* kFirmwareVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd";
constexpr auto kBootLimit = 180s;

class Qemu {
 public:
  Qemu(const Vm& vm, std::vector<std::string> more)
      : qmp_path_(vm.folder / "qmp.sock"), log_(vm.folder / "qemu.log") {
    Command command;
    command.arguments = {"qemu-system-x86_64",
                         "-nodefaults",
                         "-display",
                         "none",
                         "-accel",
                         "tcg",
                         "-m",
                         "256",
                         "-chardev",
                         "socket,id=tpm,path=" + vm.tpm().native(),
                         "-tpmdev",
                         "emulator,id=t,chardev=tpm",
                         "-device",
                         "tpm-crb,tpmdev=t",
                         "-qmp",
                         "unix:" + qmp_path_.native() + ",server=on,wait=off"};
    command.arguments.insert(command.arguments.end(), more.begin(), more.end());
    process_ = spawn(command).value();
    qmp_.emplace(Socket::connect(qmp_path_));
    qmp_->receive_line();  // the greeting
    execute("qmp_capabilities");
  }
  ~Qemu() {
    static_cast<void>(signal_process(process_, SIGKILL));
    static_cast<void>(wait_for_end(process_, 10s));
  }
  void execute(std::string_view name) {
    qmp_->send(as_bytes(fmt::format("{{\"execute\":\"{}\"}}\n", name)));
    while (true) {
      const std::string line = qmp_->receive_line();
      if (line.find("\"return\"") != std::string::npos) return;
      if (line.find("\"error\"") != std::string::npos) throw std::runtime_error(line);
    }
  }
  void quit() {
    execute("quit");
    EXPECT_TRUE(wait_for_end(process_, 30s).value());
  }

 private:
  std::filesystem::path qmp_path_;
  std::filesystem::path log_;
  ProcessIdentity process_;
  std::optional<Socket> qmp_;
};

// How often `text` stands in the file; 0 while there is none.
int count_of(std::string_view text, const std::filesystem::path& file) {
  const Bytes content = read_file(file, 1U << 20).value_or(Bytes{});
  const std::string_view all = as_text(content);
  int count = 0;
  for (std::size_t at = all.find(text); at != std::string_view::npos; at = all.find(text, at + 1)) ++count;
  return count;
}

class GuestdUnderQemu : public testing::Test {
 protected:
  void make(ByteSpan variables) { vm_.minimum_generation = test::make_guest_state(vm_, ca_, variables); }
  json::Value status() {
    Socket management = Socket::connect(vm_.management());
    return test::manage(management, "status").at("result");
  }
  // Asks again until it holds; each question is a round trip over a socket.
  template <typename Condition>
  bool eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kBootLimit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  Bytes variables() {
    const std::filesystem::path copy = vm_.folder / "copy";
    const auto copied = run_checked(
        {.arguments = {"nbdcopy", "nbd+unix:///variables?socket=" + vm_.nbd().native(), copy.native()}}, {},
        60s);
    EXPECT_TRUE(copied) << copied.error().describe();
    return read_file(copy, 1 << 20).value();
  }
  // A live record (State ADDED) with this name.
  static bool holds(const Bytes& image, std::string_view name) {
    ByteWriter ucs2;
    for (const char letter : name) ucs2.u8(static_cast<std::uint8_t>(letter)).u8(0);
    ucs2.le16(0);
    constexpr std::size_t kFirst = 0x64, kHeader = 60, kEnd = 0x40000;
    for (std::size_t at = kFirst; at + kHeader < kEnd && load_le16(image, at) == 0x55AA;) {
      const std::size_t name_size = load_le32(image, at + 36), data_size = load_le32(image, at + 40);
      const std::size_t end = at + kHeader + name_size + data_size;
      if (end > kEnd) return false;
      const ByteSpan found = ByteSpan(image).subspan(at + kHeader, name_size);
      if (image[at + 2] == std::byte{0x3F} && std::ranges::equal(found, ucs2.view())) return true;
      at = (end + 3) / 4 * 4;
    }
    return false;
  }

  Vm vm_;
  test::SiteCa ca_;
};

TEST_F(GuestdUnderQemu, StartsResetsAndEndsWithSeaBios) {
  make(test::erased_flash());
  Guestd guestd = Guestd::serve(vm_);
  ASSERT_TRUE(guestd.ready()) << guestd.log();
  for (int run = 0; run < 2; ++run) {
    // SeaBIOS tells the debug port when it is done. Before that a command of it may be under way, and QEMU
    // ends without a word to the TPM then.
    const std::filesystem::path words = vm_.folder / fmt::format("seabios-{}.log", run);
    const auto commands = [&] { return status().at("tpm").at("commands").to_number<std::uint64_t>(); };
    const std::uint64_t before = commands();
    Qemu qemu(vm_, {"-machine", "q35", "-chardev", "file,id=words,path=" + words.native(), "-device",
                    "isa-debugcon,iobase=0x402,chardev=words"});
    EXPECT_TRUE(status().at("tpm").at("running").as_bool())
        << "QEMU initialises the TPM before it answers on QMP";
    const auto boots = [&] { return count_of("No bootable device.", words); };
    ASSERT_TRUE(eventually([&] { return boots() == 1; })) << guestd.log();
    const std::uint64_t first = commands();
    EXPECT_GT(first, before + 3) << "SeaBIOS starts the TPM";
    qemu.execute("system_reset");
    ASSERT_TRUE(eventually([&] { return boots() == 2; })) << guestd.log();
    EXPECT_GT(commands(), first + 3) << "and again after a reset";
    qemu.quit();
    ASSERT_TRUE(eventually([&] { return !status().at("tpm").at("running").as_bool(); })) << guestd.log();
  }
  guestd.signal(SIGTERM);
  EXPECT_EQ(guestd.wait(), 0) << guestd.log();
}

TEST_F(GuestdUnderQemu, KeepsTheVariablesOfOvmfAcrossAKill) {
  const Bytes blank = read_file(kFirmwareVariables, kVariableFlashSize).value();
  ASSERT_EQ(blank.size(), kVariableFlashSize);
  make(blank);
  ASSERT_FALSE(holds(blank, "BootOrder"));
  {
    Guestd guestd = Guestd::serve(vm_);
    ASSERT_TRUE(guestd.ready()) << guestd.log();
    const json::Object server{{"type", "unix"}, {"path", vm_.nbd().native()}};
    const json::Object nbd{{"driver", "nbd"}, {"server", server}, {"export", "variables"}};
    Qemu qemu(vm_, {"-machine", "q35,smm=on,pflash0=code,pflash1=vars", "-global",
                    "driver=cfi.pflash01,property=secure,value=on", "-cpu", "Nehalem", "-blockdev",
                    fmt::format("driver=raw,node-name=code,read-only=on,file.driver=file,file.filename={}",
                                kFirmwareCode),
                    "-blockdev",
                    json::serialize(json::Object{{"driver", "raw"}, {"node-name", "vars"}, {"file", nbd}})});
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(eventually([&] { return holds(variables(), "BootOrder"); })) << guestd.log();
    fmt::print("BootOrder after {} ms, {}\n",
               std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start)
                   .count(),
               json::serialize(status()).substr(0, 200));
    guestd.signal(SIGKILL);
    guestd.wait();
  }
  Guestd guestd = Guestd::serve(vm_);
  ASSERT_TRUE(guestd.ready()) << guestd.log();
  const Bytes after = variables();
  EXPECT_TRUE(holds(after, "BootOrder"));
  EXPECT_TRUE(holds(after, "certdb")) << "what the firmware adds at its first start";
}

}  // namespace
}  // namespace bootseal::guest
