#include "vtpm_process.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <cstdlib>
#include <stdexcept>

namespace bootseal::swtpm::test {
namespace {

using namespace std::chrono_literals;

template <typename T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().describe());
  return *std::move(result);
}

}  // namespace

VtpmProcess::VtpmProcess(const std::string& program, const std::filesystem::path& state_folder,
                         std::vector<std::string> more, TpmVersion version) {
  Command command;
  command.arguments = {program,      "socket",
                       "--tpmstate", "dir=" + state_folder.native(),
                       "--ctrl",     "type=unixio,path=" + control().native()};
  if (version == TpmVersion::v2_0) command.arguments.emplace_back("--tpm2");
  command.arguments.insert(command.arguments.end(), more.begin(), more.end());
  const UniqueFd log = need(open_file(folder_ / "output", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  command.fds = {{1, log.get()}, {2, log.get()}};
  process_ = need(spawn(command));
}

VtpmProcess::~VtpmProcess() {
  if (ended_) return;
  kill(SIGKILL);
}

std::string VtpmProcess::output() const {
  return std::string(as_text(need(read_file(folder_ / "output", 1 << 20))));
}

void VtpmProcess::kill(int signal_number) {
  static_cast<void>(signal_process(process_, signal_number));
  wait();
}

int VtpmProcess::wait() {
  int status = 0;
  if (!ended_ && ::waitpid(process_.pid, &status, 0) != process_.pid)
    throw std::runtime_error("no such child");
  ended_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Session::Session(const VtpmProcess& process)
    : control(process.control()), data(control.open_data_channel()) {}

std::string Session::tpm12(std::uint32_t ordinal, std::string_view parameters) {
  const Bytes body = need(from_hex(parameters));
  ByteWriter command;
  command.be16(0xC1).be32(static_cast<std::uint32_t>(10 + body.size())).be32(ordinal).bytes(body);
  const Bytes response = need(transport.transceive(command.view()));
  return to_hex(ByteSpan(response).subspan(6, 4)) + " " + to_hex(ByteSpan(response).subspan(10));
}

CommandOutput run_program(std::vector<std::string> arguments,
                          std::map<std::string, std::string> environment) {
  Command command;
  command.arguments = std::move(arguments);
  environment.emplace("PATH", std::getenv("PATH") != nullptr ? std::getenv("PATH") : "/usr/bin:/bin");
  command.environment = std::move(environment);
  return need(run_command(command, {}, 120s));
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  if (const Status status = replace_file(path, as_bytes(text)); !status)
    throw std::runtime_error(status.error().describe());
}

}  // namespace bootseal::swtpm::test
