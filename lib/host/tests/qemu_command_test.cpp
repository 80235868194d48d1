#include "bootseal/host/qemu_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "accelerator_cache.h"

namespace bootseal::host {
namespace {

MachineConfig trusted_config() {
  MachineConfig config;
  config.vm = VmId::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8").value();
  config.name = "web";
  config.machine_type = "pc-q35-7.2";
  config.memory_mib = 1024;
  config.image = "/images/base.qcow2";
  config.disk = "/home/vms/1/disk.qcow2";
  config.seed = "/home/vms/1/seed.iso";
  config.variables = "/home/vms/1/variables.fd";
  config.run_folder = "/run/1";
  return config;
}

class CommandLine {
 public:
  explicit CommandLine(const MachineConfig& config, AcceleratorKind accelerator = AcceleratorKind::tcg)
      : arguments_(qemu_arguments(config, accelerator, Firmware{}, QemuDescriptors{})) {}
  // All values of an option.
  [[nodiscard]] std::vector<std::string> all(std::string_view option) const {
    std::vector<std::string> values;
    for (std::size_t i = 0; i + 1 < arguments_.size(); ++i) {
      if (arguments_[i] == option) values.push_back(arguments_[i + 1]);
    }
    return values;
  }
  [[nodiscard]] std::string one(std::string_view option) const {
    const auto values = all(option);
    EXPECT_EQ(values.size(), 1U) << option;
    return values.empty() ? "" : values[0];
  }
  [[nodiscard]] bool has(std::string_view option) const {
    return std::ranges::find(arguments_, option) != arguments_.end();
  }
  // The blockdev with this node name.
  [[nodiscard]] json::Value node(std::string_view name) const {
    for (const std::string& text : all("-blockdev")) {
      json::Value value = json::parse(text).value();
      if (value.at("node-name").as_string() == name) return value;
    }
    ADD_FAILURE() << "no node " << name;
    return nullptr;
  }
  [[nodiscard]] std::string device(std::string_view id) const {
    for (const std::string& text : all("-device")) {
      if (text.find("id=" + std::string(id)) != std::string::npos) return text;
    }
    return "";
  }

