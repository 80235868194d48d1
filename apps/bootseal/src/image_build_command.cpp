// `bootseal image build`.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/cli/progress.h"
#include "image_build_folder.h"
#include "image_recipes.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kManifestLimit = std::size_t{4} << 20;
constexpr int kBuilderHasNoSpace = 11;
constexpr std::string_view kBuilderSays = "build-image: ";
constexpr int kShownLines = 5;

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

// "1.0.0": whole numbers, which order versions as people expect and never outrank a later one.
bool is_image_version(std::string_view text) {
  constexpr std::size_t kMostDigits = 9;
  std::size_t numbers = 1;
  std::size_t digits = 0;
  for (const char c : text) {
    if (c == '.' && digits > 0) {
      ++numbers;
      digits = 0;
    } else if (c < '0' || c > '9' || ++digits > kMostDigits) {
      return false;
    }
  }
  return numbers == 3 && digits > 0;
}

std::uint64_t free_mib(const std::filesystem::path& folder) {
  struct statvfs facts {};
  if (::statvfs(folder.c_str(), &facts) != 0) return 0;
  return std::uint64_t{facts.f_bavail} * facts.f_frsize >> 20;
}

// The last whole lines of what the builder said.
std::string last_lines(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  std::size_t begin = text.size();
  for (int line = 0; line < kShownLines && begin != std::string_view::npos && begin != 0; ++line)
    begin = text.rfind('\n', begin - 1);
  return std::string(begin == std::string_view::npos ? text : text.substr(begin == 0 ? 0 : begin + 1));
}

Error why_it_failed(const Paths& paths, const std::filesystem::path& builder, const CommandOutput& output) {
  const std::string_view said = output.standard_error;
  const std::size_t own = said.rfind(kBuilderSays);
  if (output.exit_code == kBuilderHasNoSpace && own != std::string_view::npos) {
    const std::string_view line = said.substr(own + kBuilderSays.size());
    return {ErrorCode::exhausted, std::string(line.substr(0, line.find('\n'))), nullptr};
  }
  if (said.find("No space left on device") != std::string_view::npos) {
    const char* temporary = std::getenv("TMPDIR");
    const std::filesystem::path work = ::geteuid() == 0       ? paths.home
                                       : temporary != nullptr ? std::filesystem::path(temporary)
                                                              : std::filesystem::path("/tmp");
    const std::filesystem::path& full = free_mib(work) <= free_mib(paths.home) ? work : paths.home;
    return {ErrorCode::exhausted,
            fmt::format("the file system of {} became full ({} MiB are free now that the build is cleared "
                        "away); free some space there and build again",
                        full.string(), free_mib(full)),
            nullptr};
  }
  return {ErrorCode::unavailable,
          fmt::format("{} ended with exit code {}: {}", builder.string(), output.exit_code, last_lines(said)),
          nullptr};
}

Status run_builder(const Global& global, const Paths& paths, const ImageBuildOptions& options,
                   const std::filesystem::path& builder, const std::string& version,
                   const std::filesystem::path& target, const std::stop_token& stop) {
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

  // In a session of its own Ctrl-C reaches this program only, which then ends all that the builder started.
  command.new_session = true;
  command.before_exec = [] { return ::prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 ? 0 : errno; };
  const auto output = run_command(command, {}, std::nullopt, stop, [&](std::string_view line) {
    if (!global.quiet && line.starts_with('[')) fmt::print(stderr, "{}\n", cli::printable(line));
  });
  if (stop.stop_requested() && (!output || output->exit_code != 0))
    return fail(ErrorCode::cancelled, "stopped on request; nothing of it is left");
  if (!output) return tl::unexpected(output.error());
  if (output->exit_code != 0) return tl::unexpected(why_it_failed(paths, builder, *output));
  return {};
}

}  // namespace

Status image_build(const Global& global, const ImageBuildOptions& options) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  if (!is_valid_resource_name(options.name))
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' is not an image name", options.name));
  if (!options.version.empty() && !is_image_version(options.version))
    return fail(ErrorCode::invalid_argument,
                fmt::format("the version '{}' is invalid: wanted three whole numbers, for example 1.1.0",
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
  const cli::Interrupt interrupt(cli::Interrupt::Second::changes_nothing);
  BOOTSEAL_TRY(const BuildFolder folder, BuildFolder::create(paths, options.name, asked));
  if (std::filesystem::exists(home / asked, error)) return exists_already(asked);
  if (const auto built =
          run_builder(global, paths, options, builder, asked, folder.path(), interrupt.token());
      !built) {
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

}  // namespace bootseal::app
