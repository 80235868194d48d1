// Requests a second over a kept connection: a small JSON answer, the client and the server in one process.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>

#include "bootseal/net/client.h"
#include "bootseal/net/server.h"
#include "certificates.h"

namespace bootseal::net {
namespace {

struct Served {
  std::filesystem::path socket =
      std::filesystem::temp_directory_path() / ("bootseal-bench-" + std::to_string(::getpid()));
  testing::Identity ca = testing::make_ca("Bench CA");
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> over_unix;
  std::unique_ptr<Client> over_tls;

  Served() {
    Router router;
    router.on("GET", "/v1/vms/{id}", [](const Request& request) {
      return Response::json(200, json::Object{{"id", request.parameter("id")}, {"power", "Running"}});
    });
    const testing::Identity identity = testing::issue_server(ca);
    server = Server::start({.unix_listener = listen_unix(socket).value(),
                            .tcp_address = "127.0.0.1",
                            .tls = {identity.certificate_pem, identity.key_pem, ""}},
                           std::move(router))
                 .value();
    over_unix = Client::create({.unix_socket = socket}).value();
    over_tls = Client::create({.base_url = "https://127.0.0.1:" + std::to_string(server->tcp_port()),
                               .ca_pem = ca.certificate_pem})
                   .value();
  }
  ~Served() {
    server.reset();
    std::filesystem::remove(socket);
  }
};

Served& served() {
  static Served instance;
  return instance;
}

void call(benchmark::State& state, Client& client) {
  for (auto _ : state) {
    const auto reply = client.send({.target = "/v1/vms/7"});
    if (!reply || reply->status != 200) state.SkipWithError("the call failed");
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_CallOverUnixSocket(benchmark::State& state) {
  call(state, *served().over_unix);
}
BENCHMARK(BM_CallOverUnixSocket)->UseRealTime()->Threads(1)->Threads(8);

void BM_CallOverTls(benchmark::State& state) {
  call(state, *served().over_tls);
}
BENCHMARK(BM_CallOverTls)->UseRealTime()->Threads(1)->Threads(8);

void BM_NewTlsConnection(benchmark::State& state) {
  Served& all = served();
  const ClientOptions options{.base_url = "https://127.0.0.1:" + std::to_string(all.server->tcp_port()),
                              .ca_pem = all.ca.certificate_pem};
  for (auto _ : state) {
    const auto reply = Client::create(options).value()->send({.target = "/v1/vms/7"});
    if (!reply || reply->status != 200) state.SkipWithError("the call failed");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_NewTlsConnection)->UseRealTime();

}  // namespace
}  // namespace bootseal::net
