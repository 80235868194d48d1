#include "machine.h"

#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bootseal/base/fds.h"

namespace bootseal::agent {
namespace {

constexpr const char* kSecurityFolder = "/sys/kernel/security";
constexpr std::size_t kMaximumSmallFile = 64 << 10;

std::string small_file(const std::filesystem::path& path) {
  const auto content = read_file(path, kMaximumSmallFile);
  return content ? std::string(as_text(*content)) : std::string();
}

std::string without_line_end(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// A value of os-release(5): bare, or in quotes with backslash escapes.
std::string unquoted(std::string_view value) {
  const char quote = value.empty() ? '\0' : value.front();
  if (quote != '"' && quote != '\'') return std::string(value);
  std::string text;
  for (std::size_t i = 1; i < value.size() && value[i] != quote; ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    text += value[i];
  }
  return text;
}

}  // namespace

std::string pretty_name(std::string_view os_release) {
  constexpr std::string_view kKey = "PRETTY_NAME=";
  std::string name;
  for (std::size_t start = 0; start < os_release.size();) {
    const std::size_t end = std::min(os_release.find('\n', start), os_release.size());
    const std::string_view line = os_release.substr(start, end - start);
    if (line.starts_with(kKey)) name = unquoted(line.substr(kKey.size()));
    start = end + 1;
  }
  return name.empty() ? "Linux" : name;
}

Machine Machine::describe() {
  Machine machine;
  utsname names{};
  if (uname(&names) == 0) machine.kernel_release = names.release;
  std::string release = small_file("/etc/os-release");
  if (release.empty()) release = small_file("/usr/lib/os-release");
  machine.os_name = pretty_name(release);
  machine.boot_id = without_line_end(small_file("/proc/sys/kernel/random/boot_id"));
  return machine;
}

Result<Bytes> read_event_log(const std::filesystem::path& path) {
  if (path == kDefaultEventLog && access(path.c_str(), F_OK) != 0) {
    // Not every system mounts it; without the right to do so the error of the read says what is missing.
    static_cast<void>(
        mount("securityfs", kSecurityFolder, "securityfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  }
  auto log = read_file(path, kMaximumEventLog);
  if (!log) return tl::unexpected(log.error().wrap("the event log of the firmware"));
  if (log->empty())
    return fail(ErrorCode::not_found, "the event log of the firmware is empty: " + path.string());
  return log;
}

}  // namespace bootseal::agent
