#include "guestd_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <csignal>
#include <stdexcept>

namespace bootseal::guest::test {
namespace {

constexpr int kStateFd = 10, kKeyFd = 11, kTpmFd = 12, kNbdFd = 13, kManagementFd = 14, kReadyFd = 15,
              kVariablesFd = 16;

template <typename T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().describe());
  return *std::move(result);
}

std::string option_value(int fd) {
  return std::to_string(fd);
}

}  // namespace

Guestd Guestd::start(const Vm& vm, std::vector<std::string> arguments, std::map<int, int> fds) {
  Guestd guestd;
  guestd.log_ = vm.folder / "guestd.log";
  const UniqueFd state = need(open_file(vm.state(), O_RDWR | O_CREAT, 0600));
  const UniqueFd log = need(open_file(guestd.log_, O_WRONLY | O_CREAT | O_APPEND, 0600));
  Pipe key = need(make_pipe());
  Pipe ready = need(make_pipe());
  if (!write_all(key.write_end.get(), vm.key.view())) throw std::runtime_error("the key cannot be sent");
  key.write_end.reset();
  arguments.insert(arguments.begin(), BOOTSEAL_GUESTD);
  const std::pair<const char*, int> common[] = {{"--state-fd", kStateFd},
                                                {"--key-fd", kKeyFd},
                                                {"--management-fd", kManagementFd},
                                                {"--ready-fd", kReadyFd}};
  for (const auto& [name, fd] : common) {
    arguments.emplace_back(name);
    arguments.push_back(option_value(fd));
  }
  fds[2] = log.get();
  fds[kStateFd] = state.get();
  fds[kKeyFd] = key.read_end.get();
  fds[kReadyFd] = ready.write_end.get();
  Command command;
  command.arguments = std::move(arguments);
  command.environment = std::map<std::string, std::string>{};
  command.fds = std::move(fds);
  guestd.process_ = need(spawn(command));
  ready.write_end.reset();
  const Bytes line = need(read_to_end(ready.read_end.get(), 65536));
  if (line.empty()) throw std::runtime_error("guestd said nothing: " + guestd.log());
  guestd.first_line_ = need(json::parse(as_text(line)));
  return guestd;
}

Guestd Guestd::serve(const Vm& vm) {
  const UniqueFd tpm = need(listen_unix(vm.tpm()));
  const UniqueFd nbd = need(listen_unix(vm.nbd()));
  const UniqueFd management = need(listen_unix(vm.management()));
  return start(
      vm,
      {"serve", "--vm-id", vm.id.to_string(), "--minimum-generation", std::to_string(vm.minimum_generation),
       "--tpm-fd", option_value(kTpmFd), "--nbd-fd", option_value(kNbdFd)},
      {{kTpmFd, tpm.get()}, {kNbdFd, nbd.get()}, {kManagementFd, management.get()}});
}

Guestd Guestd::manufacture(const Vm& vm, ByteSpan variables, std::uint64_t after_generation) {
  SocketPair management = need(make_socket_pair());
  const UniqueFd flash(::memfd_create("variables", MFD_CLOEXEC));
  if (!write_all(flash.get(), variables)) throw std::runtime_error("the variables cannot be handed over");
  Guestd guestd =
      start(vm,
            {"manufacture", "--vm-id", vm.id.to_string(), "--vm-name", "test-vm", "--variables-fd",
             option_value(kVariablesFd), "--after-generation", std::to_string(after_generation)},
            {{kVariablesFd, flash.get()}, {kManagementFd, management.second.get()}});
  guestd.management.emplace(std::move(management.first));
  return guestd;
}

Guestd::Guestd(Guestd&& other) noexcept
    : management(std::move(other.management)),
      log_(std::move(other.log_)),
      process_(std::exchange(other.process_, {})),
      first_line_(std::move(other.first_line_)) {}

Guestd::~Guestd() {
  if (process_.pid == 0) return;
  ::kill(process_.pid, SIGKILL);
  ::waitpid(process_.pid, nullptr, 0);
}

bool Guestd::ready() const {
  return first_line_.at("event").as_string() == "ready";
}

std::string Guestd::refusal() const {
  return ready() ? "" : std::string(first_line_.at("error").at("code").as_string());
}

std::string Guestd::log() const {
  return std::string(as_text(need(read_file(log_, 1 << 20))));
}

void Guestd::signal(int number) const {
  ::kill(process_.pid, number);
}

int Guestd::wait() {
  const auto watched = open_process(process_);  // not_found: it has ended already
  if (watched && !need(wait_readable(watched->get(), std::chrono::seconds(10))))
    throw std::runtime_error("guestd does not end");
  int status = 0;
  ::waitpid(std::exchange(process_, {}).pid, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

SiteCa::SiteCa()
    : key_(need(crypto::PrivateKey::generate(crypto::KeyKind::ec_p256))),
      certificate_(need(crypto::make_self_signed(
          key_, crypto::site_ca_content("Test site CA", Clock::system().now(), std::chrono::days(10))))) {}

std::string SiteCa::certify(const json::Value& wanted, const Vm& vm) const {
  const TimePoint now = Clock::system().now();
  constexpr std::chrono::days kValidity(5);
  const auto certificate = [&](std::string_view name, const crypto::CertificateContent& content) {
    const Bytes key = need(from_base64(wanted.at(name).as_string()));
    return to_base64(
        need(crypto::issue_certificate(key_, certificate_, need(crypto::PublicKey::from_der(key)), content))
            .der());
  };
  const std::string id = vm.id.to_string();
  const auto ek = [&](crypto::KeyKind kind) {
    return crypto::tpm_ek_content(id, "test-vm", kind, now, kValidity);
  };
  return json::serialize({{"id", 1},
                          {"method", "certificates"},
                          {"params",
                           {{"ekRsaCertificate", certificate("ekRsa", ek(crypto::KeyKind::rsa))},
                            {"ekEccCertificate", certificate("ekEcc", ek(crypto::KeyKind::ec_p256))},
                            {"akCertificate",
                             certificate("ak", crypto::tpm_ak_content(id, "test-vm", now, kValidity))}}}}) +
         "\n";
}

std::uint64_t make_guest_state(const Vm& vm, const SiteCa& ca, ByteSpan variables) {
  Guestd guestd = Guestd::manufacture(vm, variables);
  if (!guestd.ready()) throw std::runtime_error(guestd.log());
  const json::Value wanted = need(json::parse(guestd.management->receive_line()));
  guestd.management->send(as_bytes(ca.certify(wanted, vm)));
  const json::Value event = need(json::parse(guestd.management->receive_line()));
  const json::Value answer = need(json::parse(guestd.management->receive_line()));
  if (event.at("generation") != answer.at("result").at("generation"))
    throw std::runtime_error("the event and the answer name different generations");
  if (guestd.wait() != 0) throw std::runtime_error(guestd.log());
  return answer.at("result").at("generation").to_number<std::uint64_t>();
}

}  // namespace bootseal::guest::test
