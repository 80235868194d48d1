#include "site.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "bootseal/model/endpoint.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::api::testing {
namespace {

constexpr std::chrono::seconds kPatience{30};

std::filesystem::path make_temporary_folder() {
  std::string text = "/tmp/bs-api-XXXXXX";
  EXPECT_NE(::mkdtemp(text.data()), nullptr);
  return text;
}

// "/path?a=b&c=d" into a request; values are taken as they stand.
void set_target(net::Request& request, const std::string& target) {
  request.target = target;
  const std::size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (question == std::string::npos) return;
  for (std::size_t at = question + 1; at <= target.size();) {
    const std::size_t end = std::min(target.find('&', at), target.size());
    const std::string pair = target.substr(at, end - at);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    request.query.emplace(pair.substr(0, equals), equals < pair.size() ? pair.substr(equals + 1) : "");
    at = end + 1;
  }
}

bool matches(const std::string& path_template, const std::string& path) {
  const auto parts = [](std::string_view text) {
    std::vector<std::string> list;
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('/'), text.size());
      if (end > 0) list.emplace_back(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return list;
  };
  const auto wanted = parts(path_template), given = parts(path);
  return std::equal(wanted.begin(), wanted.end(), given.begin(), given.end(),
                    [](const std::string& a, const std::string& b) {
                      return a.starts_with('{') || model::equal_ignoring_case(a, b);
                    });
}

// Every good answer has a status and a body that its endpoint declares.
void expect_declared(const net::Request& request, const Reply& reply) {
  if (reply.status >= 400) return;
  for (const model::Endpoint& endpoint : model::endpoints()) {
    if (endpoint.method != request.method || !matches(endpoint.path, request.path)) continue;
    const auto answer = std::find_if(endpoint.out.begin(), endpoint.out.end(),
                                     [&](const model::Answer& one) { return one.status == reply.status; });
    ASSERT_NE(answer, endpoint.out.end()) << endpoint.operation_id << " answered " << reply.status;
    EXPECT_EQ(reply.text.empty(), answer->schema == nullptr && answer->content_type == "application/json")
        << endpoint.operation_id;
    if (answer->schema == nullptr || reply.text.empty()) return;
    const auto conformed = model::conform(*answer->schema, reply.body);
    EXPECT_TRUE(conformed) << endpoint.operation_id << ": " << conformed.error().message;
    return;
  }
  ADD_FAILURE() << request.method << " " << request.path << " is not declared";
}

}  // namespace

std::string Reply::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::string Reply::error() const {
  if (!body.is_object() || !body.get_object().contains("error"))
    return "no error: HTTP " + std::to_string(status);
  const json::Value& error = body.get_object().at("error");
  return std::string(error.at("code").get_string()) + ": " + std::string(error.at("message").get_string());
}

SiteTest::SiteTest()
    : folder_(make_temporary_folder()),
      host_(folder_ / "hostd.sock"),
      vault_(folder_ / "vaultd.sock"),
      attest_(folder_ / "attestd.sock") {
  make_image(folder_ / "images", "mini");
  host_.start();
  vault_.start();
  attest_.start();
}

