#include "service.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <limits>

namespace bootseal::netd {
namespace {

constexpr std::size_t kLargestLine = std::size_t{4} << 20;
constexpr std::size_t kMostInterfaces = 8;

Result<Opening> opening_of(json::Reader& parameters) {
  BOOTSEAL_TRY(const std::string protocol, parameters.string("protocol"));
  BOOTSEAL_TRY(const std::uint64_t port, parameters.unsigned_integer("port"));
  if (protocol != "Tcp" && protocol != "Udp")
    return parameters.problem("protocol", "Tcp or Udp was expected");
  if (port == 0 || port > 65535) return parameters.problem("port", "no port");
  return Opening{protocol == "Tcp" ? Protocol::tcp : Protocol::udp, static_cast<std::uint16_t>(port)};
}

}  // namespace

Status Service::run() {
  for (;;) {
    set_.clear();
    std::uint32_t milliseconds = std::numeric_limits<std::uint32_t>::max();
    listener_index_ = set_.add(listener_.get(), POLLIN);
    client_index_ = client_.valid() ? set_.add(client_.get(), POLLIN) : -1;
    for (const auto& nic : nics_) nic->prepare(set_, milliseconds);
    if (!set_.wait(milliseconds)) return fail_errno(errno, "waiting for packets");
    for (const auto& nic : nics_) nic->handle(set_);
    if (set_.events_of(client_index_) != 0) hear_client();
    if ((set_.events_of(listener_index_) & POLLIN) != 0) accept_client();
  }
}

void Service::accept_client() {
  UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client.valid()) return;
  // The socket's file is hostd's alone; this holds it where a folder was made wider.
  const Result<PeerCredentials> peer = peer_credentials(client.get());
  if (!peer || (peer->uid != 0 && peer->uid != ::geteuid())) return;
  client_ = std::move(client);
  line_.clear();
  socket_.reset();
}

void Service::hear_client() {
  Result<ReceivedWithFd> received = receive_with_fd(client_.get(), 65536);
  if (!received || received->data.empty() || line_.size() + received->data.size() > kLargestLine)
    return client_.reset();
  if (received->fd.valid()) socket_ = std::move(received->fd);
  line_ += as_text(received->data);
  for (std::size_t end = 0; (end = line_.find('\n')) != std::string::npos;) {
    const std::string line = line_.substr(0, end);
    line_.erase(0, end + 1);
    const std::string text = json::serialize(answer(line, std::move(socket_))) + "\n";
    if (!write_all(client_.get(), as_bytes(text))) return client_.reset();
  }
}

json::Value Service::answer(std::string_view line, UniqueFd socket) {
  std::uint64_t id = 0;
  const Result<json::Value> result = [&]() -> Result<json::Value> {
    BOOTSEAL_TRY(const json::Value value, json::parse(line));
    BOOTSEAL_TRY(json::Reader request, json::Reader::object(value, "the request"));
    BOOTSEAL_TRY(id, request.unsigned_integer("id"));
    BOOTSEAL_TRY(const std::string method, request.string("method"));
    static const json::Value kNothing = json::Object{};
    const json::Value* parameters = &kNothing;
    if (request.has("params")) {
      BOOTSEAL_TRY(parameters, request.value("params"));
    }
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(*parameters, method));
    return carry_out(method, reader, std::move(socket));
  }();
  if (result) return json::Object{{"id", id}, {"result", *result}};
  return json::Object{{"id", id},
                      {"error", json::Object{{"code", error_info(result.error().code).name},
                                             {"message", result.error().describe()}}}};
}

Result<json::Value> Service::carry_out(std::string_view method, json::Reader& parameters, UniqueFd socket) {
  if (method == "status") {
    json::Array interfaces;
    for (const auto& nic : nics_) interfaces.push_back(nic->status());
    return json::Object{{"interfaces", std::move(interfaces)}};
  }
  if (method == "configure") {
    BOOTSEAL_TRY_STATUS(configure(parameters));
    return json::Object{};
  }
  if (method != "link" && method != "open" && method != "close")
    return fail(ErrorCode::unsupported, fmt::format("'{}' is no method", method.substr(0, 40)));
  BOOTSEAL_TRY(Nic * nic, nic_of(parameters));
  if (method == "close") {
    BOOTSEAL_TRY(const Opening opening, opening_of(parameters));
    nic->close(opening);
    return json::Object{};
  }
  if (!socket.valid())
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' comes with a socket", method));
  if (method == "link") {
    nic->link(std::move(socket));
    return json::Object{};
  }
  BOOTSEAL_TRY(const Opening opening, opening_of(parameters));
  BOOTSEAL_TRY_STATUS(nic->open(opening, std::move(socket)));
  return json::Object{};
}

// The first one says which interfaces there are; later ones change rules and public addresses.
Status Service::configure(json::Reader& parameters) {
  BOOTSEAL_TRY(std::vector<json::Reader> elements, parameters.objects("interfaces"));
  if (elements.size() > kMostInterfaces || (!nics_.empty() && nics_.size() != elements.size()))
    return parameters.problem("interfaces", fmt::format("{} interfaces do not fit", elements.size()));
  std::vector<Interface> interfaces;
  for (json::Reader& element : elements) {
    BOOTSEAL_TRY(Interface interface, parse_interface(element));
    interfaces.push_back(std::move(interface));
  }
  if (!nics_.empty()) {
    for (std::size_t i = 0; i < nics_.size(); ++i)
      BOOTSEAL_TRY_STATUS(nics_[i]->update(std::move(interfaces[i])));
    return {};
  }
  std::vector<std::unique_ptr<Nic>> nics;
  for (std::size_t i = 0; i < interfaces.size(); ++i) {
    BOOTSEAL_TRY(auto nic, Nic::create(std::move(interfaces[i]), i));
    nics.push_back(std::move(nic));
  }
  nics_ = std::move(nics);
  return {};
}

Result<Nic*> Service::nic_of(json::Reader& parameters) {
  BOOTSEAL_TRY(const std::uint64_t index, parameters.unsigned_integer("interface"));
  if (index >= nics_.size()) return parameters.problem("interface", "there is no such interface");
  return nics_[index].get();
}

}  // namespace bootseal::netd