 private:
  std::vector<std::string> arguments_;
};

TEST(QemuCommand, TakesNothingFromDefaultsOrFilesOfTheUser) {
  const CommandLine line(trusted_config());
  EXPECT_TRUE(line.has("-nodefaults"));
  EXPECT_TRUE(line.has("-no-user-config"));
  EXPECT_TRUE(line.has("-S"));
  EXPECT_EQ(line.one("-sandbox"), "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  EXPECT_EQ(line.one("-nic"), "none");
}

TEST(QemuCommand, NeverBootsAKernelDirectly) {
  for (const bool trusted : {true, false}) {
    MachineConfig config = trusted_config();
    config.trusted = trusted;
    const CommandLine line(config);
    for (const char* option : {"-kernel", "-initrd", "-append", "-fw_cfg", "-bios"})
      EXPECT_FALSE(line.has(option)) << option;
  }
}

TEST(QemuCommand, ATrustedVmHasLockedFlashAndVariablesFromGuestd) {
  const CommandLine line(trusted_config());
  EXPECT_THAT(line.one("-machine"), testing::StartsWith("pc-q35-7.2,smm=on,"));
  EXPECT_THAT(line.one("-machine"), testing::HasSubstr("pflash0=firmware-code,pflash1=variables"));
  EXPECT_THAT(line.all("-global"),
              testing::UnorderedElementsAre("driver=cfi.pflash01,property=secure,value=on",
                                            "driver=ICH9-LPC,property=disable_s3,value=1"));
  const json::Value code = line.node("firmware-code");
  EXPECT_TRUE(code.at("read-only").as_bool());
  EXPECT_EQ(code.at("file").at("filename").as_string(), "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd");
  const json::Value nbd = line.node("variables").at("file");
  EXPECT_EQ(nbd.at("driver").as_string(), "nbd");
  EXPECT_EQ(nbd.at("server").at("path").as_string(), "/run/1/nbd.sock");
  EXPECT_EQ(nbd.at("export").as_string(), "variables");
  EXPECT_THAT(line.all("-tpmdev"), testing::ElementsAre("emulator,id=tpm-backend,chardev=tpm"));
  EXPECT_EQ(line.device("tpm0"), "tpm-crb,id=tpm0,tpmdev=tpm-backend");
}

TEST(QemuCommand, WithoutAVtpmThereIsNoTpm) {
  MachineConfig config = trusted_config();
  config.vtpm = false;
  const CommandLine line(config);
  EXPECT_TRUE(line.all("-tpmdev").empty());
  EXPECT_EQ(line.device("tpm0"), "");
  EXPECT_EQ(line.node("variables").at("file").at("driver").as_string(), "nbd");
}

TEST(QemuCommand, AStandardVmHasItsOwnVariablesFile) {
  MachineConfig config = trusted_config();
  config.trusted = false;
  const CommandLine line(config);
  EXPECT_THAT(line.one("-machine"), testing::HasSubstr("smm=off"));
  EXPECT_EQ(line.node("firmware-code").at("file").at("filename").as_string(),
            "/usr/share/OVMF/OVMF_CODE_4M.fd");
  EXPECT_EQ(line.node("variables").at("file").at("filename").as_string(), "/home/vms/1/variables.fd");
  EXPECT_TRUE(line.all("-tpmdev").empty());
}

TEST(QemuCommand, TheDiskChainIsNamedToItsEnd) {
  const json::Value disk = CommandLine(trusted_config()).node("disk");
  EXPECT_EQ(disk.at("driver").as_string(), "qcow2");
  EXPECT_EQ(disk.at("file").at("locking").as_string(), "on");
  EXPECT_EQ(disk.at("backing").at("driver").as_string(), "qcow2");
  EXPECT_TRUE(disk.at("backing").at("read-only").as_bool());
  EXPECT_EQ(disk.at("backing").at("file").at("filename").as_string(), "/images/base.qcow2");
  EXPECT_TRUE(disk.at("backing").at("backing").is_null());
}

TEST(QemuCommand, EveryPciDeviceHasAnIdAndAnAddressOfItsOwn) {
  std::set<std::string> addresses;
  for (const std::string& device : CommandLine(trusted_config()).all("-device")) {
    EXPECT_THAT(device, testing::HasSubstr("id="));
    if (device.find("bus=pcie.0") == std::string::npos) continue;
    const std::size_t at = device.find("addr=");
    ASSERT_NE(at, std::string::npos) << device;
    EXPECT_TRUE(addresses.insert(device.substr(at, device.find(',', at) - at)).second) << device;
  }
  EXPECT_EQ(addresses.size(), 6U);
}

TEST(QemuCommand, DisksOfTheStoreComeAsDescriptorsOnly) {
  MachineConfig config = trusted_config();
  config.os_disk_id = DiskId::random();
  config.os_disk = {"/home/disks/os/disk.qcow2", false, "/images/base.qcow2"};
  const DiskId data = DiskId::random();
  config.disks.push_back({data, 7, true, {"/home/disks/data/disk.raw", true, {}}});
  const CommandLine line(config);
  EXPECT_THAT(line.all("-add-fd"), testing::ElementsAre("fd=13,set=1,opaque=serial-log", "fd=32,set=32",
                                                        "fd=33,set=33", "fd=34,set=34"));
  const json::Value disk = line.node("disk");
  EXPECT_EQ(disk.at_pointer("/file/filename").as_string(), "/dev/fdset/32");
  EXPECT_EQ(disk.at_pointer("/backing/file/filename").as_string(), "/dev/fdset/33");
  EXPECT_TRUE(disk.at_pointer("/backing/backing").is_null());
  EXPECT_EQ(line.node("lun7").at("driver").as_string(), "raw");
  EXPECT_TRUE(line.node("lun7").at("read-only").as_bool());
  const std::string device = line.device("data-" + data.to_string());
  for (const char* part : {"scsi-hd,", "bus=scsi1.0", "lun=7", "serial=bootseal-lun7", "drive=lun7"})
    EXPECT_THAT(device, testing::HasSubstr(part));
  for (const std::string& node : line.all("-blockdev"))
    EXPECT_EQ(node.find("/home/disks"), std::string::npos);
}

TEST(QemuCommand, InterfacesAreServersThatQemuListensFor) {
  MachineConfig config = trusted_config();
  config.interfaces = {netd::MacAddress::parse("00:0d:3a:00:00:01").value(),
                       netd::MacAddress::parse("00:0d:3a:00:00:02").value()};
  const CommandLine line(config);
  EXPECT_THAT(line.all("-netdev"), testing::ElementsAre("stream,id=net0,server=on,addr.type=fd,addr.str=16",
                                                        "stream,id=net1,server=on,addr.type=fd,addr.str=17"));
  EXPECT_THAT(line.device("nic1"), testing::HasSubstr("mac=00:0d:3a:00:00:02"));
  EXPECT_THAT(line.device("nic1"), testing::HasSubstr("addr=0x9"));
}

TEST(QemuCommand, CommasInNamesAndPathsStayWhatTheyAre) {
  MachineConfig config = trusted_config();
  config.run_folder = "/run/a,b";
  config.name = "x,y";
  const CommandLine line(config);
  EXPECT_EQ(line.one("-vnc"), "unix:/run/a,,b/own/vnc.sock");
  EXPECT_THAT(line.all("-chardev"), testing::Contains("socket,id=tpm,path=/run/a,,b/tpm.sock"));
  EXPECT_EQ(line.one("-name"), "guest=x,,y,debug-threads=on");
  EXPECT_EQ(line.node("variables").at("file").at("server").at("path").as_string(), "/run/a,b/nbd.sock");
}

TEST(QemuCommand, TheProcessorFitsTheAccelerator) {
  EXPECT_EQ(CommandLine(trusted_config()).one("-cpu"), "Nehalem");
  EXPECT_EQ(CommandLine(trusted_config()).one("-accel"), "tcg,thread=multi");
  EXPECT_EQ(CommandLine(trusted_config(), AcceleratorKind::kvm).one("-cpu"), "host");
  EXPECT_EQ(CommandLine(trusted_config(), AcceleratorKind::kvm).one("-accel"), "kvm");
  MachineConfig config = trusted_config();
  config.cpu_model = "EPYC";
  config.cpus = 3;
  EXPECT_EQ(CommandLine(config).one("-cpu"), "EPYC");
  EXPECT_EQ(CommandLine(config).one("-smp"), "cpus=3,sockets=1,cores=3,threads=1");
}

TEST(MachineType, IsTheNewestKnownOne) {
  constexpr std::string_view kHelp =
      "Supported machines are:\nmicrovm              microvm (i386)\npc-i440fx-7.2        Standard PC\nq35   "
      "               Standard PC (alias of pc-q35-7.2)\n"
      "pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)\npc-q35-7.1           Standard PC\npc-q35-4.0.1   "
      "      Standard PC\npc-q35-2.12          Standard PC\n";
  EXPECT_EQ(choose_machine_type(kHelp).value(), "pc-q35-7.2");
  EXPECT_EQ(choose_machine_type(kHelp, "pc-q35-7.1").value(), "pc-q35-7.1");
  EXPECT_EQ(choose_machine_type(kHelp, "pc-q35-4.5").value(), "pc-q35-2.12")
      << "12 is more than 5, and 4.0.1 is no plain version";
  EXPECT_EQ(choose_machine_type("pc-q35-9.1  new\npc-q35-6.0  old").value(), "pc-q35-6.0");
  EXPECT_EQ(choose_machine_type("pc-i440fx-7.2  x").error().code, ErrorCode::unsupported);
  EXPECT_FALSE(choose_machine_type(""));
}

TEST(LowMemory, EndsAtTheHole) {
  EXPECT_EQ(low_memory_bytes(512), std::uint64_t{512} << 20);
  EXPECT_EQ(low_memory_bytes(2815), std::uint64_t{2815} << 20);
  EXPECT_EQ(low_memory_bytes(2816), std::uint64_t{2} << 30);
  EXPECT_EQ(low_memory_bytes(65536), std::uint64_t{2} << 30);
}

TEST(KvmRefusal, IsExplainedInWords) {
  const std::string assertion =
      "qemu-system-x86_64: ../target/i386/kvm/kvm.c:3015: kvm_buf_set_msrs: Assertion `ret == "
      "cpu->kvm_msr_buf->nmsrs' failed.";
  EXPECT_THAT(explain_kvm_refusal(assertion),
              testing::StartsWith("KVM here cannot run Secure Boot guests: no System Management Mode ("));
  EXPECT_THAT(explain_kvm_refusal(assertion), testing::Not(testing::HasSubstr("kvm.c")));
  EXPECT_EQ(explain_kvm_refusal("qemu-system-x86_64: failed to initialize kvm: Permission denied"),
            "KVM cannot be used: opening /dev/kvm failed (Permission denied)");
}

}  // namespace
}  // namespace bootseal::host
