#include "bootseal/net/client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <pthread.h>

#include <array>
#include <csignal>
#include <mutex>

#include "bootseal/crypto/handle.h"
#include "client_websocket.h"
#include "target.h"
#include "tls.h"

namespace bootseal::net {
namespace {

using Easy = crypto::Handle<CURL, &curl_easy_cleanup>;
using Multi = crypto::Handle<CURLM, &curl_multi_cleanup>;
using CurlList = crypto::Handle<curl_slist, &curl_slist_free_all>;

constexpr std::size_t kMaxReplyBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxReplyHeaders = 256;
constexpr std::size_t kKeptTransfers = 8;
constexpr int kPollMilliseconds = 1000;

// OpenSSL writes to its socket with plain write(): a SIGPIPE of a connection that is gone must not end the
// process.
class SigpipeHeld {
 public:
  SigpipeHeld() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeHeld() {
    const timespec no_wait{};
    if (!was_pending_) {
      while (sigtimedwait(&pipe_, nullptr, &no_wait) == SIGPIPE) continue;
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeHeld(const SigpipeHeld&) = delete;
  SigpipeHeld& operator=(const SigpipeHeld&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

bool is_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

bool is_one_word(std::string_view text) {
  return is_line(text) && !text.empty() && text.find(' ') == std::string_view::npos;
}

// One transfer at a time, and the connections it keeps. The multi handle is there to be woken from another
// thread.
struct Transfer {
  Multi multi{curl_multi_init()};
  Easy easy{curl_easy_init()};
  std::array<char, CURL_ERROR_SIZE> error_text{};
  Reply reply;
  bool too_long = false;
};

// libcurl's callbacks: nothing may be thrown through it.
std::size_t on_body(char* data, std::size_t, std::size_t size, void* context) noexcept {
  auto& transfer = *static_cast<Transfer*>(context);
  if (transfer.reply.body.size() + size > kMaxReplyBytes) {
    transfer.too_long = true;
    return 0;
  }
  transfer.reply.body.append(data, size);
  return size;
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* context) noexcept {
  auto& transfer = *static_cast<Transfer*>(context);
  std::string_view line(data, size);
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  // A new answer begins: the one before was `100 Continue`.
  if (line.starts_with("HTTP/")) transfer.reply.headers.clear();
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return size;
  if (transfer.reply.headers.size() >= kMaxReplyHeaders) {
    transfer.too_long = true;
    return 0;
  }
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
  transfer.reply.headers.emplace_back(std::string(line.substr(0, colon)), std::string(value));
  return size;
}

curl_blob blob_of(const std::string& text) {
  return {const_cast<char*>(text.data()), text.size(), CURL_BLOB_NOCOPY};
}

class CurlClient final : public Client {
 public:
  explicit CurlClient(ClientOptions options) : options_(std::move(options)) {}

  Status check() const;
  Result<Reply> send(const Call& call) override;
  Result<std::unique_ptr<WebSocket>> open_websocket(const std::string& target) override {
    return connect_websocket(options_, target);
  }

 private:
  // Gives the transfer back to the client's pool.
  struct GiveBack {
    CurlClient* client;
    void operator()(Transfer* transfer) const { client->give_back(std::unique_ptr<Transfer>(transfer)); }
  };
  using Borrowed = std::unique_ptr<Transfer, GiveBack>;

  Result<Borrowed> borrow();
  void give_back(std::unique_ptr<Transfer> transfer);
  Status prepare(Transfer& transfer, const Call& call, CurlList& headers) const;
  Result<CURLcode> run(Transfer& transfer, const Call& call) const;
  [[nodiscard]] Error error_of(CURLcode code, const Transfer& transfer, const Call& call) const;
  [[nodiscard]] std::string address() const {
    return options_.unix_socket.empty() ? options_.base_url : options_.unix_socket.string();
  }

  const ClientOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Transfer>> idle_;  // guarded by mutex_
};

Status CurlClient::check() const {
  if (!is_line(options_.base_url) || !is_line(options_.bearer_token)) {
    return fail(ErrorCode::invalid_argument, "the URL and the token of a client are one line each");
  }
  if (!options_.unix_socket.empty()) return {};
  if (!options_.base_url.starts_with("https://")) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is no address of a server: it begins with https://", options_.base_url));
  }
  if (options_.ca_pem.empty()) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{} cannot be trusted without the CA certificate of the site", options_.base_url));
  }
  // Finds out now what is wrong with the PEM texts.
  BOOTSEAL_TRY(const SslContext context, make_client_context(options_));
  return {};
}

Result<CurlClient::Borrowed> CurlClient::borrow() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Borrowed transfer(idle_.back().release(), GiveBack{this});
      idle_.pop_back();
      return transfer;
    }
  }
  auto transfer = std::make_unique<Transfer>();
  if (transfer->multi == nullptr || transfer->easy == nullptr) {
    return fail(ErrorCode::exhausted, "libcurl has no memory for a transfer");
  }
  return Borrowed(transfer.release(), GiveBack{this});
}

void CurlClient::give_back(std::unique_ptr<Transfer> transfer) {
  transfer->reply = {};
  transfer->too_long = false;
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kKeptTransfers) idle_.push_back(std::move(transfer));
}

