#include "bootseal/net/daemon.h"

#include <fmt/format.h>

#include <cerrno>

namespace bootseal::net {
namespace {

constexpr std::chrono::milliseconds kStopGrace{5000};

}  // namespace

StopSignals StopSignals::block() {
  StopSignals signals;
  sigemptyset(&signals.set_);
  sigaddset(&signals.set_, SIGTERM);
  sigaddset(&signals.set_, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals.set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

int StopSignals::wait() const {
  int number = 0;
  ::sigwait(&set_, &number);
  return number;
}

std::optional<int> StopSignals::wait_for(std::chrono::milliseconds limit) const {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    const auto left = std::max(deadline - std::chrono::steady_clock::now(), std::chrono::nanoseconds(0));
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec time{seconds.count(), std::chrono::nanoseconds(left - seconds).count()};
    const int number = ::sigtimedwait(&set_, nullptr, &time);
    if (number > 0) return number;
    if (errno != EINTR) return std::nullopt;
  }
}

Status serve_until_stopped(UniqueFd listener, Router router, const StopSignals& signals,
                           const std::string& name, std::initializer_list<log::Field> fields) {
  ServerOptions options;
  options.unix_listener = std::move(listener);
  BOOTSEAL_TRY(const std::unique_ptr<Server> server, Server::start(std::move(options), std::move(router)));
  log::info(name + ".serving", fields);
  const int number = signals.wait();
  log::info(name + ".stopping", {{"signal", number}});
  server->stop(kStopGrace);
  return {};
}

Result<std::string> authorise_process(const Request& request, std::span<const DaemonCaller> callers,
                                      unsigned roles, std::string_view service) {
  const Peer& peer = request.peer;
  if (peer.kind != Peer::Kind::unix_process) {
    return fail(ErrorCode::unauthenticated,
                fmt::format("{} answers processes of this machine on its Unix socket only", service));
  }
  for (const DaemonCaller& caller : callers) {
    if (peer.uid == caller.uid && (roles & (caller.role | kAnyCaller)) != 0)
      return fmt::format("{}(uid={})", caller.name, peer.uid);
  }
  if (peer.uid == 0) return std::string("root(uid=0)");
  if ((roles & kAnyCaller) != 0) return fmt::format("uid={}", peer.uid);
  return fail(ErrorCode::permission_denied, fmt::format("uid {} may not call {} {} of {}", peer.uid,
                                                        request.method, request.path, service));
}

Result<VmId> vm_parameter(const Request& request) {
  Result<VmId> vm = VmId::parse(request.parameter("vmId"));
  if (!vm)
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is no id of a VM", request.parameter("vmId")));
  return vm;
}

}  // namespace bootseal::net
