// The measuring side of bench/vtpm/run: a TPM client over the transport QEMU uses (control socket, passed
// data descriptor), and the same commands in process as the limit. Prints one JSON object.
//
//   bench_vtpm_client suite SOCKET SCALE           latencies of a TPM that listens on SOCKET, in microseconds
//   bench_vtpm_client limit SCALE                  the same commands straight into libtpms, state in memory
//   bench_vtpm_client first SOCKET PROGRAM ARG…    milliseconds from spawning PROGRAM to its first answered
//   command
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bootseal/base/fds.h"
#include "bootseal/tpm/client.h"

namespace bootseal::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kCmdInit = 2, kCmdShutdown = 3, kCmdSetDataFd = 16;  // tpm_ioctl.h of swtpm
constexpr tpm::Handle kIndex = 0x01500050, kCounter = 0x01500051, kKey = 0x81000200, kRsaKey = 0x81000201;

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "bench_vtpm_client: %s\n", text.c_str());
  std::exit(1);
}

void need(const Status& status) {
  if (!status) die(status.error().message);
}

template <typename T>
T need(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

void write_all(int fd, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done <= 0) die("the vTPM has gone");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void read_all(int fd, std::byte* to, std::size_t size) {
  while (size > 0) {
    const ssize_t done = ::read(fd, to, size);
    if (done <= 0) die("the vTPM has gone");
    to += done;
    size -= static_cast<std::size_t>(done);
  }
}

std::uint32_t be32(const std::byte* from) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(from[i]);
  return value;
}

std::array<std::byte, 8> control_command(std::uint32_t command) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(command >> (24 - 8 * i) & 0xFF);
  return bytes;
}

// The two channels of one vTPM.
class Channels final : public tpm::Transport {
 public:
  explicit Channels(UniqueFd control) : control_(std::move(control)) {
    SocketPair pair = need(make_socket_pair());
    send_data_fd(pair.second.get());
    data_ = std::move(pair.first);
    command(kCmdInit, 8);
  }

  Result<Bytes> transceive(ByteSpan bytes) override {
    write_all(data_.get(), bytes);
    Bytes answer(10);
    read_all(data_.get(), answer.data(), answer.size());
    answer.resize(std::max<std::size_t>(10, be32(answer.data() + 2)));
    read_all(data_.get(), answer.data() + 10, answer.size() - 10);
    return answer;
  }

  void command(std::uint32_t number, std::size_t size) {
    const auto bytes = control_command(number);
    write_all(control_.get(), ByteSpan(bytes).first(size));
    std::array<std::byte, 4> answer{};
    read_all(control_.get(), answer.data(), answer.size());
    if (be32(answer.data()) != 0) die("control command " + std::to_string(number) + " failed");
  }

