#include "bootseal/base/paths.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>

namespace bootseal {
namespace {

Result<std::optional<std::filesystem::path>> absolute_from(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return std::nullopt;
  std::filesystem::path path(value);
  if (!path.is_absolute())
    return fail(ErrorCode::invalid_argument, fmt::format("{}='{}' is not an absolute path", variable, value));
  return path.lexically_normal();
}

Result<std::filesystem::path> default_home() {
  if (::geteuid() == 0) return "/var/lib/bootseal";
  BOOTSEAL_TRY(const auto state, absolute_from("XDG_STATE_HOME"));
  if (state) return *state / "bootseal";
  BOOTSEAL_TRY(const auto home, absolute_from("HOME"));
  if (!home)
    return fail(ErrorCode::invalid_argument,
                "HOME is not set; set BOOTSEAL_HOME to the folder for Bootseal's state");
  return *home / ".local/state/bootseal";
}

}  // namespace

Result<Paths> Paths::from_environment() {
  Paths paths;
  BOOTSEAL_TRY(const auto home, absolute_from("BOOTSEAL_HOME"));
  if (home) {
    paths.home = *home;
  } else {
    BOOTSEAL_TRY(paths.home, default_home());
  }
  std::error_code error;
  if (const auto kind = std::filesystem::status(paths.home, error).type();
      kind != std::filesystem::file_type::directory &&
      std::filesystem::exists(std::filesystem::file_status(kind)) &&
      kind != std::filesystem::file_type::unknown)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{} is no folder; set BOOTSEAL_HOME to the folder of the site", paths.home.string()));
  BOOTSEAL_TRY(const auto run, absolute_from("BOOTSEAL_RUN"));
  paths.run =
      run ? *run : (::geteuid() == 0 && !home ? std::filesystem::path("/run/bootseal") : paths.home / "run");
  BOOTSEAL_TRY(const auto programs, absolute_from("BOOTSEAL_BIN"));
  paths.programs =
      programs ? *programs : std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  BOOTSEAL_TRY(const auto data, absolute_from("BOOTSEAL_SHARE"));
  paths.data = data ? *data : (paths.programs / "../share/bootseal").lexically_normal();
  return paths;
}

std::filesystem::path Paths::socket_of(std::string_view daemon) const {
  return run / fmt::format("{}.sock", daemon);
}

}  // namespace bootseal
