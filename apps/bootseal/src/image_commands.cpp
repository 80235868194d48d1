#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/cli/progress.h"
#include "image_recipes.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kManifestLimit = std::size_t{4} << 20;

Result<json::Value> read_manifest(const std::filesystem::path& folder) {
  BOOTSEAL_TRY(const Bytes content, read_file(folder / "manifest.json", kManifestLimit));
  return json::parse(as_text(content));
}

Status check_addition(const std::string& addition) {
  const std::size_t equals = addition.find("=/");
  if (equals == std::string::npos || equals == 0 || addition.find("..") != std::string::npos)
    return fail(ErrorCode::invalid_argument,
                fmt::format("--add wants FILE=/PATH/IN/THE/GUEST without '..', there is '{}'", addition));
  const std::string file = addition.substr(0, addition.find('='));
  std::error_code error;
  if (std::filesystem::is_regular_file(file, error)) return {};
  return fail(ErrorCode::not_found, fmt::format("{}: no such file; --add wants one that is there", file));
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

// Every file readable by all: QEMU reads the disk under its VM's own uid.
Status open_to_readers(const std::filesystem::path& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (::chmod(entry.path().c_str(), 0644) != 0)
      return fail_errno(errno, fmt::format("making {} readable", entry.path().string()));
  }
  if (error)
    return fail(ErrorCode::io_error, fmt::format("reading {}: {}", folder.string(), error.message()));
  return {};
}

