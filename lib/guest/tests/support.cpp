#include "support.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <csignal>
#include <stdexcept>

#include "tpm_engine.h"

namespace bootseal::guest::test {
namespace {

constexpr std::chrono::seconds kLimit{10};

class MemoryState final : public GuestState {
 public:
  explicit MemoryState(std::shared_ptr<MemoryStore> store) : store_(std::move(store)) {}
  [[nodiscard]] Generation generation() const override { return {store_->generation}; }
  Result<std::optional<Bytes>> read(Blob blob) override {
    if (store_->read_error) return fail(*store_->read_error, "reading was made to fail");
    const auto found = store_->blobs.find(blob);
    if (found == store_->blobs.end()) return std::nullopt;
    return found->second;
  }
  Result<Generation> commit(Blob blob, ByteSpan content) override {
    if (store_->commit_error) return fail(*store_->commit_error, "committing was made to fail");
    store_->blobs[blob] = to_bytes(content);
    ++store_->commits;
    return Generation{++store_->generation};
  }
  Result<Generation> advance() override { return Generation{++store_->generation}; }

 private:
  std::shared_ptr<MemoryStore> store_;
};

template <typename T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().describe());
  return *std::move(result);
}
void need(const Status& status) {
  if (!status) throw std::runtime_error(status.error().describe());
}

UniqueFd no_signals() {
  sigset_t none;
  sigemptyset(&none);
  return UniqueFd(::signalfd(-1, &none, SFD_CLOEXEC));
}

}  // namespace

std::unique_ptr<GuestState> open_memory_state(std::shared_ptr<MemoryStore> store) {
  return std::make_unique<MemoryState>(std::move(store));
}

std::shared_ptr<MemoryStore> new_store() {
  auto store = std::make_shared<MemoryStore>();
  {
    StateKeeper keeper(open_memory_state(store));
    TpmEngine engine(keeper, TpmEngine::WhenMissing::manufacture, [](const std::string&) {});
    if (engine.power_on() != kTpmSuccess) throw std::runtime_error("the TPM could not be manufactured");
  }
  store->blobs[Blob::uefi_flash] = Bytes(kVariableFlashSize, std::byte{0xFF});
  store->commits = 0;
  return store;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "bootseal-guest.XXXXXX").native();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Socket Socket::connect(const std::filesystem::path& path) {
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  for (;;) {
    auto fd = connect_unix(path);
    if (fd) return Socket(*std::move(fd));
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error(fd.error().describe());
    std::this_thread::yield();
  }
}

void Socket::send(ByteSpan data) {
  while (!data.empty()) {
    const ssize_t count = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (count < 0) throw std::runtime_error("the peer has closed");
    data = data.subspan(static_cast<std::size_t>(count));
  }
}

Bytes Socket::receive(std::size_t size) {
  Bytes data(size);
  std::size_t have = 0;
  while (have < size) {
    if (!need(wait_readable(fd_.get(), kLimit)))
      throw std::runtime_error(fmt::format("{} of {} bytes came", have, size));
    const ssize_t count = ::recv(fd_.get(), data.data() + have, size - have, 0);
    if (count <= 0)
      throw std::runtime_error(fmt::format("the peer has closed after {} of {} bytes", have, size));
    have += static_cast<std::size_t>(count);
  }
  return data;
}

std::string Socket::receive_line() {
  std::string line;
  for (;;) {
    const char next = as_text(receive(1)).front();
    if (next == '\n') return line;
    line += next;
  }
}

bool Socket::at_end() {
  if (!need(wait_readable(fd_.get(), kLimit))) throw std::runtime_error("neither data nor the end came");
  char byte = 0;
  return ::recv(fd_.get(), &byte, 1, MSG_PEEK) <= 0;
}

Bytes control_request(std::uint32_t command, std::initializer_list<std::uint32_t> words) {
  ByteWriter request;
  request.be32(command);
  for (const std::uint32_t word : words) request.be32(word);
  return request.take();
}

std::vector<std::uint32_t> ControlClient::call(std::uint32_t command,
                                               std::initializer_list<std::uint32_t> words,
                                               std::size_t answer_words) {
  socket_.send(control_request(command, words));
  const Bytes answer = socket_.receive(answer_words * 4);
  std::vector<std::uint32_t> result;
  for (std::size_t i = 0; i < answer_words; ++i) result.push_back(load_be32(answer, i * 4));
  return result;
}

Socket ControlClient::open_data_channel() {
  SocketPair pair = need(make_socket_pair());
  need(send_with_fd(socket_.fd(), control_request(0x10), pair.second.get()));
  pair.second.reset();
  if (load_be32(socket_.receive(4), 0) != 0) throw std::runtime_error("SET_DATAFD was refused");
  return Socket(std::move(pair.first));
}

Bytes ControlClient::get_state(std::uint32_t type) {
  const auto head = call(0x0C, {1, type, 0}, 4);
  if (head.at(0) != 0) return {};
  if (head.at(2) != head.at(3)) throw std::runtime_error("the state did not come in one piece");
  return socket_.receive(head.at(3));
}

std::uint32_t ControlClient::set_state(std::uint32_t type, ByteSpan blob) {
  socket_.send(control_request(0x0D, {0, type, static_cast<std::uint32_t>(blob.size())}));
  socket_.send(blob);
  return load_be32(socket_.receive(4), 0);
}

Result<Bytes> SocketTransport::transceive(ByteSpan command) {
  socket_.send(command);
  Bytes response = socket_.receive(10);
  append(response, socket_.receive(load_be32(response, 2) - 10));
  return response;
}

RunningService::RunningService(std::shared_ptr<MemoryStore> store) {
  ServeOptions options;
  options.vm = vm_;
  options.tpm_listener = need(listen_unix(tpm()));
  options.nbd_listener = need(listen_unix(nbd()));
  options.management_listener = need(listen_unix(management()));
  options.signals = no_signals();
  thread_ =
      std::thread([this, state = open_memory_state(std::move(store)), moved = std::move(options)]() mutable {
        outcome_ = serve(std::move(state), std::move(moved));
      });
}

RunningService::~RunningService() {
  if (thread_.joinable()) static_cast<void>(stop());
}

Status RunningService::stop() {
  {
    Socket socket = Socket::connect(management());
    manage(socket, "shutdown");
  }
  return wait();
}

Status RunningService::wait() {
  thread_.join();
  return *outcome_;
}

json::Value manage(Socket& socket, std::string_view method, json::Object parameters) {
  json::Object request{{"id", 7}, {"method", method}};
  if (!parameters.empty()) request["params"] = std::move(parameters);
  socket.send(as_bytes(json::serialize(request) + "\n"));
  for (;;) {
    const json::Value line = need(json::parse(socket.receive_line()));
    if (line.as_object().contains("id")) return line;
  }
}

}  // namespace bootseal::guest::test
