#include "bootseal/host/disk_tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "bootseal/host/record.h"
#include "bootseal/sandbox/sandbox.h"
#include "fakes.h"

namespace bootseal::host::test {
namespace {

std::string output_of(std::vector<std::string> arguments) {
  Command command;
  command.arguments = std::move(arguments);
  const Result<std::string> output = run_checked(command);
  EXPECT_TRUE(output) << output.error().describe();
  return output.value_or("");
}

class DiskToolsTest : public testing::Test {
 protected:
  DiskToolsTest()
      : paths_{folder_.path(), folder_.path() / "run", "/usr/bin", "/usr/share"},
        disks_(create_disk_tools(paths_, Firmware{})) {
    assignment_.vm = VmId::random();
    assignment_.name = "web";
    std::filesystem::create_directories(paths_.images() / "base/1.0.0");
    assignment_.image_disk = (paths_.images() / "base/1.0.0/disk.qcow2").native();
    vm_ = vm_paths(paths_.home, paths_.run, assignment_.vm);
    output_of({"qemu-img", "create", "-q", "-f", "qcow2", assignment_.image_disk, "32M"});
    EXPECT_TRUE(disks_->make_folders(assignment_, 5));
  }
  static void expect_owner(const std::filesystem::path& path, uid_t uid, mode_t mode) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0) << path;
    EXPECT_EQ(status.st_uid, uid) << path;
    EXPECT_EQ(status.st_mode & 07777, mode) << path;
  }

  TemporaryFolder folder_;
  Paths paths_;
  std::unique_ptr<Disks> disks_;
  Assignment assignment_;
  VmPaths vm_;
};

TEST_F(DiskToolsTest, FoldersHaveTheirOwnersAndModes) {
  expect_owner(vm_.private_folder, ::geteuid(), 0700);
  expect_owner(vm_.disk_folder, sandbox::vm_uid(5), 0700);
  // The sockets that hostd connects to lie where QEMU cannot put others in their place.
  expect_owner(vm_.run_folder, ::geteuid(), 0711);
  expect_owner(vm_.own_run_folder(), sandbox::vm_uid(5), 0700);
  expect_owner(paths_.home / "vms", ::geteuid(), 0711);
}

TEST_F(DiskToolsTest, TheOverlayNamesItsBackingFileAndFormat) {
  ASSERT_TRUE(disks_->make_overlay(assignment_, 5));
  const json::Value info =
      json::parse(output_of({"qemu-img", "info", "--output=json", vm_.disk().native()})).value();
  EXPECT_EQ(info.at("backing-filename").as_string(), assignment_.image_disk);
  EXPECT_EQ(info.at("backing-filename-format").as_string(), "qcow2");
  EXPECT_EQ(info.at("virtual-size").as_int64(), 32 << 20);
  expect_owner(vm_.disk(), sandbox::vm_uid(5), 0644);
  const auto before = read_file(vm_.disk(), 1 << 20).value();
  ASSERT_TRUE(disks_->make_overlay(assignment_, 5));
  EXPECT_EQ(read_file(vm_.disk(), 1 << 20).value(), before) << "a disk that is there is not made again";
}

TEST_F(DiskToolsTest, AMissingImageIsNamed) {
  assignment_.image_disk = (paths_.images() / "nowhere/disk.qcow2").native();
  const Status made = disks_->make_overlay(assignment_, 5);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::not_found);
  EXPECT_THAT(made.error().message, testing::HasSubstr("nowhere/disk.qcow2"));
  EXPECT_FALSE(std::filesystem::exists(vm_.disk()));
}

TEST_F(DiskToolsTest, AnImageOutsideOfTheImagesFolderIsNotUsed) {
  const std::filesystem::path foreign = folder_.path() / "vms/other/disk.qcow2";
  std::filesystem::create_directories(foreign.parent_path());
  std::filesystem::copy_file(assignment_.image_disk, foreign);
  std::filesystem::create_symlink(foreign, paths_.images() / "link.qcow2");
  for (const std::filesystem::path& path :
       {foreign, paths_.images() / "../vms/other/disk.qcow2", paths_.images() / "link.qcow2"}) {
    assignment_.image_disk = path.native();
    const Status made = disks_->make_overlay(assignment_, 5);
    ASSERT_FALSE(made) << path;
    EXPECT_EQ(made.error().code, ErrorCode::permission_denied) << path;
  }
  EXPECT_FALSE(std::filesystem::exists(vm_.disk()));
}

TEST_F(DiskToolsTest, AnImageThatIsNoneLeavesNoDisk) {
  ASSERT_TRUE(replace_file(assignment_.image_disk, as_bytes("not a disk")));
  EXPECT_FALSE(disks_->make_overlay(assignment_, 5));
  EXPECT_FALSE(std::filesystem::exists(vm_.disk()));
}

