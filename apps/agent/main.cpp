// bootseal-agent: runs in the guest and hands evidence to the host through a virtio-serial port. It needs no
// configuration and no network.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "agent.h"
#include "port.h"

namespace bootseal::agent {
namespace {

constexpr const char* kUsage =
    "Usage: bootseal-agent [--port PATH] [--tpm PATH] [--event-log PATH]\n"
    "       bootseal-agent --version | --help\n"
    "\n"
    "Answers the host's requests for evidence, and runs scripts for it as long as /etc/bootseal/agent.toml "
    "does not\n"
    "say run_command = false. Without options it takes the virtio-serial port "
    "org.bootseal.agent.0,\n"
    "the TPM at /dev/tpmrm0 (else /dev/tpm0) and the firmware's event log under /sys/kernel/security.\n"
    "PATH may be a device, for --port and --tpm also a Unix socket.\n";
constexpr int kExitUsage = 2;
constexpr const char* kPortClass = "/sys/class/virtio-ports";

struct Options {
  Settings settings;
  std::filesystem::path port;
};

void complain(const Error& error) {
  std::fprintf(stderr, "bootseal-agent: %s\n", error.describe().c_str());
}

Status send_line(int port, const std::string& text) {
  return write_all(port, as_bytes(text + "\n"));
}

// Waits until the port has something, and serves a script meanwhile. False when there is nothing to read yet.
Result<bool> wait_for_port_or_script(Agent& agent, int port) {
  const Script* script = agent.script();
  if (script == nullptr) return true;  // reading waits by itself
  // A port without a host reports that again and again: it is looked at once a second then.
  static bool hung_up = false;
  std::array<pollfd, 4> waiting{pollfd{hung_up ? -1 : port, POLLIN, 0}, pollfd{script->process(), POLLIN, 0},
                                pollfd{script->output_ended() ? -1 : script->output(), POLLIN, 0},
                                pollfd{script->errors_ended() ? -1 : script->errors(), POLLIN, 0}};
  const auto patience = std::min<std::int64_t>(script->patience().count(), hung_up ? 1000 : 60'000);
  if (::poll(waiting.data(), waiting.size(), static_cast<int>(patience)) < 0 && errno != EINTR)
    return fail_errno(errno, "waiting for the script");
  hung_up = waiting[0].revents == POLLHUP;
  if (const auto answer = agent.script_answer()) BOOTSEAL_TRY_STATUS(send_line(port, *answer));
  return (waiting[0].revents & (POLLIN | POLLERR)) != 0;
}

// Serves until the other end goes away, which is a success, or the port fails.
Status serve(Agent& agent, int port) {
  LineBuffer lines(kMaximumRequest);
  std::array<std::byte, 4096> piece;
  // A write to a virtio port waits for the host to open its end.
  BOOTSEAL_TRY_STATUS(send_line(port, agent.hello()));
  while (true) {
    BOOTSEAL_TRY(const bool readable, wait_for_port_or_script(agent, port));
    if (!readable) continue;
    const ssize_t count = read(port, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, "reading from the agent's port");
    if (count == 0) return {};
    lines.feed(ByteSpan(piece).first(static_cast<std::size_t>(count)));
    while (const auto line = lines.next()) {
      if (const std::string answer = agent.answer(*line); !answer.empty())
        BOOTSEAL_TRY_STATUS(send_line(port, answer));
    }
  }
}

// Ends only with an error of the port.
Status run(const Options& options) {
  Agent agent(options.settings);
  while (true) {
    std::filesystem::path path = options.port;
    if (path.empty()) {
      BOOTSEAL_TRY(path, wait_for_port(kPortClass, kPortName));
    }
    BOOTSEAL_TRY(const UniqueFd port, open_port(path));
    std::error_code ignored;
    const bool device = std::filesystem::is_character_file(path, ignored);
    // A device stays open while hosts come and go; a socket is connected anew.
    Status served = serve(agent, port.get());
    while (device && served) served = serve(agent, port.get());
    if (!served) {
      // A port that was unplugged may come back; a device that was named by an option is not waited for.
      if (device && !options.port.empty()) return served;
      complain(served.error());
    }
  }
}

int main_with(int argc, char** argv) {
  Options options;
  options.settings.version = BOOTSEAL_VERSION;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--version") {
      std::printf("bootseal-agent %s\n", BOOTSEAL_VERSION);
      return 0;
    }
    if (option == "--help") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    const bool known = option == "--port" || option == "--tpm" || option == "--event-log";
    if (!known || i + 1 == argc) {
      std::fprintf(stderr, "bootseal-agent: %s '%s'\n%s", known ? "no value for" : "unknown option", argv[i],
                   kUsage);
      return kExitUsage;
    }
    (option == "--port"  ? options.port
     : option == "--tpm" ? options.settings.tpm
                         : options.settings.event_log) = argv[++i];
  }
  // A host that goes away while it is written to is an error of that write only.
  std::signal(SIGPIPE, SIG_IGN);
  const Status ended = run(options);
  complain(ended.error());
  return error_info(ended.error().code).exit_code;
}

}  // namespace
}  // namespace bootseal::agent

int main(int argc, char** argv) {
  return bootseal::agent::main_with(argc, argv);
}
