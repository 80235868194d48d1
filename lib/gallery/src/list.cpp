#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"
#include "bootseal/gallery/image.h"

namespace bootseal::gallery {
namespace {

constexpr std::size_t kMaximumManifest = std::size_t{1} << 20;

Result<ImageRecord> read_record(const std::filesystem::path& folder) {
  BOOTSEAL_TRY(const Bytes text, read_file(folder / "manifest.json", kMaximumManifest));
  BOOTSEAL_TRY(ImageManifest manifest, parse_manifest(as_text(text)));
  if (manifest.name != folder.parent_path().filename() || manifest.version != folder.filename()) {
    return fail(ErrorCode::corrupt, fmt::format("the manifest is of {}:{}", manifest.name, manifest.version));
  }
  ImageRecord record{.manifest = std::move(manifest), .folder = folder, .disk = {}};
  record.disk = folder / record.manifest.disk_file;
  std::error_code error;
  if (!std::filesystem::is_regular_file(record.disk, error)) {
    return fail(ErrorCode::not_found, fmt::format("the disk {} is missing", record.manifest.disk_file));
  }
  return record;
}

// The folders in a folder whose names are resource names, in order. A folder that is not there has none.
Result<std::set<std::filesystem::path>> subfolders(const std::filesystem::path& folder) {
  std::set<std::filesystem::path> found;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code unreadable;
    if (entry->is_directory(unreadable) && is_valid_resource_name(entry->path().filename().string()))
      found.insert(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail_errno(error.value(), fmt::format("reading the folder {}", folder.string()));
  return found;
}

std::string known_images(const std::vector<ImageRecord>& images) {
  if (images.empty()) return "no image is installed";
  std::vector<std::string> names;
  for (const ImageRecord& image : images)
    names.push_back(fmt::format("{}:{}", image.manifest.name, image.manifest.version));
  return fmt::format("there are {}", fmt::join(names, ", "));
}

}  // namespace

Result<std::vector<ImageRecord>> list_images(const std::filesystem::path& folder,
                                             std::vector<Error>* problems) {
  std::vector<ImageRecord> images;
  BOOTSEAL_TRY(const auto names, subfolders(folder));
  for (const std::filesystem::path& name : names) {
    BOOTSEAL_TRY(const auto versions, subfolders(name));
    for (const std::filesystem::path& version : versions) {
      Result<ImageRecord> record = read_record(version);
      if (record) {
        images.push_back(*std::move(record));
      } else if (problems != nullptr) {
        problems->push_back(record.error().wrap(fmt::format("the image in {}", version.string())));
      }
    }
  }
  std::ranges::sort(images, [](const ImageRecord& a, const ImageRecord& b) {
    if (a.manifest.name != b.manifest.name) return a.manifest.name < b.manifest.name;
    return compare_versions(a.manifest.version, b.manifest.version) > 0;
  });
  return images;
}

Result<ImageRecord> find_image(const std::filesystem::path& folder, std::string_view reference) {
  const std::size_t colon = reference.find(':');
  const std::string_view name = reference.substr(0, colon);
  const std::string_view version = colon == std::string_view::npos ? "latest" : reference.substr(colon + 1);
  if (!is_valid_resource_name(name) || !is_valid_resource_name(version)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no image reference; wanted NAME or NAME:VERSION", reference));
  }
  BOOTSEAL_TRY(std::vector<ImageRecord> images, list_images(folder));
  for (ImageRecord& image : images) {
    if (image.manifest.name == name && (version == "latest" || image.manifest.version == version))
      return std::move(image);
  }
  return fail(ErrorCode::not_found,
              fmt::format("the image {} is not installed; {}", reference, known_images(images)));
}

}  // namespace bootseal::gallery
