#include "bootseal/host/disk_tools.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/host/record.h"
#include "bootseal/sandbox/sandbox.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::seconds kToolLimit{60};
constexpr off_t kSeedBytes = off_t{1} << 20;

Status give(const std::filesystem::path& path, unsigned slot) {
  if (::geteuid() != 0) return {};
  const uid_t uid = sandbox::vm_uid(slot);
  if (::lchown(path.c_str(), uid, uid) != 0)
    return fail_errno(errno, fmt::format("giving {} to uid {}", path.native(), uid));
  return {};
}

Status make_folder_for(const std::filesystem::path& folder, unsigned slot) {
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  return give(folder, slot);
}

Status run_tool(std::vector<std::string> arguments) {
  Command command;
  command.arguments = std::move(arguments);
  BOOTSEAL_TRY_STATUS(run_checked(command, {}, kToolLimit));
  return {};
}

Status flush(const std::filesystem::path& path) {
  BOOTSEAL_TRY(const UniqueFd fd, open_file(path, O_RDONLY | O_NOFOLLOW));
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fmt::format("flushing {}", path.native()));
  return {};
}

// Brings a finished file to its place.
Status finish(const std::filesystem::path& temporary, const std::filesystem::path& path, unsigned slot) {
  BOOTSEAL_TRY_STATUS(give(temporary, slot));
  BOOTSEAL_TRY_STATUS(flush(temporary));
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return fail_errno(errno, fmt::format("renaming {}", temporary.native()));
  return sync_folder(path.parent_path());
}

std::string json_text(std::string_view text) {
  return json::serialize(json::Value(text));
}

class DiskTools final : public Disks {
 public:
  DiskTools(Paths paths, Firmware firmware) : paths_(std::move(paths)), firmware_(std::move(firmware)) {}

  Status make_folders(const Assignment& assignment, unsigned slot) override {
    const VmPaths vm = of(assignment.vm);
    BOOTSEAL_TRY_STATUS(make_folder(vm.disk_folder.parent_path(), 0711));
    BOOTSEAL_TRY_STATUS(make_folder(vm.private_folder, 0700));
    BOOTSEAL_TRY_STATUS(make_folder(vm.boot_diagnostics(), 0700));
    BOOTSEAL_TRY_STATUS(make_folder_for(vm.disk_folder, slot));
    return make_run_folder(assignment.vm, slot);
  }

  Status make_run_folder(const VmId& vm_id, unsigned slot) override {
    const VmPaths vm = of(vm_id);
    BOOTSEAL_TRY_STATUS(make_folder(vm.run_folder.parent_path(), 0711));
    // hostd's: QEMU, taken over by its guest, must not be able to put another socket in the place of one that
    // hostd connects to.
    BOOTSEAL_TRY_STATUS(make_folder(vm.run_folder, 0711));
    return make_folder_for(vm.own_run_folder(), slot);
  }

