// bootseal-image-inspect: writes the manifest of an image from its disk and its boot files.
// images/build-image ends with it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <map>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"
#include "bootseal/base/mapped_file.h"
#include "bootseal/gallery/disk.h"
#include "bootseal/gallery/image.h"

namespace bootseal::gallery {
namespace {

constexpr std::size_t kMaximumBootFile = std::size_t{256} << 20, kMaximumDisk = std::size_t{1} << 40;

struct Options {
  std::string disk, output, name, version, description, os_name, created;
  std::vector<std::string> components, packages, initrds;
  std::string grub_config;
  std::uint64_t minimum_memory_mib = 512;
  bool agent = false, cloud_init = false, immutable = false;
};

// A file of the image as it lies here.
struct BootFile {
  std::string file;  // in the image
  Bytes content;
};

// "PATH_IN_IMAGE=FILE"
Result<BootFile> read_boot_file(std::string_view option, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} wants PATH_IN_IMAGE=FILE, there is '{}'", option, text));
  BOOTSEAL_TRY(Bytes content, read_file(text.substr(equals + 1), kMaximumBootFile));
  return BootFile{text.substr(0, equals), std::move(content)};
}

MeasuredFile measured_file(std::string role, const BootFile& file) {
  return {std::move(role), file.file, crypto::sha256(file.content)};
}

// "ROLE:PATH_IN_IMAGE=FILE"
Status add_component(const std::string& text, ImageManifest& manifest, MeasuredBoot& measured) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("--component wants ROLE:PATH_IN_IMAGE=FILE, there is '{}'", text));
  }
  const std::string role = text.substr(0, colon);
  BOOTSEAL_TRY(const BootFile file, read_boot_file("--component", text.substr(colon + 1)));
  BOOTSEAL_TRY(BootComponent component, inspect_component(role, file.file, file.content));
  manifest.boot_chain.push_back(std::move(component));
  // grub reads the kernel too.
  if (role == "kernel") measured.files.push_back(measured_file(role, file));
  return {};
}

// What grub will measure, when it is known how grub is configured.
Status add_measured_boot(const Options& options, MeasuredBoot measured, ImageManifest& manifest) {
  if (options.grub_config.empty()) {
    if (!options.initrds.empty() || options.immutable)
      return fail(ErrorCode::invalid_argument, "--initrd and --immutable want --grub-config");
    return {};
  }
  measured.immutable = options.immutable;
  BOOTSEAL_TRY(const BootFile config, read_boot_file("--grub-config", options.grub_config));
  if (Status read = read_grub_config(as_text(config.content), measured); !read)
    return tl::unexpected(read.error().wrap(config.file));
  measured.files.insert(measured.files.begin(), measured_file("grubConfig", config));
  for (const std::string& text : options.initrds) {
    BOOTSEAL_TRY(const BootFile initrd, read_boot_file("--initrd", text));
    measured.files.push_back(measured_file("initrd", initrd));
  }
  manifest.measured_boot = std::move(measured);
  return {};
}

Status read_package(const std::string& text, ImageManifest& manifest) {
  const std::map<std::string, std::string*> known = {{"shim", &manifest.shim_package},
                                                     {"grub", &manifest.grub_package},
                                                     {"kernel", &manifest.kernel_package}};
  const std::size_t equals = text.find('=');
  const auto found = known.find(text.substr(0, equals));
  if (equals == std::string::npos || found == known.end()) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("--package wants shim=VERSION, grub=VERSION or kernel=VERSION, there is '{}'", text));
  }
  *found->second = text.substr(equals + 1);
  return {};
}

// "@SECONDS" or RFC 3339.
Result<TimePoint> read_created(const std::string& text) {
  if (!text.starts_with('@')) return parse_time(text);
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("--created wants @SECONDS or an RFC 3339 time, there is '{}'", text));
  }
  return TimePoint(std::chrono::seconds(seconds));
}

Result<ImageManifest> inspect(const Options& options) {
  ImageManifest manifest{
      .name = options.name, .version = options.version, .description = options.description};
  manifest.os_name = options.os_name;
  manifest.minimum_memory_mib = options.minimum_memory_mib;
  manifest.agent = options.agent;
  manifest.cloud_init = options.cloud_init;
  manifest.created_time = std::chrono::floor<std::chrono::seconds>(Clock::system().now());
  if (!options.created.empty()) {
    BOOTSEAL_TRY(manifest.created_time, read_created(options.created));
  }
  {
    BOOTSEAL_TRY(const MappedFile disk, MappedFile::open(options.disk, kMaximumDisk));
    BOOTSEAL_TRY(manifest.disk_virtual_size_bytes, check_qcow2(disk.view()));
    manifest.disk_sha256 = crypto::sha256(disk.view());
  }
  manifest.disk_file = std::filesystem::path(options.disk).filename();
  MeasuredBoot measured;
  for (const std::string& text : options.components)
    BOOTSEAL_TRY_STATUS(add_component(text, manifest, measured));
  BOOTSEAL_TRY_STATUS(add_measured_boot(options, std::move(measured), manifest));
  for (const std::string& text : options.packages) BOOTSEAL_TRY_STATUS(read_package(text, manifest));
  // What is written is what a reader accepts.
  BOOTSEAL_TRY_STATUS(parse_manifest(serialize_manifest(manifest)));
  return manifest;
}

int run(const Options& options) {
  const Result<ImageManifest> manifest = inspect(options);
  Status written;
  if (!manifest) {
    written = tl::unexpected(manifest.error());
  } else if (options.output.empty()) {
    fmt::print("{}", serialize_manifest(*manifest));
  } else {
    written = replace_file(options.output, as_bytes(serialize_manifest(*manifest)), 0644);
  }
  if (!written) {
    fmt::print(stderr, "bootseal-image-inspect: {}\n", written.error().describe());
    return error_info(written.error().code).exit_code;
  }
  return 0;
}

}  // namespace
}  // namespace bootseal::gallery

int main(int argc, char** argv) {
  bootseal::gallery::Options options;
  CLI::App app("Writes the manifest of an image from its disk and its boot files.", "bootseal-image-inspect");
  app.add_option("--disk", options.disk, "the qcow2 disk of the image")->required();
  app.add_option("--name", options.name, "name of the image")->required();
  app.add_option("--image-version", options.version, "version of the image")->required();
  app.add_option("--description", options.description, "one line for people");
  app.add_option("--os-name", options.os_name, "name of the operating system");
  app.add_option("--minimum-memory-mib", options.minimum_memory_mib, "memory the image needs, MiB");
  app.add_option("--created", options.created, "creation time as @SECONDS or RFC 3339 (now)");
  app.add_option("--component", options.components,
                 "ROLE:PATH_IN_IMAGE=FILE, in the order of the boot (repeatable)");
  app.add_option("--grub-config", options.grub_config,
                 "PATH_IN_IMAGE=FILE of grub's configuration: records what grub will measure");
  app.add_option("--initrd", options.initrds, "PATH_IN_IMAGE=FILE of an initrd that grub loads (repeatable)");
  app.add_flag("--immutable", options.immutable,
               "the system never changes its grub.cfg, initrd and command line");
  app.add_option("--package", options.packages, "shim=VERSION, grub=VERSION or kernel=VERSION (repeatable)");
  app.add_flag("--agent", options.agent, "the image has bootseal-agent");
  app.add_flag("--cloud-init", options.cloud_init, "the image reads a NoCloud seed");
  app.add_option("--output", options.output, "where the manifest goes (standard output)");
  CLI11_PARSE(app, argc, argv);
  return bootseal::gallery::run(options);
}
