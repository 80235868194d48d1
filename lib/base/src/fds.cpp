#include "bootseal/base/fds.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/std.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace bootseal {
namespace {

Result<sockaddr_un> unix_address(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.size() >= sizeof(address.sun_path)) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format(
            "the socket path '{}' has {} bytes, at most {} are possible; choose a shorter BOOTSEAL_RUN", text,
            text.size(), sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

// Gives the socket file at `path` its mode where the umask took some of it away. No link is followed, and
// nothing but a socket of ours is changed.
Status complete_mode(const std::filesystem::path& path, mode_t mode) {
  BOOTSEAL_TRY(const UniqueFd node, open_file(path, O_PATH | O_NOFOLLOW));
  struct stat info {};
  if (::fstat(node.get(), &info) != 0) return fail_errno(errno, fmt::format("looking at {}", path.native()));
  if (!S_ISSOCK(info.st_mode) || info.st_uid != ::geteuid()) {
    return fail(
        ErrorCode::permission_denied,
        fmt::format("{} was replaced while it was made; see who may write to its folder", path.native()));
  }
  if ((info.st_mode & 07777) == mode) return {};
  if (::chmod(fmt::format("/proc/self/fd/{}", node.get()).c_str(), mode) != 0)
    return fail_errno(errno, fmt::format("setting the mode of {}", path.native()));
  return {};
}

Result<UniqueFd> unix_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno(errno, "making a Unix socket");
  return fd;
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) return fail_errno(errno, fmt::format("opening {}", path.native()));
  return fd;
}

Result<Bytes> read_to_end(int fd, std::size_t maximum) {
  Bytes content;
  constexpr std::size_t kStep = 65536;
  while (content.size() < maximum) {
    const std::size_t have = content.size();
    const std::size_t want = std::min(kStep, maximum - have);
    content.resize(have + want);
    const ssize_t got = ::read(fd, content.data() + have, want);
    if (got < 0 && errno == EINTR) {
      content.resize(have);
      continue;
    }
    if (got < 0) return fail_errno(errno, "reading");
    content.resize(have + static_cast<std::size_t>(got));
    if (got == 0) break;
  }
  return content;
}

Result<Bytes> read_file(const std::filesystem::path& path, std::size_t maximum) {
  BOOTSEAL_TRY(const UniqueFd fd, open_file(path, O_RDONLY));
  BOOTSEAL_TRY(Bytes content, read_to_end(fd.get(), maximum + 1));
  if (content.size() > maximum)
    return fail(ErrorCode::exhausted, fmt::format("{} is larger than {} bytes", path.native(), maximum));
  return content;
}

Status read_exactly_at(int fd, MutableByteSpan data, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t got =
        ::pread(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, fmt::format("reading {} bytes at offset {}", data.size(), offset));
    if (got == 0)
      return fail(ErrorCode::corrupt,
                  fmt::format("the file ends at offset {}, {} bytes at offset {} were wanted", offset + done,
                              data.size(), offset));
    done += static_cast<std::size_t>(got);
  }
  return {};
}

