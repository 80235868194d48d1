// The folder that an image is built in.
#pragma once

#include <filesystem>
#include <string>

#include "bootseal/base/fds.h"
#include "bootseal/base/paths.h"

namespace bootseal::app {

// HOME/.image-build-NAME-VERSION, locked as long as this lives and gone after it. Folders whose lock nobody
// holds were left by a build that was killed: the next one removes them.
class BuildFolder {
 public:
  // conflict when this very version is being built now.
  static Result<BuildFolder> create(const Paths& paths, const std::string& name, const std::string& version);
  BuildFolder(BuildFolder&& other) noexcept;
  BuildFolder& operator=(BuildFolder&&) = delete;
  BuildFolder(const BuildFolder&) = delete;
  BuildFolder& operator=(const BuildFolder&) = delete;
  ~BuildFolder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  BuildFolder(std::filesystem::path path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::filesystem::path path_;
  UniqueFd lock_;
};

}  // namespace bootseal::app