 private:
  void send_data_fd(int fd) {
    auto bytes = control_command(kCmdSetDataFd);
    iovec part{bytes.data(), 4};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> space{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space.data();
    message.msg_controllen = space.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
    if (::sendmsg(control_.get(), &message, 0) != 4) die("sending the data descriptor failed");
    std::array<std::byte, 4> answer{};
    read_all(control_.get(), answer.data(), answer.size());
    if (be32(answer.data()) != 0) die("SET_DATAFD failed");
  }

  UniqueFd control_, data_;
};

// libtpms in this process with its state in memory: what no vTPM process can be faster than.
class InProcess final : public tpm::Transport {
 public:
  InProcess() {
    libtpms_callbacks callbacks{};
    callbacks.sizeOfStruct = sizeof(callbacks);
    callbacks.tpm_nvram_init = [] { return static_cast<TPM_RESULT>(TPM_SUCCESS); };
    callbacks.tpm_nvram_loaddata = [](unsigned char** data, std::uint32_t* size, std::uint32_t,
                                      const char* name) {
      const auto found = blobs().find(name);
      if (found == blobs().end()) return static_cast<TPM_RESULT>(TPM_RETRY);
      *data = static_cast<unsigned char*>(std::malloc(found->second.size()));
      std::memcpy(*data, found->second.data(), found->second.size());
      *size = static_cast<std::uint32_t>(found->second.size());
      return static_cast<TPM_RESULT>(TPM_SUCCESS);
    };
    callbacks.tpm_nvram_storedata = [](const unsigned char* data, std::uint32_t size, std::uint32_t,
                                       const char* name) {
      const auto* bytes = reinterpret_cast<const std::byte*>(data);
      blobs()[name].assign(bytes, bytes + size);
      return static_cast<TPM_RESULT>(TPM_SUCCESS);
    };
    callbacks.tpm_nvram_deletename = [](std::uint32_t, const char* name, TPM_BOOL) {
      blobs().erase(name);
      return static_cast<TPM_RESULT>(TPM_SUCCESS);
    };
    callbacks.tpm_io_init = [] { return static_cast<TPM_RESULT>(TPM_SUCCESS); };
    callbacks.tpm_io_getlocality = [](TPM_MODIFIER_INDICATOR* locality, std::uint32_t) {
      *locality = 0;
      return static_cast<TPM_RESULT>(TPM_SUCCESS);
    };
    callbacks.tpm_io_getphysicalpresence = [](TPM_BOOL* present, std::uint32_t) {
      *present = 0;
      return static_cast<TPM_RESULT>(TPM_SUCCESS);
    };
    if (TPMLIB_RegisterCallbacks(&callbacks) != TPM_SUCCESS ||
        TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) != TPM_SUCCESS || TPMLIB_MainInit() != TPM_SUCCESS)
      die("libtpms does not start");
  }

  Result<Bytes> transceive(ByteSpan command) override {
    Bytes copy(command.begin(), command.end());
    std::uint32_t size = 0;
    if (TPMLIB_Process(&answer_, &size, &capacity_, reinterpret_cast<unsigned char*>(copy.data()),
                       static_cast<std::uint32_t>(copy.size())) != TPM_SUCCESS)
      die("TPMLIB_Process failed");
    const auto* bytes = reinterpret_cast<const std::byte*>(answer_);
    return Bytes(bytes, bytes + size);
  }

 private:
  static std::map<std::string, Bytes>& blobs() {
    static std::map<std::string, Bytes> all;
    return all;
  }
  unsigned char* answer_ = nullptr;
  std::uint32_t capacity_ = 0;
};

class Report {
 public:
  // Runs `once` `count` times and keeps the median, the 99th percentile and the mean, in microseconds.
  void measure(const char* name, int count, const std::function<void()>& once) {
    std::vector<double> times;
    for (int i = 0; i < count / 20 + 1; ++i) once();
    for (int i = 0; i < count; ++i) {
      const auto before = Clock::now();
      once();
      times.push_back(microseconds(Clock::now() - before));
    }
    double sum = 0;
    for (const double time : times) sum += time;
    std::sort(times.begin(), times.end());
    add(name, times[times.size() / 2], times[times.size() * 99 / 100],
        sum / static_cast<double>(times.size()));
  }
  void add(const char* name, double p50, double p99, double mean) {
    std::printf("%s\"%s\": {\"p50\": %.2f, \"p99\": %.2f, \"mean\": %.2f}", first_ ? "{" : ", ", name, p50,
                p99, mean);
    first_ = false;
  }
  static void end() { std::printf("}\n"); }

 private:
  bool first_ = true;
};