// A folder beside the images that goes when the build ends in any way.
class BuildFolder {
 public:
  static Result<BuildFolder> create(const Paths& paths) {
    BuildFolder folder(paths.home / fmt::format(".image-build-{}", Guid::random().to_string().substr(0, 8)));
    BOOTSEAL_TRY_STATUS(make_folder(folder.path_, 0755));
    return folder;
  }
  BuildFolder(BuildFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  BuildFolder& operator=(BuildFolder&&) = delete;
  BuildFolder(const BuildFolder&) = delete;
  BuildFolder& operator=(const BuildFolder&) = delete;
  ~BuildFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit BuildFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

Result<std::string> run_builder(const Global& global, const Paths& paths, const ImageBuildOptions& options,
                                const std::filesystem::path& builder, const std::string& version,
                                const std::filesystem::path& target) {
  Command command;
  command.arguments = {builder.string(), options.name, target.string()};
  const std::filesystem::path agent = paths.programs / "bootseal-agent";
  std::error_code error;
  if (std::filesystem::exists(agent, error))
    command.arguments.insert(command.arguments.end(), {"--agent", agent.string()});
  // Without a home of its own a user has no cache either: the packages stay with the site.
  if (!is_set("XDG_CACHE_HOME") && !is_set("HOME"))
    command.arguments.insert(command.arguments.end(), {"--cache", (paths.home / "cache/packages").string()});
  command.arguments.insert(command.arguments.end(), {"--image-version", version});
  for (const std::string& addition : options.additions)
    command.arguments.insert(command.arguments.end(), {"--add", addition});
  std::map<std::string, std::string> environment;
  for (char** next = ::environ; *next != nullptr; ++next) {
    const std::string_view text(*next);
    if (const std::size_t equals = text.find('='); equals != std::string_view::npos)
      environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  environment["PATH"] =
      fmt::format("{}:{}", paths.programs.string(),
                  environment.contains("PATH") ? environment["PATH"] : "/usr/sbin:/usr/bin:/sbin:/bin");
  command.environment = std::move(environment);

  const cli::Interrupt interrupt;
  return run_checked(command, {}, std::nullopt, interrupt.token(), [&](std::string_view line) {
    if (!global.quiet && line.starts_with('[')) fmt::print(stderr, "{}\n", cli::printable(line));
  });
}

}  // namespace

Status image_build(const Global& global, const ImageBuildOptions& options) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  if (!is_valid_resource_name(options.name))
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' is not an image name", options.name));
  if (!options.version.empty() && !is_valid_resource_name(options.version))
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the version '{}' is invalid: wanted one as 1.1.0, of letters, digits, '.', '_' and '-'",
                    options.version));
  std::error_code error;
  const std::filesystem::path home = paths.images() / options.name;
  const bool there =
      options.version.empty()
          ? std::filesystem::is_directory(home, error) && !std::filesystem::is_empty(home, error)
          : std::filesystem::exists(home / options.version / "manifest.json", error);
  if (there && options.if_missing) {
    if (!global.quiet) fmt::print("the image '{}' is there already\n", options.name);
    return {};
  }
  BOOTSEAL_TRY(const std::filesystem::path builder, find_builder(paths));
  BOOTSEAL_TRY_STATUS(check_recipe(builder, options.name));
  std::string asked = options.version;
  if (asked.empty()) {
    BOOTSEAL_TRY(asked, first_version(builder));
  }
  for (const std::string& addition : options.additions) BOOTSEAL_TRY_STATUS(check_addition(addition));
  const auto exists_already = [&](const std::string& version) {
    return fail(
        ErrorCode::already_exists,
        fmt::format(
            "the image '{}:{}' exists already, and VMs may be built on it; give another --version, or "
            "--if-missing to keep it",
            options.name, version));
  };
  if (std::filesystem::exists(home / asked, error)) return exists_already(asked);
  BOOTSEAL_TRY_STATUS(make_folder(paths.images(), 0755));
  BOOTSEAL_TRY(const BuildFolder folder, BuildFolder::create(paths));
  if (const auto built = run_builder(global, paths, options, builder, asked, folder.path()); !built) {
    return tl::unexpected(built.error().wrap(fmt::format("building the image '{}'", options.name)));
  }
  BOOTSEAL_TRY(const json::Value manifest, read_manifest(folder.path()));
  const std::string version = cli::text_at(manifest, {"version"});
  if (!is_valid_resource_name(version))
    return fail(
        ErrorCode::corrupt,
        fmt::format("the manifest that was built names the version '{}', which cannot be one", version));
  BOOTSEAL_TRY_STATUS(open_to_readers(folder.path()));
  const std::filesystem::path target = home / version;
  if (std::filesystem::exists(target, error)) return exists_already(version);
  BOOTSEAL_TRY_STATUS(make_folder(home, 0755));
  std::filesystem::rename(folder.path(), target, error);
  if (error)
    return fail(ErrorCode::io_error,
                fmt::format("moving the image to {}: {}", target.string(), error.message()));
  BOOTSEAL_TRY_STATUS(sync_folder(home));
  if (global.format == cli::Format::json) {
    print_json(manifest);
  } else if (!global.quiet) {
    fmt::print("the image '{}:{}' is at {}\n  bootseal vm create --name NAME --image {}\n", options.name,
               version, target.string(), options.name);
  }
  return {};
}

Status image_list(const Global& global) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer,
               site->call("GET", site->subscription_path() + "/providers/Bootseal.Gallery/images"));
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of images has no 'value'");
  if (global.format == cli::Format::json) {
    print_json(*list);
    return {};
  }
  if (list->get_array().empty() && global.format == cli::Format::people) {
    fmt::print("There are no images. Build one: bootseal image build debian-12-mini\n");
    return {};
  }
  cli::Table table{{"Name", "Version", "OS", "Security", "Memory", "Built"}, {}};
  for (const json::Value& image : list->get_array()) {
    const json::Value* features = cli::find(image, {"properties", "features"});
    const std::string security = features != nullptr && features->is_array() && !features->get_array().empty()
                                     ? cli::text_at(features->get_array().front(), {"value"})
                                     : "";
    table.rows.push_back({cli::text_at(image, {"name"}), cli::text_at(image, {"properties", "version"}),
                          cli::text_at(image, {"properties", "osName"}), security,
                          cli::text_at(image, {"properties", "minimumMemoryMiB"}) + " MiB",
                          cli::text_at(image, {"properties", "timeCreated"})});
  }
  print_table(global, table);
  return {};
}

}  // namespace bootseal::app
