#include "bootseal/net/daemon.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bootseal/net/client.h"

namespace bootseal::net {
namespace {

using ::testing::HasSubstr;

enum Role : unsigned { kHost = 1, kControl = 2 };

Request from(uid_t uid) {
  Request request;
  request.method = "GET";
  request.path = "/v1/x";
  request.peer.kind = Peer::Kind::unix_process;
  request.peer.uid = uid;
  return request;
}

TEST(AuthoriseProcess, NamesWhoMayCallAndRefusesAllOthers) {
  const DaemonCaller callers[] = {{"hostd", 10, kHost}, {"controld", 20, kControl}};
  EXPECT_EQ(authorise_process(from(10), callers, kHost, "the vault").value_or(""), "hostd(uid=10)");
  EXPECT_EQ(authorise_process(from(20), callers, kHost | kControl, "the vault").value_or(""),
            "controld(uid=20)");
  EXPECT_EQ(authorise_process(from(0), callers, kHost, "the vault").value_or(""), "root(uid=0)");
  EXPECT_EQ(authorise_process(from(77), callers, kAnyCaller, "the vault").value_or(""), "uid=77");
  EXPECT_EQ(authorise_process(from(20), callers, kAnyCaller, "the vault").value_or(""), "controld(uid=20)");
  for (const uid_t uid : {uid_t{20}, uid_t{77}}) {
    const auto refused = authorise_process(from(uid), callers, kHost, "the vault");
    ASSERT_FALSE(refused) << uid;
    EXPECT_EQ(refused.error().code, ErrorCode::permission_denied);
    EXPECT_THAT(refused.error().message, HasSubstr("may not call GET /v1/x of the vault"));
  }
  EXPECT_FALSE(authorise_process(from(10), callers, 0, "the vault")) << "a route for nobody";
}

TEST(AuthoriseProcess, DaemonsOfOneUserHaveTheRolesOfAll) {
  const DaemonCaller callers[] = {{"hostd", 1000, kHost}, {"controld", 1000, kControl}};
  EXPECT_EQ(authorise_process(from(1000), callers, kHost, "x").value_or(""), "hostd(uid=1000)");
  EXPECT_EQ(authorise_process(from(1000), callers, kControl, "x").value_or(""), "controld(uid=1000)");
}

TEST(AuthoriseProcess, OtherTransportsProveNoUid) {
  const DaemonCaller callers[] = {{"hostd", 0, kHost}};
  for (const Peer::Kind kind : {Peer::Kind::anonymous, Peer::Kind::certificate}) {
    Request request = from(0);
    request.peer.kind = kind;
    EXPECT_EQ(authorise_process(request, callers, kHost | kAnyCaller, "x").error().code,
              ErrorCode::unauthenticated);
  }
}

TEST(VmParameter, IsAnIdOrNamed) {
  Request request = from(0);
  request.parameters["vmId"] = "../keys";
  EXPECT_THAT(vm_parameter(request).error().message, HasSubstr("\"../keys\" is no id of a VM"));
  request.parameters["vmId"] = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
  EXPECT_TRUE(vm_parameter(request));
}

// In a process of its own: signals are for whole processes.
TEST(ServeUntilStopped, AnswersUntilASignalAndThenEndsWithSuccess) {
  const std::filesystem::path socket = std::filesystem::path(::testing::TempDir()) / "serve.sock";
  auto listener = listen_unix(socket);
  ASSERT_TRUE(listener);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const StopSignals signals = StopSignals::block();
    Router router;
    router.on("GET", "/v1/x", [](const Request&) { return Response::empty(204); });
    ::_exit(serve_until_stopped(*std::move(listener), std::move(router), signals, "test", {}) ? 0 : 1);
  }
  ClientOptions options;
  options.unix_socket = socket;
  options.base_url = "http://test";
  Call call;
  call.target = "/v1/x";
  const auto reply = (*Client::create(options))->send(call);
  EXPECT_TRUE(reply && reply->status == 204);
  ::kill(child, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(StopSignals, WaitEndsAtItsLimitWithoutASignal) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const StopSignals signals = StopSignals::block();
    if (signals.wait_for(std::chrono::milliseconds(1))) ::_exit(1);
    ::raise(SIGINT);
    ::_exit(signals.wait_for(std::chrono::seconds(30)) == SIGINT ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace bootseal::net
