// What every daemon on a Unix socket does the same way: it serves until a signal stops it, and knows its
// callers by their uid.
//
//   const net::StopSignals signals = net::StopSignals::block();  // before any thread is started
//   …
//   return net::serve_until_stopped(std::move(listener), make_routes(…), signals, "vault", {{"socket",
//   path}});
#pragma once

#include <csignal>
#include <span>

#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"
#include "bootseal/net/server.h"

namespace bootseal::net {

// SIGTERM and SIGINT, which end a daemon in order.
class StopSignals {
 public:
  // Blocks them for this thread and those that it starts from now on, and ignores SIGPIPE.
  static StopSignals block();
  // The signal that came.
  [[nodiscard]] int wait() const;
  // The same, or nullopt at the limit.
  [[nodiscard]] std::optional<int> wait_for(std::chrono::milliseconds limit) const;

 private:
  sigset_t set_{};
};

// Serves on a Unix listener until a stop signal comes, then lets running handlers end for at most five
// seconds. Logs the events "NAME.serving" with `fields` and "NAME.stopping". Errors: as Server::start.
Status serve_until_stopped(UniqueFd listener, Router router, const StopSignals& signals,
                           const std::string& name, std::initializer_list<log::Field> fields);

// A daemon that may call. `role` is one bit of what its routes ask for.
struct DaemonCaller {
  std::string_view name;  // "hostd"
  uid_t uid = 0;
  unsigned role = 0;
};

// Routes for any process of this machine, whoever it is.
inline constexpr unsigned kAnyCaller = 1U << 31;

// Who sent a request over a Unix socket, for the record ("hostd(uid=1890000003)", "root(uid=0)", "uid=1000"),
// if one of its roles is in `roles`. uid 0 always may. Several daemons may have one uid (an ordinary user
// runs them all): the first that is allowed is named. `service` is who was called, for the message. Errors:
// unauthenticated for another transport, permission_denied.
Result<std::string> authorise_process(const Request& request, std::span<const DaemonCaller> callers,
                                      unsigned roles, std::string_view service);

// The parameter {vmId} of a path; invalid_argument when it is none.
Result<VmId> vm_parameter(const Request& request);

}  // namespace bootseal::net
