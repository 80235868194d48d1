// A supervisor as a process of its own, for tests that signal it: prints "ready" or the error.
#include <csignal>
#include <cstdio>

#include "bootseal/log/log.h"
#include "supervisor.h"

int main() {
  using namespace bootseal;
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  log::start("up");
  const auto paths = Paths::from_environment();
  if (!paths) return 2;
  app::Supervisor supervisor(*paths, paths->home / "passphrase",
                             [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  Status status = supervisor.start();
  if (status) {
    std::printf("ready\n");
    std::fflush(stdout);
    status = supervisor.run();
  }
  if (status) return 0;
  std::printf("error: %s\n", status.error().describe().c_str());
  return 1;
}