SiteTest::~SiteTest() {
  crash();
  host_.stop();
  vault_.stop();
  attest_.stop();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void SiteTest::start() {
  ControlPlaneOptions options;
  auto store = store::open_sqlite_store(folder_ / "store.sqlite");
  ASSERT_TRUE(store) << store.error().message;
  options.store = *std::move(store);
  options.images = folder_ / "images";
  options.hostd_socket = folder_ / "hostd.sock";
  options.vaultd_socket = folder_ / "vaultd.sock";
  options.attestd_socket = folder_ / "attestd.sock";
  options.endpoint = [] { return std::string("https://site.test:8443"); };
  options.events_wait = std::chrono::seconds(1);
  options.first_retry = std::chrono::milliseconds(10);
  options.last_retry = std::chrono::milliseconds(200);
  options.operation_limit = operation_limit_;
  options.clock = clock_;
  auto plane = ControlPlane::create(std::move(options));
  ASSERT_TRUE(plane) << plane.error().message;
  plane_ = *std::move(plane);
  router_ = plane_->router();
  plane_->start();
  const Reply list = call("GET", "/subscriptions");
  ASSERT_EQ(list.status, 200) << list.text;
  subscription_ = list.body.at("value").at(0).at("subscriptionId").get_string();
  ASSERT_LT(call("PUT", group(), json::Object{{"location", "local"}}).status, 300);
}

void SiteTest::crash() {
  router_.reset();
  plane_.reset();
}

Reply SiteTest::call_as(const net::Peer& peer, const std::string& method, const std::string& target,
                        const net::HeaderList& headers, const std::string& body) {
  net::Request request;
  request.method = method;
  set_target(request, target);
  request.headers = headers;
  request.headers.emplace_back("Host", "site.test:8443");
  request.body = body;
  request.peer = peer;
  const net::Response response = router_->handle(request);
  Reply reply{response.status, response.headers, response.body, nullptr};
  if (const auto parsed = json::parse(response.body)) reply.body = *parsed;
  expect_declared(request, reply);
  return reply;
}

Reply SiteTest::call(const std::string& method, const std::string& path, const json::Value& body,
                     const net::HeaderList& headers) {
  net::Peer peer;
  peer.kind = net::Peer::Kind::certificate;
  peer.certificate_name = "admin";
  const std::string target =
      path + (path.find('?') == std::string::npos ? "?" : "&") + "api-version=2024-07-01";
  return call_as(peer, method, target, headers, body.is_null() ? std::string() : json::serialize(body));
}

Reply SiteTest::put_vm(const std::string& name, const std::string& image, const json::Value& security,
                       const net::HeaderList& headers) {
  json::Object properties{{"hardwareProfile", {{"vmSize", "Bootseal_Mini"}}},
                          {"storageProfile", {{"imageReference", {{"offer", image}}}}}};
  if (!security.is_null()) properties["securityProfile"] = security;
  return call("PUT", vm(name), json::Object{{"location", "local"}, {"properties", std::move(properties)}},
              headers);
}

std::string SiteTest::vm_id(const std::string& name) {
  return std::string(call("GET", vm(name)).body.at("properties").at("vmId").get_string());
}

bool SiteTest::until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

json::Value SiteTest::wait(const Reply& begun) {
  const std::string url = begun.header("Azure-AsyncOperation");
  EXPECT_FALSE(url.empty()) << begun.status << " " << begun.text;
  if (url.empty()) return nullptr;
  constexpr std::string_view kBase = "https://site.test:8443";
  EXPECT_TRUE(url.starts_with(kBase)) << url;
  std::string path = url.substr(kBase.size());
  path.resize(path.find('?'));
  Reply last;
  EXPECT_TRUE(until([&] {
    last = call("GET", path);
    return last.status != 200 || last.body.at("status").get_string() != "InProgress";
  })) << last.text;
  EXPECT_EQ(last.status, 200) << last.text;
  return last.body;
}

std::string SiteTest::outcome(const Reply& begun) {
  const json::Value operation = wait(begun);
  if (!operation.is_object()) return "no operation";
  std::string text(operation.at("status").get_string());
  if (const json::Value* error = operation.get_object().if_contains("error")) {
    text += " " + std::string(error->at("code").get_string()) + ": " +
            std::string(error->at("message").get_string());
  }
  return text;
}

std::vector<std::string> SiteTest::states(const std::string& name) {
  const Reply view = call("GET", vm(name) + "/instanceView");
  std::vector<std::string> codes;
  if (view.status != 200) return codes;
  for (const json::Value& status : view.body.at("statuses").get_array())
    codes.emplace_back(status.at("code").get_string());
  return codes;
}

}  // namespace bootseal::api::testing