  Status make_overlay(const Assignment& assignment, unsigned slot) override {
    const std::filesystem::path disk = of(assignment.vm).disk();
    if (std::filesystem::exists(disk)) return {};
    // The control plane says which image; it may not make one VM read what belongs to another.
    std::error_code problem;
    const std::filesystem::path real = std::filesystem::weakly_canonical(assignment.image_disk, problem);
    const std::filesystem::path images = std::filesystem::weakly_canonical(paths_.images(), problem);
    if (problem || std::ranges::mismatch(images, real).in1 != images.end()) {
      return fail(ErrorCode::permission_denied,
                  fmt::format("the image's disk {} does not lie in {}: it is not used", assignment.image_disk,
                              images.native()));
    }
    if (::access(assignment.image_disk.c_str(), R_OK) != 0) {
      return fail(
          ErrorCode::not_found,
          fmt::format(
              "the image's disk {} cannot be read ({}); see which images there are with: bootseal image list",
              assignment.image_disk, std::generic_category().message(errno)));
    }
    const std::filesystem::path temporary = disk.native() + ".new";
    ::unlink(temporary.c_str());
    BOOTSEAL_TRY_STATUS(
        run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=off,cluster_size=65536",
                  "-F", "qcow2", "-b", assignment.image_disk, temporary.native()}));
    return finish(temporary, disk, slot);
  }

  Status make_seed(const Assignment& assignment, unsigned slot) override {
    const VmPaths vm = of(assignment.vm);
    // Made in hostd's own folder, where nobody else can put a link.
    const std::filesystem::path folder = vm.private_folder / "seed.new";
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
    const Status made = build_seed(assignment, folder);
    if (made) {
      BOOTSEAL_TRY(const Bytes image, read_file(folder / "seed.iso", 16 << 20));
      BOOTSEAL_TRY_STATUS(replace_file(vm.private_folder / "seed.iso.new", image));
      std::filesystem::remove_all(folder, ignored);
      return finish(vm.private_folder / "seed.iso.new", vm.seed(), slot);
    }
    std::filesystem::remove_all(folder, ignored);
    return made;
  }

  Status make_standard_variables(const Assignment& assignment, unsigned slot) override {
    const VmPaths vm = of(assignment.vm);
    if (std::filesystem::exists(vm.standard_variables())) return {};
    BOOTSEAL_TRY(const Bytes content, read_file(firmware_.plain_variables, 16 << 20));
    const std::filesystem::path temporary = vm.private_folder / "variables.fd.new";
    BOOTSEAL_TRY_STATUS(replace_file(temporary, content));
    return finish(temporary, vm.standard_variables(), slot);
  }

  Status remove(const VmId& vm_id) override {
    const VmPaths vm = of(vm_id);
    // The record goes last: what is left after a crash is still known.
    for (const std::filesystem::path& folder : {vm.run_folder, vm.disk_folder, vm.private_folder}) {
      std::error_code problem;
      std::filesystem::remove_all(folder, problem);
      if (problem) return fail_errno(problem.value(), fmt::format("removing {}", folder.native()));
    }
    return {};
  }

 private:
  [[nodiscard]] VmPaths of(const VmId& vm) const { return vm_paths(paths_.home, paths_.run, vm); }

  static Status build_seed(const Assignment& assignment, const std::filesystem::path& folder) {
    const std::filesystem::path image = folder / "seed.iso";
    {
      BOOTSEAL_TRY(const UniqueFd fd, open_file(image, O_RDWR | O_CREAT | O_EXCL, 0600));
      if (::ftruncate(fd.get(), kSeedBytes) != 0) return fail_errno(errno, "making the cloud-init disk");
    }
    // NoCloud looks for a file system labelled CIDATA, ISO 9660 or vfat.
    BOOTSEAL_TRY_STATUS(run_tool({"mkfs.vfat", "-n", "CIDATA", "-i", "b0075ea1", image.native()}));
    for (const auto& [name, content] : cloud_init_documents(assignment)) {
      BOOTSEAL_TRY_STATUS(replace_file(folder / name, as_bytes(content)));
      BOOTSEAL_TRY_STATUS(run_tool({"mcopy", "-i", image.native(), (folder / name).native(), "::" + name}));
    }
    return {};
  }

  Paths paths_;
  Firmware firmware_;
};

}  // namespace

namespace {

// Only with an interface: without one an image's own way to the network stays as it is.
std::string network_document(const Assignment& assignment) {
  std::string text = "version: 2\nethernets:\n";
  int number = 0;
  for (const netd::Interface& interface : assignment.interfaces()) {
    text += fmt::format("  nic{}:\n    match:\n      macaddress: {}\n    dhcp4: true\n", number++,
                        json_text(interface.mac.to_string()));
    // One way out: the primary interface's.
    if (!interface.primary) text += "    dhcp4-overrides:\n      use-routes: false\n";
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> cloud_init_documents(const Assignment& assignment) {
  const std::string host =
      assignment.os.computer_name.empty() ? assignment.name : assignment.os.computer_name;
  std::string meta = fmt::format("instance-id: {}\nlocal-hostname: {}\n",
                                 json_text(assignment.vm.to_string()), json_text(host));
  std::string vendor = "#cloud-config\n";
  const bool has_password = !assignment.os.admin_password_hash.empty();
  vendor += fmt::format("ssh_pwauth: {}\n", assignment.os.password_authentication);
  if (!assignment.os.admin_username.empty()) {
    vendor += fmt::format(
        "users:\n  - name: {}\n    groups: [sudo]\n    shell: /bin/bash\n    lock_passwd: {}\n    sudo: "
        "\"ALL=(ALL) NOPASSWD:ALL\"\n",
        json_text(assignment.os.admin_username), !has_password);
    if (has_password)
      vendor += fmt::format("    hashed_passwd: {}\n", json_text(assignment.os.admin_password_hash));
    if (!assignment.os.ssh_keys.empty()) vendor += "    ssh_authorized_keys:\n";
    for (const std::string& key : assignment.os.ssh_keys)
      vendor += fmt::format("      - {}\n", json_text(key));
  }
  // The owner's custom data is the user data; what the platform sets comes as vendor data, which user data
  // may override.
  const std::string user =
      assignment.os.custom_data.empty() ? "#cloud-config\n{}\n" : assignment.os.custom_data;
  std::vector<std::pair<std::string, std::string>> documents{
      {"meta-data", std::move(meta)}, {"vendor-data", std::move(vendor)}, {"user-data", user}};
  if (!assignment.interfaces().empty())
    documents.emplace_back("network-config", network_document(assignment));
  return documents;
}

std::unique_ptr<Disks> create_disk_tools(Paths paths, Firmware firmware) {
  return std::make_unique<DiskTools>(std::move(paths), std::move(firmware));
}

}  // namespace bootseal::host