void suite(tpm::Transport& transport, double scale) {
  tpm::Client client(transport);
  need(client.startup());
  const auto times = [scale](int count) { return std::max(5, static_cast<int>(count * scale)); };
  constexpr std::uint32_t kAttributes =
      tpm::kNvOwnerWrite | tpm::kNvOwnerRead | tpm::kNvAuthRead | tpm::kNvNoDa;
  constexpr tpm::PcrSelection kEight{tpm::Algorithm::sha256, 0xFF};
  need(client.nv_define(tpm::kOwner, kIndex, kAttributes, 32));
  Bytes content(32, std::byte{0x5A});
  need(client.nv_write(tpm::kOwner, kIndex, content));
  const Bytes digest(32, std::byte{0xA5});
  Report report;
  report.measure("GetRandom 32", times(4000), [&] { need(client.get_random(32)); });
  report.measure("PCR_Read 8", times(4000), [&] { need(client.pcr_read(kEight)); });
  report.measure("PCR_Extend", times(4000),
                 [&] { need(client.pcr_extend(16, tpm::Algorithm::sha256, digest)); });
  report.measure("NV_ReadPublic", times(4000), [&] { need(client.nv_read_public(kIndex)); });
  report.measure("NV_Write 32", times(2000), [&] {
    content[0] = content[0] ^ std::byte{1};
    need(client.nv_write(tpm::kOwner, kIndex, content));
  });
  const auto make_key = [&](const Bytes& object, tpm::Handle place) {
    const tpm::CreatedObject key = need(client.create_primary(tpm::kOwner, object));
    need(client.evict_control(tpm::kOwner, key.handle, place));
    need(client.flush_context(key.handle));
  };
  make_key(tpm::ak_template_ecc_p256(), kKey);
  make_key(tpm::ak_template_rsa2048(), kRsaKey);
  const Bytes nonce(20, std::byte{7});
  report.measure("Quote P-256", times(200), [&] { need(client.quote(kKey, nonce, kEight)); });
  report.measure("Quote RSA-2048", times(60), [&] { need(client.quote(kRsaKey, nonce, kEight)); });
  report.measure("CreatePrimary P-256", times(60), [&] {
    need(client.flush_context(need(client.create_primary(tpm::kOwner, tpm::srk_template_ecc_p256())).handle));
  });
  Report::end();
}

UniqueFd connect_when_there(const std::string& path) {
  for (const auto end = Clock::now() + std::chrono::seconds(10); Clock::now() < end;) {
    if (Result<UniqueFd> fd = connect_unix(path)) return std::move(*fd);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  die("nothing listens on " + path);
}

void first_command(const std::string& path, char** command) {
  ::unlink(path.c_str());
  const auto start = Clock::now();
  pid_t pid = 0;
  if (::posix_spawnp(&pid, command[0], nullptr, nullptr, command, environ) != 0)
    die(std::string(command[0]) + " cannot be run");
  UniqueFd control = connect_when_there(path);
  const auto accepted = Clock::now();
  Channels channels(std::move(control));
  tpm::Client client(channels);
  need(client.startup());
  need(client.get_random(8));
  const auto answered = Clock::now();
  channels.command(kCmdShutdown, 4);
  int status = 0;
  ::kill(pid, SIGTERM);
  ::waitpid(pid, &status, 0);
  std::printf("{\"accept\": %.3f, \"first\": %.3f}\n", microseconds(accepted - start) / 1000,
              microseconds(answered - start) / 1000);
}

int run(int count, char** words) {
  const std::string mode = count > 1 ? words[1] : "";
  if (mode == "suite" && count == 4) {
    Channels channels(connect_when_there(words[2]));
    suite(channels, std::strtod(words[3], nullptr));
    return 0;
  }
  if (mode == "limit" && count == 3) {
    InProcess library;
    suite(library, std::strtod(words[2], nullptr));
    return 0;
  }
  if (mode == "first" && count >= 4) {
    first_command(words[2], words + 3);
    return 0;
  }
  std::fprintf(stderr,
               "usage: bench_vtpm_client suite SOCKET SCALE | limit SCALE | first SOCKET PROGRAM ARG...\n");
  return 2;
}

}  // namespace
}  // namespace bootseal::bench

int main(int count, char** words) {
  return bootseal::bench::run(count, words);
}