Status CurlClient::prepare(Transfer& transfer, const Call& call, CurlList& headers) const {
  if (!is_one_word(call.method) || !is_one_word(call.target) || !call.target.starts_with('/')) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a request has a method and a target of one word each, not \"{}\" \"{}\"",
                            call.method, call.target));
  }
  const auto add_header = [&](const std::string& line) {
    curl_slist* const longer = curl_slist_append(headers.get(), line.c_str());
    BOOTSEAL_CHECK(longer != nullptr);
    static_cast<void>(headers.release());
    headers.reset(longer);
  };
  bool has_content_type = false;
  for (const auto& [name, value] : call.headers) {
    if (!is_one_word(name) || !is_line(value)) {
      return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" is no header that can be sent", name));
    }
    has_content_type |= equal_ignoring_case(name, "Content-Type");
    // libcurl takes "name:" for the removal of a header and "name;" for an empty one.
    add_header(value.empty() ? name + ";" : fmt::format("{}: {}", name, value));
  }
  if (!call.body.empty() && !has_content_type) add_header("Content-Type: application/json");
  if (call.body.empty() && !has_content_type) add_header("Content-Type:");
  if (!options_.bearer_token.empty()) add_header("Authorization: Bearer " + options_.bearer_token);
  add_header("Expect:");

  CURL* const easy = transfer.easy.get();
  curl_easy_reset(easy);
  transfer.error_text.fill('\0');
  bool set = true;
  const auto option = [&](CURLoption name, auto value) {
    set = set && curl_easy_setopt(easy, name, value) == CURLE_OK;
  };
  option(CURLOPT_ERRORBUFFER, transfer.error_text.data());
  option(CURLOPT_NOSIGNAL, 1L);
  option(CURLOPT_PROXY, "");
  option(CURLOPT_PROTOCOLS_STR, options_.unix_socket.empty() ? "https" : "http");
  option(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  option(CURLOPT_PATH_AS_IS, 1L);
  if (options_.unix_socket.empty()) {
    const curl_blob ca = blob_of(options_.ca_pem);
    option(CURLOPT_CAINFO, static_cast<const char*>(nullptr));
    option(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
    option(CURLOPT_CAINFO_BLOB, &ca);
    option(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!options_.client_certificate_pem.empty()) {
      const curl_blob certificate = blob_of(options_.client_certificate_pem);
      const curl_blob key = blob_of(options_.client_key_pem);
      option(CURLOPT_SSLCERT_BLOB, &certificate);
      option(CURLOPT_SSLKEY_BLOB, &key);
    }
    option(CURLOPT_URL, (options_.base_url + call.target).c_str());
  } else {
    option(CURLOPT_UNIX_SOCKET_PATH, options_.unix_socket.c_str());
    const std::string base = options_.base_url.empty() ? "http://daemon" : options_.base_url;
    option(CURLOPT_URL, (base + call.target).c_str());
  }
  option(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_limit.count()));
  option(CURLOPT_TIMEOUT_MS, static_cast<long>(call.limit.value_or(options_.limit).count()));
  if (!call.body.empty() || call.method == "POST" || call.method == "PUT" || call.method == "PATCH") {
    option(CURLOPT_POST, 1L);
    option(CURLOPT_POSTFIELDS, call.body.c_str());
    option(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
  }
  if (call.method == "HEAD") {
    option(CURLOPT_NOBODY, 1L);
  } else {
    option(CURLOPT_CUSTOMREQUEST, call.method.c_str());
  }
  option(CURLOPT_HTTPHEADER, headers.get());
  option(CURLOPT_WRITEFUNCTION, &on_body);
  option(CURLOPT_WRITEDATA, &transfer);
  option(CURLOPT_HEADERFUNCTION, &on_header);
  option(CURLOPT_HEADERDATA, &transfer);
  if (!set) return fail(ErrorCode::internal, "libcurl refused an option of the request");
  return {};
}

// The end of the transfer as libcurl sees it; cancelled when the caller asked to stop.
Result<CURLcode> CurlClient::run(Transfer& transfer, const Call& call) const {
  const auto stopped = [&] {
    return fail(ErrorCode::cancelled, fmt::format("{} {} was stopped on request", call.method, call.target));
  };
  if (call.stop.stop_requested()) return stopped();
  CURLM* const multi = transfer.multi.get();
  if (curl_multi_add_handle(multi, transfer.easy.get()) != CURLM_OK) {
    return fail(ErrorCode::internal, "libcurl did not take the transfer");
  }
  const std::stop_callback wake(call.stop, [multi] { curl_multi_wakeup(multi); });
  Result<CURLcode> end = CURLE_OK;
  for (;;) {
    int running = 0;
    const CURLMcode step = curl_multi_perform(multi, &running);
    if (call.stop.stop_requested()) {
      end = stopped();
      break;
    }
    int left = 0;
    const CURLMsg* const message = curl_multi_info_read(multi, &left);
    if (message != nullptr && message->msg == CURLMSG_DONE) {
      end = message->data.result;
      break;
    }
    if (step != CURLM_OK || curl_multi_poll(multi, nullptr, 0, kPollMilliseconds, nullptr) != CURLM_OK) {
      end = fail(ErrorCode::internal, "libcurl could not drive the transfer");
      break;
    }
  }
  curl_multi_remove_handle(multi, transfer.easy.get());
  return end;
}

Error CurlClient::error_of(CURLcode code, const Transfer& transfer, const Call& call) const {
  const std::string reason =
      transfer.error_text[0] != '\0' ? std::string(transfer.error_text.data()) : curl_easy_strerror(code);
  const std::string what = fmt::format("{} {} at {}", call.method, call.target, address());
  const auto make = [&](ErrorCode kind, std::string_view problem) {
    return Error{kind, fmt::format("{}: {}: {}", what, problem, reason), nullptr};
  };
  if (transfer.too_long) return make(ErrorCode::exhausted, "the answer is too long");
  switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
      return make(ErrorCode::unavailable, "nobody answers; is the daemon running?");
    case CURLE_OPERATION_TIMEDOUT:
      return make(ErrorCode::timeout, "no answer in time");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return make(ErrorCode::unauthenticated, "TLS verification failed");
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
      // TLS 1.3 servers refuse a client certificate after the client thinks that the handshake is over.
      if (reason.find("alert") != std::string::npos)
        return make(ErrorCode::unauthenticated, "TLS verification failed");
      return make(ErrorCode::unavailable, "the connection broke");
    case CURLE_OUT_OF_MEMORY:
      return make(ErrorCode::exhausted, "out of memory");
    default:
      return make(ErrorCode::unavailable, "no valid answer");
  }
}

