// bootseal-guestd as a process, started as hostd starts it.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "bootseal/crypto/secret.h"
#include "bootseal/crypto/x509.h"
#include "support.h"

namespace bootseal::guest::test {

// What one VM has on this machine.
struct Vm {
  VmId id = VmId::random();
  crypto::Secret key = crypto::Secret::random(32);
  std::uint64_t minimum_generation = 1;
  TemporaryFolder folder;

  [[nodiscard]] std::filesystem::path state() const { return folder / "guest-state.vmgs"; }
  [[nodiscard]] std::filesystem::path tpm() const { return folder / "tpm.sock"; }
  [[nodiscard]] std::filesystem::path nbd() const { return folder / "nbd.sock"; }
  [[nodiscard]] std::filesystem::path management() const { return folder / "guestd.sock"; }
};

// A guestd that runs. `ready` holds the line on the ready descriptor once that was read.
class Guestd {
 public:
  ~Guestd();
  Guestd(Guestd&&) noexcept;
  Guestd& operator=(Guestd&&) = delete;
  Guestd(const Guestd&) = delete;

  // bootseal-guestd serve, up to its line on the ready descriptor.
  static Guestd serve(const Vm& vm);
  // bootseal-guestd manufacture for the empty file of `vm`; the test speaks on `management`.
  static Guestd manufacture(const Vm& vm, ByteSpan variables, std::uint64_t after_generation = 0);

  [[nodiscard]] bool ready() const;
  // The code of the refusal; empty when it is ready.
  [[nodiscard]] std::string refusal() const;
  [[nodiscard]] const json::Value& first_line() const { return first_line_; }
  [[nodiscard]] const ProcessIdentity& process() const { return process_; }
  [[nodiscard]] std::string log() const;
  void signal(int number) const;
  // The exit code, or 128 + signal number.
  int wait();

  std::optional<Socket> management;  // manufacture only

 private:
  Guestd() = default;
  static Guestd start(const Vm& vm, std::vector<std::string> arguments, std::map<int, int> fds);

  std::filesystem::path log_;
  ProcessIdentity process_;
  json::Value first_line_;
};

inline Bytes erased_flash() {
  return Bytes(kVariableFlashSize, std::byte{0xFF});
}

// A site CA that certifies what a manufacturing guestd asks for.
class SiteCa {
 public:
  SiteCa();
  // The line `certificates` for the event certificates.wanted.
  [[nodiscard]] std::string certify(const json::Value& wanted, const Vm& vm) const;
  [[nodiscard]] const crypto::Certificate& certificate() const { return certificate_; }

 private:
  crypto::PrivateKey key_;
  crypto::Certificate certificate_;
};

// Makes the guest state of `vm` and returns the last generation; throws when that fails.
std::uint64_t make_guest_state(const Vm& vm, const SiteCa& ca, ByteSpan variables);

}  // namespace bootseal::guest::test
