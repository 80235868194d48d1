#include "bootseal/cli/site_client.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "bootseal/base/fds.h"
#include "bootseal/cli/output.h"
#include "bootseal/net/http.h"

namespace bootseal::cli {
namespace {

constexpr std::string_view kApiVersion = "2024-07-01";
constexpr std::size_t kFileLimit = std::size_t{256} << 10;
constexpr std::chrono::milliseconds kFirstPoll{100};
constexpr std::chrono::milliseconds kLastPoll{1000};
constexpr std::chrono::milliseconds kTick{100};
constexpr std::chrono::seconds kPatience{
    60};  // with a server that does not answer while an operation is waited for

Result<std::string> read_text(const std::filesystem::path& path) {
  BOOTSEAL_TRY(const Bytes content, read_file(path, kFileLimit));
  std::string text(as_text(content));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// "Nobody answers" in the words of somebody who wants to go on.
Error explain(const Error& error, const Profile& profile) {
  if (error.code != ErrorCode::unavailable) return error;
  if (!profile.when_silent.empty()) return {ErrorCode::unavailable, profile.when_silent, nullptr};
  return {
      ErrorCode::unavailable,
      fmt::format(
          "the site at {} does not answer; `bootseal up` starts it, `bootseal status` says what runs ({})",
          profile.endpoint, error.message),
      nullptr};
}

// The path and query of an absolute URL.
std::string path_of(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const std::size_t path = url.find('/', scheme + 3);
  return path == std::string::npos ? "/" : url.substr(path);
}

}  // namespace

Result<Profile> Profile::load(const std::filesystem::path& folder) {
  const auto document_text = read_text(folder / "endpoint.json");
  if (!document_text && document_text.error().code == ErrorCode::not_found) {
    return fail(ErrorCode::not_found, fmt::format("no site is set up here ({} is not there); run `bootseal "
                                                  "up`, or set BOOTSEAL_HOME to the folder of the site",
                                                  (folder / "endpoint.json").string()));
  }
  if (!document_text && document_text.error().code == ErrorCode::permission_denied) {
    return fail(
        ErrorCode::permission_denied,
        fmt::format("{} may only be read by the user who ran `bootseal up`; run this command as that user",
                    folder.string()));
  }
  if (!document_text) return tl::unexpected(document_text.error());
  BOOTSEAL_TRY(const json::Value document, json::parse(*document_text));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, (folder / "endpoint.json").string()));
  Profile profile;
  BOOTSEAL_TRY(profile.endpoint, reader.string("endpoint"));
  BOOTSEAL_TRY(profile.tenant, reader.string("tenant"));
  BOOTSEAL_TRY(profile.subscription, reader.string("subscription"));
  BOOTSEAL_TRY(profile.ca_pem, read_text(folder / "ca.pem"));
  BOOTSEAL_TRY(profile.token, read_text(folder / "token"));
  if (auto certificate = read_text(folder / "client.pem"))
    profile.client_certificate_pem = *std::move(certificate);
  if (auto key = read_text(folder / "client-key.pem")) profile.client_key_pem = *std::move(key);
  return profile;
}

Status Profile::save(const std::filesystem::path& folder) const {
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  const std::pair<const char*, const std::string*> files[] = {{"ca.pem", &ca_pem},
                                                              {"token", &token},
                                                              {"client.pem", &client_certificate_pem},
                                                              {"client-key.pem", &client_key_pem}};
  for (const auto& [name, content] : files) {
    if (content->empty()) continue;
    BOOTSEAL_TRY_STATUS(
        replace_file(folder / name, as_bytes(content->ends_with('\n') ? *content : *content + '\n'), 0600));
  }
  json::Object document;
  document["endpoint"] = endpoint;
  document["tenant"] = tenant;
  document["subscription"] = subscription;
  // The last one: with it the profile is whole.
  return replace_file(folder / "endpoint.json", as_bytes(json::serialize_pretty(document)), 0600);
}

Result<std::unique_ptr<SiteClient>> SiteClient::create(Profile profile) {
  net::ClientOptions options;
  options.base_url = profile.endpoint;
  options.ca_pem = profile.ca_pem;
  options.bearer_token = profile.token;
  BOOTSEAL_TRY(auto client, net::Client::create(std::move(options)));
  return std::unique_ptr<SiteClient>(new SiteClient(std::move(profile), std::move(client)));
}

std::string SiteClient::group_path(const std::string& group) const {
  return fmt::format("{}/resourceGroups/{}", subscription_path(), group);
}