Status write_all(int fd, ByteSpan data) {
  while (!data.empty()) {
    const ssize_t done = ::write(fd, data.data(), data.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno(errno, "writing");
    data = data.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

Status write_all_at(int fd, ByteSpan data, std::uint64_t offset) {
  while (!data.empty()) {
    const ssize_t done = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno(errno, fmt::format("writing at offset {}", offset));
    data = data.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

Status sync_folder(const std::filesystem::path& folder) {
  BOOTSEAL_TRY(const UniqueFd fd, open_file(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fmt::format("flushing {}", folder.native()));
  return {};
}

Status replace_file(const std::filesystem::path& path, ByteSpan content, mode_t mode) {
  std::filesystem::path folder = path.parent_path();
  if (folder.empty()) folder = ".";
  std::string temporary = (folder / ("." + path.filename().native() + ".XXXXXX")).native();
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, fmt::format("making a temporary file in {}", folder.native()));
  const auto give_up = [&](Error error) {
    ::unlink(temporary.c_str());
    return tl::unexpected<Error>(std::move(error));
  };
  if (Status written = write_all(fd.get(), content); !written)
    return give_up(written.error().wrap(path.native()));
  if (::fchmod(fd.get(), mode) != 0)
    return give_up(fail_errno(errno, fmt::format("setting the mode of {}", temporary)).value());
  if (::fsync(fd.get()) != 0)
    return give_up(fail_errno(errno, fmt::format("flushing {}", temporary)).value());
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return give_up(fail_errno(errno, fmt::format("replacing {}", path.native())).value());
  return sync_folder(folder);
}

Status make_folder(const std::filesystem::path& folder, mode_t mode) {
  std::error_code error;
  if (!folder.parent_path().empty()) std::filesystem::create_directories(folder.parent_path(), error);
  if (::mkdir(folder.c_str(), mode) != 0 && errno != EEXIST)
    return fail_errno(errno, fmt::format("making the folder {}", folder.native()));
  if (!std::filesystem::is_directory(folder, error))
    return fail(ErrorCode::already_exists, fmt::format("{} exists and is not a folder", folder.native()));
  if (::chmod(folder.c_str(), mode) != 0)
    return fail_errno(errno, fmt::format("setting the mode of {}", folder.native()));
  return {};
}

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno(errno, "making a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<SocketPair> make_socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    return fail_errno(errno, "making a socket pair");
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode, int backlog) {
  BOOTSEAL_TRY(const sockaddr_un address, unix_address(path));
  BOOTSEAL_TRY(UniqueFd fd, unix_socket());
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode))
      return fail(ErrorCode::already_exists, fmt::format("{} exists and is not a socket", path.native()));
    ::unlink(path.c_str());
  }
  // The file is made with the socket's own mode, less the umask: at no time with more than is wanted.
  if (::fchmod(fd.get(), mode) != 0)
    return fail_errno(errno, fmt::format("setting the mode of {}", path.native()));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_errno(errno, fmt::format("binding {}", path.native()));
  BOOTSEAL_TRY_STATUS(complete_mode(path, mode));
  if (::listen(fd.get(), backlog) != 0)
    return fail_errno(errno, fmt::format("listening on {}", path.native()));
  return fd;
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path) {
  BOOTSEAL_TRY(const sockaddr_un address, unix_address(path));
  BOOTSEAL_TRY(UniqueFd fd, unix_socket());
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno != EINTR) return fail_errno(errno, fmt::format("connecting to {}", path.native()));
  }
  return fd;
}

Status send_with_fd(int socket, ByteSpan data, int fd) {
  iovec part{const_cast<std::byte*>(data.data()), data.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno(errno, "sending a descriptor");
  return write_all(socket, data.subspan(static_cast<std::size_t>(sent)));
}

namespace {

// nullopt when MSG_DONTWAIT is among the flags and nothing is there.
Result<std::optional<ReceivedWithFd>> receive_message(int socket, std::size_t maximum, int flags) {
  ReceivedWithFd received;
  // not zeroed, which would cost more than the call
  const auto space = std::make_unique_for_overwrite<std::byte[]>(maximum);
  iovec part{space.get(), maximum};
  constexpr std::size_t kMostFds = 4;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFds)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (flags & MSG_DONTWAIT) != 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return std::optional<ReceivedWithFd>();
  if (got < 0) return fail_errno(errno, "receiving");
  received.data.assign(space.get(), space.get() + got);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      UniqueFd owned(fd);
      if (!received.fd.valid()) received.fd = std::move(owned);
    }
  }
  return std::optional<ReceivedWithFd>(std::move(received));
}

}  // namespace

Result<ReceivedWithFd> receive_with_fd(int socket, std::size_t maximum) {
  BOOTSEAL_TRY(auto received, receive_message(socket, maximum, 0));
  return *std::move(received);
}

Result<std::optional<ReceivedWithFd>> receive_with_fd_now(int socket, std::size_t maximum) {
  return receive_message(socket, maximum, MSG_DONTWAIT);
}

Result<PeerCredentials> peer_credentials(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return fail_errno(errno, "asking who is at the other end of a socket");
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

Result<bool> wait_readable(int fd, std::optional<std::chrono::milliseconds> limit) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = limit ? std::optional(Clock::now() + *limit) : std::nullopt;
  for (;;) {
    int wait = -1;
    if (deadline) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      wait = left > 0 ? static_cast<int>(std::min<long>(left + 1, 1 << 30)) : 0;
    }
    pollfd entry{fd, POLLIN, 0};
    const int ready = ::poll(&entry, 1, wait);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "waiting for a descriptor");
    if (deadline && Clock::now() >= *deadline) return false;
  }
}

}  // namespace bootseal
