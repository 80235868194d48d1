#include "script.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace bootseal::agent {
namespace {

constexpr std::size_t kLargestConfiguration = 65536;
constexpr int kScriptFd = 9;

Result<UniqueFd> script_file(std::string_view text) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_memfd_create, "script", 0)));
  if (!fd.valid()) return fail_errno(errno, "making a file for the script");
  BOOTSEAL_TRY_STATUS(write_all(fd.get(), as_bytes(text)));
  return fd;
}

Result<UniqueFd> open_process_fd(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return fail_errno(errno, "watching the script");
  return fd;
}

// In the child: ends with exec, or with the exit code that shells have for a program that is not there.
[[noreturn]] void run_child(int script, int output, int errors, char* const* arguments,
                            char* const* environment) {
  ::setsid();
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, 0);
  ::dup2(output, 1);
  ::dup2(errors, 2);
  ::dup2(script, kScriptFd);
  ::syscall(SYS_close_range, 3U, static_cast<unsigned>(kScriptFd - 1), 0);
  ::syscall(SYS_close_range, static_cast<unsigned>(kScriptFd + 1), ~0U, 0);
  ::signal(SIGPIPE, SIG_DFL);
  ::umask(022);
  if (::chdir("/") == 0) ::execve(arguments[0], arguments, environment);
  constexpr std::string_view kMessage = "the shell cannot be started\n";
  static_cast<void>(!::write(2, kMessage.data(), kMessage.size()));
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// The bytes of one character at the front; 0 when they are none.
std::size_t character_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  const std::size_t size = first < 0x80                    ? 1
                           : first >= 0xc2 && first < 0xe0 ? 2
                           : (first & 0xf0) == 0xe0        ? 3
                           : first >= 0xf0 && first < 0xf5 ? 4
                                                           : 0;
  if (size == 0 || size > text.size()) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Longer than needed, a surrogate, or beyond Unicode.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f))
    return 0;
  return size;
}

}  // namespace

bool scripts_are_allowed(const std::filesystem::path& configuration) {
  const Result<Bytes> content = read_file(configuration, kLargestConfiguration);
  if (!content) return content.error().code == ErrorCode::not_found;
  std::string_view rest = as_text(*content);
  bool allowed = true;
  while (!rest.empty()) {
    std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    line.erase(std::min(line.size(), line.find('#')));
    std::erase_if(line, [](char letter) { return letter == ' ' || letter == '\t' || letter == '\r'; });
    if (!line.starts_with("run_command=")) continue;
    allowed = line == "run_command=true";
  }
  return allowed;
}

std::string to_valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    if (size == 0) {
      result += "\xef\xbf\xbd";
    } else {
      result += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return result;
}

Result<Script> Script::start(json::Reader& parameters) {
  BOOTSEAL_TRY(const std::string text, parameters.string("script"));
  BOOTSEAL_TRY(const std::string shell, parameters.string_or("shell", "/bin/sh"));
  BOOTSEAL_TRY(const std::uint64_t seconds, parameters.unsigned_integer("timeoutSeconds"));
  std::vector<std::string> arguments{shell, fmt::format("/proc/self/fd/{}", kScriptFd)};
  std::vector<std::string> environment{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                       "HOME=/root", "LANG=C.UTF-8"};
  if (parameters.has("parameters")) {
    BOOTSEAL_TRY(std::vector<json::Reader> elements, parameters.objects("parameters"));
    for (json::Reader& element : elements) {
      BOOTSEAL_TRY(const std::string name, element.string("name"));
      BOOTSEAL_TRY(const std::string value, element.string("value"));
      environment.push_back(name + "=" + value);
      arguments.push_back(value);
    }
  }
  BOOTSEAL_TRY(const UniqueFd file, script_file(text));
  BOOTSEAL_TRY(Pipe output, make_pipe());
  BOOTSEAL_TRY(Pipe errors, make_pipe());
  const std::vector<char*> argument_list = pointers(arguments), environment_list = pointers(environment);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "starting the script");
  if (child == 0)
    run_child(file.get(), output.write_end.get(), errors.write_end.get(), argument_list.data(),
              environment_list.data());
  Script script;
  script.group_ = child;
  script.limit_ = std::chrono::seconds(seconds);
  script.deadline_ = std::chrono::steady_clock::now() + script.limit_;
  script.output_.fd = std::move(output.read_end);
  script.errors_.fd = std::move(errors.read_end);
  for (const int fd : {script.output(), script.errors()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  BOOTSEAL_TRY(script.ended_, open_process_fd(child));
  return script;
}

Script::~Script() {
  if (!ended_.valid() || group_ == 0) return;
  ::kill(-group_, SIGKILL);
  ::kill(group_, SIGKILL);  // it may not have its session yet
  ::waitpid(group_, nullptr, 0);
}

std::chrono::milliseconds Script::patience() const {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

void Script::read(Output& output) {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(output.fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) output.ended = true;
    if (got <= 0) return;
    output.kept.append(buffer.data(), static_cast<std::size_t>(got));
    if (output.kept.size() > kKeptOutput) output.kept.erase(0, output.kept.size() - kKeptOutput);
  }
}

// What the script left running in the background may keep its outputs open: its own end counts.
bool Script::look() {
  read(output_);
  read(errors_);
  if (group_ != 0 && std::chrono::steady_clock::now() >= deadline_) {
    timed_out_ = true;
    ::kill(-group_, SIGKILL);
    ::kill(group_, SIGKILL);
    ::waitpid(group_, &status_, 0);
    group_ = 0;
    return true;
  }
  if (::waitpid(group_, &status_, WNOHANG) != group_) return false;
  group_ = 0;
  read(output_);
  read(errors_);
  return true;
}

Result<json::Value> Script::result() {
  if (timed_out_)
    return fail(
        ErrorCode::timeout,
        fmt::format("the script had not ended after {} s: it was killed. It said last: {}", limit_.count(),
                    to_valid_utf8(errors_.kept.empty() ? output_.kept : errors_.kept)));
  const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  return json::Object{
      {"exitCode", code}, {"stdout", to_valid_utf8(output_.kept)}, {"stderr", to_valid_utf8(errors_.kept)}};
}

}  // namespace bootseal::agent