Result<Reply> CurlClient::send(const Call& call) {
  const SigpipeHeld held;
  BOOTSEAL_TRY(const Borrowed transfer, borrow());
  CurlList headers;
  BOOTSEAL_TRY_STATUS(prepare(*transfer, call, headers));
  BOOTSEAL_TRY(const CURLcode end, run(*transfer, call));
  if (end != CURLE_OK) return tl::unexpected(error_of(end, *transfer, call));
  long status = 0;
  curl_easy_getinfo(transfer->easy.get(), CURLINFO_RESPONSE_CODE, &status);
  transfer->reply.status = static_cast<int>(status);
  return std::move(transfer->reply);
}

}  // namespace

std::optional<std::string> Reply::header(std::string_view name) const {
  for (const auto& [field, value] : headers) {
    if (equal_ignoring_case(field, name)) return value;
  }
  return std::nullopt;
}

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return fail(ErrorCode::internal, "libcurl did not start");
  auto client = std::make_unique<CurlClient>(std::move(options));
  BOOTSEAL_TRY_STATUS(client->check());
  return client;
}

Result<json::Value> Client::call_json(std::string method, std::string target, const json::Value& body,
                                      std::optional<std::chrono::milliseconds> limit, std::stop_token stop) {
  Call call{.method = std::move(method),
            .target = std::move(target),
            .headers = {},
            .body = {},
            .limit = limit,
            .stop = std::move(stop)};
  if (!body.is_null()) call.body = json::serialize(body);
  BOOTSEAL_TRY(const Reply reply, send(call));
  if (reply.status >= 400) return tl::unexpected(error_from_response(reply.status, reply.body));
  if (reply.body.empty()) return json::Value(nullptr);
  auto value = json::parse(reply.body, {.bytes = kMaxReplyBytes});
  if (!value) {
    return fail(ErrorCode::unavailable, fmt::format("{} {}: the answer is no JSON: {}", call.method,
                                                    call.target, value.error().message));
  }
  return value;
}

}  // namespace bootseal::net