std::string SiteClient::vm_path(const std::string& group, const std::string& name) const {
  return fmt::format("{}/providers/Microsoft.Compute/virtualMachines/{}", group_path(group), name);
}

Error error_from_answer(int status, const json::Value& body) {
  const std::string code = text_at(body, {"error", "code"});
  const std::string message = text_at(body, {"error", "message"});
  if (code.empty() && message.empty())
    return {ErrorCode::unavailable, fmt::format("the server answered HTTP {} without saying why", status),
            nullptr};
  // The kind of the error as the rest of the house reads it; the server's own name stays in the words.
  const ErrorCode kind = net::error_from_response(status, json::serialize(body)).code;
  return {kind, fmt::format("{} [{}]", printable(message, true), printable(code)), nullptr};
}

Result<SiteClient::Answer> SiteClient::call(const std::string& method, const std::string& path,
                                            const json::Value& body, const net::HeaderList& headers,
                                            const std::string& query) {
  net::Call call;
  call.method = method;
  call.target = fmt::format("{}?api-version={}{}{}", path, kApiVersion, query.empty() ? "" : "&", query);
  call.headers = headers;
  if (!body.is_null()) {
    call.headers.emplace_back("Content-Type", "application/json");
    call.body = json::serialize(body);
  }
  const auto sent = client_->send(call);
  if (!sent) return tl::unexpected(explain(sent.error(), profile_));
  const net::Reply& reply = *sent;
  Answer answer;
  answer.status = reply.status;
  if (!reply.body.empty()) {
    auto parsed = json::parse(reply.body);
    if (!parsed)
      return fail(ErrorCode::unavailable,
                  fmt::format("the server at {} answered HTTP {} with something that is not JSON",
                              profile_.endpoint, reply.status));
    answer.body = *std::move(parsed);
  }
  if (reply.status >= 400) return tl::unexpected(error_from_answer(reply.status, answer.body));
  if (const auto operation = reply.header("Azure-AsyncOperation"))
    answer.operation_path = path_of(*operation);
  return answer;
}

Result<json::Value> SiteClient::wait(const std::string& operation_path, std::stop_token stop,
                                     const std::function<void()>& on_wait) {
  std::mutex mutex;
  std::condition_variable_any pause;
  std::chrono::milliseconds poll_after = kFirstPoll;
  auto answered = std::chrono::steady_clock::now();
  while (true) {
    net::Call call;
    call.target = operation_path;
    call.stop = stop;
    const auto reply = client_->send(call);
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped waiting; the operation goes on");
    if (reply && reply->status < 500) {
      answered = std::chrono::steady_clock::now();
      BOOTSEAL_TRY(const json::Value body, json::parse(reply->body));
      if (reply->status >= 400) return tl::unexpected(error_from_answer(reply->status, body));
      const std::string status = text_at(body, {"status"});
      if (status == "Succeeded") {
        const json::Value* output = find(body, {"properties", "output"});
        return output != nullptr ? *output : json::Value();
      }
      if (status == "Failed") return tl::unexpected(error_from_answer(409, body));
    } else if (std::chrono::steady_clock::now() - answered > kPatience) {
      // A restart of the server is ridden out.
      return reply ? fail(ErrorCode::unavailable,
                          fmt::format("the server keeps answering HTTP {}", reply->status))
                   : tl::unexpected<Error>(explain(reply.error(), profile_));
    }
    const auto until = std::chrono::steady_clock::now() + poll_after;
    poll_after = std::min(poll_after * 2, kLastPoll);
    std::unique_lock lock(mutex);
    while (std::chrono::steady_clock::now() < until && !stop.stop_requested()) {
      on_wait();
      pause.wait_for(
          lock, stop,
          std::min<std::chrono::steady_clock::duration>(kTick, until - std::chrono::steady_clock::now()),
          [] { return false; });
    }
  }
}

Result<std::unique_ptr<net::WebSocket>> SiteClient::websocket(const std::string& path) {
  auto socket = client_->open_websocket(path);
  if (!socket) return tl::unexpected(explain(socket.error(), profile_));
  return socket;
}

Result<std::string> SiteClient::text(const std::string& path) {
  net::Call call;
  call.target = path;
  auto reply = client_->send(call);
  if (!reply) return tl::unexpected(explain(reply.error(), profile_));
  if (reply->status < 400) return std::move(reply->body);
  const auto body = json::parse(reply->body);
  return tl::unexpected(error_from_answer(reply->status, body ? *body : json::Value()));
}

}  // namespace bootseal::cli
