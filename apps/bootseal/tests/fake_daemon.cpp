// Stands for a daemon: listens on RUN/NAME.sock (its own name without "bootseal-") and answers everything
// with its pid; from then on RUN/NAME.ready is there. With the file RUN/NAME.broken it ends with an error: in
// its log as real daemons do when the file holds a message, else on standard error alone.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "bootseal/base/fds.h"
#include "bootseal/base/paths.h"
#include "bootseal/log/log.h"
#include "bootseal/net/server.h"

int main(int /*argc*/, char** argv) {
  using namespace bootseal;
  const std::string name = std::filesystem::path(argv[0]).filename().string().substr(sizeof "bootseal-" - 1);
  const bool has_passphrase = ::fcntl(3, F_GETFD) >= 0;  // before anything else takes the number
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto run = [&]() -> Status {
    BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
    if (const auto message = read_file(paths.run / (name + ".broken"), 1000)) {
      if (message->empty()) return fail(ErrorCode::conflict, "told to be broken");
      log::error("fake.failed", {{"code", "Conflict"}, {"message", as_text(*message)}});
      return fail(ErrorCode::conflict, "and more words");
    }
    net::Router router;
    router.before([has_passphrase](net::Request&) -> std::optional<net::Response> {
      return net::Response::json(200, json::Object{{"pid", ::getpid()}, {"passphraseFd", has_passphrase}});
    });
    net::ServerOptions options;
    BOOTSEAL_TRY(options.unix_listener, listen_unix(paths.socket_of(name)));
    BOOTSEAL_TRY(const auto server, net::Server::start(std::move(options), std::move(router)));
    BOOTSEAL_TRY_STATUS(replace_file(paths.run / (name + ".ready"), as_bytes(name)));
    int signal_number = 0;
    ::sigwait(&signals, &signal_number);
    server->stop(std::chrono::milliseconds(100));
    std::fprintf(stderr, "ended on request\n");
    return {};
  };
  if (const Status status = run(); !status) {
    std::fprintf(stderr, "%s\n", status.error().message.c_str());
    return error_info(status.error().code).exit_code;
  }
  return 0;
}