TEST_F(DiskToolsTest, TheSeedIsADiskThatCloudInitReads) {
  assignment_.os = {"web1", "alice", {"ssh-ed25519 AAAA a: b # \"c\""}, "#!/bin/sh\necho hello\n"};
  ASSERT_TRUE(disks_->make_seed(assignment_, 5));
  ASSERT_TRUE(disks_->make_seed(assignment_, 5)) << "again over the first";
  EXPECT_THAT(output_of({"blkid", "-p", "-o", "export", vm_.seed().native()}),
              testing::AllOf(testing::HasSubstr("LABEL=CIDATA"), testing::HasSubstr("TYPE=vfat")));
  EXPECT_EQ(output_of({"mtype", "-i", vm_.seed().native(), "::user-data"}), "#!/bin/sh\necho hello\n");
  EXPECT_EQ(output_of({"mtype", "-i", vm_.seed().native(), "::meta-data"}),
            "instance-id: \"" + assignment_.vm.to_string() + "\"\nlocal-hostname: \"web1\"\n");
  // The judge of YAML is PyYAML, as in cloud-init.
  const std::string vendor = output_of({"mtype", "-i", vm_.seed().native(), "::vendor-data"});
  ASSERT_TRUE(replace_file(folder_.path() / "vendor", as_bytes(vendor)));
  const std::string read = output_of(
      {"python3", "-c",
       "import json, sys\ntry:\n import yaml\nexcept ImportError:\n sys.exit('PyYAML is not there')\nd = "
       "yaml.safe_load(open(sys.argv[1]))\n"
       "print(d['users'][0]['name'], d['users'][0]['ssh_authorized_keys'][0], d['users'][0]['lock_passwd'])",
       (folder_.path() / "vendor").native()});
  EXPECT_EQ(read, "alice ssh-ed25519 AAAA a: b # \"c\" True\n");
  expect_owner(vm_.seed(), sandbox::vm_uid(5), 0600);
  for (const auto& entry : std::filesystem::directory_iterator(vm_.private_folder))
    EXPECT_EQ(entry.path().filename(), "boot-diagnostics") << "left behind: " << entry.path();
}

TEST_F(DiskToolsTest, AStandardVmGetsACopyOfTheFirmwaresVariables) {
  ASSERT_TRUE(disks_->make_standard_variables(assignment_, 5));
  EXPECT_EQ(read_file(vm_.standard_variables(), 1 << 20).value(),
            read_file("/usr/share/OVMF/OVMF_VARS_4M.fd", 1 << 20).value());
  ASSERT_TRUE(replace_file(vm_.standard_variables(), as_bytes("changed by the guest")));
  ASSERT_TRUE(disks_->make_standard_variables(assignment_, 5));
  EXPECT_EQ(as_text(read_file(vm_.standard_variables(), 1 << 20).value()), "changed by the guest");
}

TEST_F(DiskToolsTest, RemovalLeavesNothingAndMayBeRepeated) {
  ASSERT_TRUE(disks_->make_overlay(assignment_, 5));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(disks_->remove(assignment_.vm));
    for (const auto& folder : {vm_.private_folder, vm_.disk_folder, vm_.run_folder})
      EXPECT_FALSE(std::filesystem::exists(folder));
  }
}

TEST(CloudInit, TheNetworkAndThePasswordAreThere) {
  Assignment assignment;
  assignment.vm = VmId::random();
  assignment.name = "web";
  assignment.os.admin_username = "alice";
  EXPECT_EQ(cloud_init_documents(assignment).size(), 3U);
  EXPECT_THAT(cloud_init_documents(assignment)[1].second, testing::HasSubstr("ssh_pwauth: false"));
  EXPECT_THAT(cloud_init_documents(assignment)[1].second, testing::HasSubstr("lock_passwd: true"));
  assignment.os.admin_password_hash = "$y$j9T$x$y";
  assignment.os.password_authentication = true;
  assignment.network.emplace(2);
  (*assignment.network)[0].mac = netd::MacAddress::parse("00:0d:3a:00:00:01").value();
  (*assignment.network)[0].primary = true;
  const auto documents = cloud_init_documents(assignment);
  EXPECT_THAT(documents[1].second, testing::HasSubstr("hashed_passwd: \"$y$j9T$x$y\""));
  EXPECT_THAT(documents[1].second, testing::HasSubstr("lock_passwd: false"));
  EXPECT_THAT(documents[1].second, testing::HasSubstr("ssh_pwauth: true"));
  EXPECT_EQ(documents[3].first, "network-config");
  EXPECT_THAT(documents[3].second, testing::HasSubstr("macaddress: \"00:0d:3a:00:00:01\""));
}

}  // namespace
}  // namespace bootseal::host::test
