// File descriptors with an owner, whole reads and writes, files that are replaced as a whole, descriptors
// over sockets.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bootseal/base/bytes.h"

namespace bootseal {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Opens with O_CLOEXEC. Errors as fail_errno.
Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, mode_t mode = 0);

// Reads until `maximum` bytes or the end of the file.
Result<Bytes> read_to_end(int fd, std::size_t maximum);
// The whole file; exhausted when it is larger than `maximum` bytes.
Result<Bytes> read_file(const std::filesystem::path& path, std::size_t maximum);
// Exactly data.size() bytes at an offset; corrupt when the file ends before.
Status read_exactly_at(int fd, MutableByteSpan data, std::uint64_t offset);
Status write_all(int fd, ByteSpan data);
Status write_all_at(int fd, ByteSpan data, std::uint64_t offset);

// Writes a temporary file beside `path`, flushes it, renames it over `path` and flushes the folder: after
// success the new content survives a power cut, after any failure the old content is untouched.
Status replace_file(const std::filesystem::path& path, ByteSpan content, mode_t mode = 0600);
Status sync_folder(const std::filesystem::path& folder);
// Makes the folder (and its parents) with `mode` for the last one; an existing folder gets the mode too.
Status make_folder(const std::filesystem::path& folder, mode_t mode = 0700);

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Result<Pipe> make_pipe();
struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};
// A connected pair of AF_UNIX stream sockets.
Result<SocketPair> make_socket_pair();
// A listening AF_UNIX stream socket at `path` (at most 107 bytes; a stale socket file there is replaced). Its
// file has `mode` whatever the umask, and at no time a wider one.
Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode = 0600, int backlog = 16);
// Connected AF_UNIX stream socket.
Result<UniqueFd> connect_unix(const std::filesystem::path& path);
// Sends the bytes with one descriptor attached to the first of them.
Status send_with_fd(int socket, ByteSpan data, int fd);
struct ReceivedWithFd {
  Bytes data;
  UniqueFd fd;  // not valid when none came
};
// One recvmsg of at most `maximum` bytes; empty data = the peer closed.
Result<ReceivedWithFd> receive_with_fd(int socket, std::size_t maximum);
// The same without waiting: nullopt when nothing is there to be received.
Result<std::optional<ReceivedWithFd>> receive_with_fd_now(int socket, std::size_t maximum);

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
Result<PeerCredentials> peer_credentials(int socket);

// Waits until `fd` is readable (or at its end); false at the time limit. nullopt = no limit.
Result<bool> wait_readable(int fd, std::optional<std::chrono::milliseconds> limit);

}  // namespace bootseal
