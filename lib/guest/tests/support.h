// What the tests of guestd share: a guest state in memory, the client side of the control channel, a TPM over
// a socket, and a serving guestd on a thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "bootseal/base/subprocess.h"
#include "bootseal/guest/guestd.h"
#include "bootseal/json/json.h"
#include "bootseal/tpm/client.h"

namespace bootseal::guest::test {

// What a guest state has stored; outlives the GuestState objects on it, like a file.
struct MemoryStore {
  std::map<Blob, Bytes> blobs;
  std::uint64_t generation = 1;
  unsigned commits = 0;
  std::optional<ErrorCode> commit_error;  // every commit fails with it
  std::optional<ErrorCode> read_error;
};

std::unique_ptr<GuestState> open_memory_state(std::shared_ptr<MemoryStore> store);
// With a manufactured TPM (empty owner and endorsement authorisation, no certificates) and an erased variable
// flash.
std::shared_ptr<MemoryStore> new_store();

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// A connected Unix socket with reads that end: each waits for at most ten seconds and then throws.
class Socket {
 public:
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}
  static Socket connect(const std::filesystem::path& path);  // waits until somebody listens
  void send(ByteSpan data);
  Bytes receive(std::size_t size);
  std::string receive_line();
  [[nodiscard]] bool at_end();  // waits for data or the end; true when the peer has closed
  [[nodiscard]] int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

// Requests of the control channel as QEMU sends them.
Bytes control_request(std::uint32_t command, std::initializer_list<std::uint32_t> words = {});

class ControlClient {
 public:
  explicit ControlClient(const std::filesystem::path& path) : socket_(Socket::connect(path)) {}
  // The answer's words; the first is the result.
  std::vector<std::uint32_t> call(std::uint32_t command, std::initializer_list<std::uint32_t> words,
                                  std::size_t answer_words);
  // SET_DATAFD with a new socket pair; our end of it.
  Socket open_data_channel();
  std::uint32_t init() { return call(0x02, {0}, 1).at(0); }
  // The whole answer of GET_STATEBLOB; empty for "no such state".
  Bytes get_state(std::uint32_t type);
  std::uint32_t set_state(std::uint32_t type, ByteSpan blob);
  Socket& socket() { return socket_; }

 private:
  Socket socket_;
};

// TPM commands over a data channel.
class SocketTransport final : public tpm::Transport {
 public:
  explicit SocketTransport(Socket& socket) : socket_(socket) {}
  Result<Bytes> transceive(ByteSpan command) override;

 private:
  Socket& socket_;
};

// serve() on a thread, with its sockets in a temporary folder. stop() (or the destructor) asks for the end
// over management.
class RunningService {
 public:
  explicit RunningService(std::shared_ptr<MemoryStore> store);
  ~RunningService();
  [[nodiscard]] std::filesystem::path tpm() const { return folder_ / "tpm.sock"; }
  [[nodiscard]] std::filesystem::path nbd() const { return folder_ / "nbd.sock"; }
  [[nodiscard]] std::filesystem::path management() const { return folder_ / "guestd.sock"; }
  // The outcome of serve().
  Status stop();
  Status wait();  // for the end, whatever ended it

 private:
  TemporaryFolder folder_;
  VmId vm_ = VmId::random();
  std::thread thread_;
  std::optional<Status> outcome_;
};

// One request over management and its answer; events before it are left out.
json::Value manage(Socket& socket, std::string_view method, json::Object parameters = {});

inline constexpr std::uint32_t kNvIndex = 0x01500010;
inline constexpr std::uint32_t kNvOrdinary = 0x00040004;  // AUTHREAD | AUTHWRITE, dictionary-attack protected
inline constexpr std::uint32_t kNvNoLockout = 0x02040004;  // and NO_DA

}  // namespace bootseal::guest::test
