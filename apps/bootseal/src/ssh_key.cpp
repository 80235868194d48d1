#include "ssh_key.h"

#include <fmt/format.h>

#include <cstdlib>

#include "bootseal/base/subprocess.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kKeyFileLimit = std::size_t{16} << 10;
constexpr std::chrono::seconds kKeygenLimit{60};
constexpr const char* kNames[] = {"id_ed25519", "id_ecdsa", "id_rsa"};

}  // namespace

Result<std::string> default_ssh_key(bool generate, std::filesystem::path& made) {
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/')
    return fail(ErrorCode::invalid_argument,
                "HOME is not set, so there is no ~/.ssh to look for a key in; give --ssh-key-values");
  const std::filesystem::path folder = std::filesystem::path(home) / ".ssh";
  for (const char* name : kNames) {
    const auto content = read_file(folder / fmt::format("{}.pub", name), kKeyFileLimit);
    if (content) return std::string(as_text(*content));
    if (content.error().code != ErrorCode::not_found) return tl::unexpected(content.error());
  }
  if (!generate) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format(
            "--admin-username needs a public key that lets this user in, and there is none in {}; give "
            "--ssh-key-values, or --generate-ssh-keys to make one",
            folder.string()));
  }
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  const std::filesystem::path key = folder / kNames[0];
  if (std::filesystem::exists(key, error)) {
    return fail(ErrorCode::conflict,
                fmt::format("{} is there and {}.pub is not; write the latter with `ssh-keygen -y -f {}`",
                            key.string(), key.string(), key.string()));
  }
  Command command;
  command.arguments = {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key.string()};
  if (const auto done = run_checked(command, {}, kKeygenLimit); !done)
    return tl::unexpected(done.error().wrap("making a key pair for --generate-ssh-keys"));
  made = key;
  BOOTSEAL_TRY(const Bytes content, read_file(folder / fmt::format("{}.pub", kNames[0]), kKeyFileLimit));
  return std::string(as_text(content));
}

}  // namespace bootseal::app
