// Names of the state's files: swtpm's, and ours beside them.
#include <fmt/format.h>

#include "bootseal/guest/swtpm_store.h"

namespace bootseal::guest {
namespace {

constexpr std::string_view kStateSuffix = "permall";
constexpr std::string_view kVolatileSuffix = "volatilestate";
constexpr std::string_view kSavedSuffix = "savestate";

std::string name_in_directory(TpmVersion version, std::string_view suffix) {
  return fmt::format("{}-00.{}", version == TpmVersion::v1_2 ? "tpm" : "tpm2", suffix);
}

}  // namespace

SwtpmLocation SwtpmLocation::directory(const std::filesystem::path& folder, mode_t mode, TpmVersion version) {
  return {.file = folder / name_in_directory(version, kStateSuffix),
          .in_directory = true,
          .mode = mode,
          .version = version};
}

Result<SwtpmLocation> SwtpmLocation::from_uri(std::string_view uri, mode_t mode, TpmVersion version) {
  constexpr std::string_view kDirectory = "dir://";
  constexpr std::string_view kFile = "file://";
  if (uri.starts_with(kDirectory) && uri.size() > kDirectory.size())
    return directory(uri.substr(kDirectory.size()), mode, version);
  if (uri.starts_with(kFile) && uri.size() > kFile.size())
    return SwtpmLocation{
        .file = uri.substr(kFile.size()), .in_directory = false, .mode = mode, .version = version};
  return fail(ErrorCode::invalid_argument,
              fmt::format("'{}' names no place for TPM state; it is dir://FOLDER or file://FILE", uri));
}

std::filesystem::path SwtpmLocation::volatile_file() const {
  return in_directory ? file.parent_path() / name_in_directory(version, kVolatileSuffix)
                      : std::filesystem::path(file.native() + ".volatilestate");
}

std::filesystem::path SwtpmLocation::saved_file() const {
  return file.parent_path() / name_in_directory(version, kSavedSuffix);
}

SwtpmLocation SwtpmLocation::other_family() const {
  return directory(file.parent_path(), mode,
                   version == TpmVersion::v1_2 ? TpmVersion::v2_0 : TpmVersion::v1_2);
}

std::filesystem::path SwtpmLocation::lock_file() const {
  return file.parent_path() / ".lock";
}

std::filesystem::path SwtpmLocation::memory_file() const {
  return file.parent_path() / ".bootseal-swtpm";
}

}  // namespace bootseal::guest
