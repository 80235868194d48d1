// hostd, vaultd and attestd as the control plane sees them: their sockets and their answers, without VMs
// behind them. Each keeps what it was told while its server is stopped, as the real ones do over a restart.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bootseal/net/server.h"

namespace bootseal::api::testing {

class FakeDaemon {
 public:
  explicit FakeDaemon(std::filesystem::path socket) : socket_(std::move(socket)) {}
  virtual ~FakeDaemon() { stop(); }
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  void start();
  void stop();

 protected:
  virtual net::Router router() = 0;
  mutable std::mutex mutex_;
  std::condition_variable changed_;

 private:
  std::filesystem::path socket_;
  std::unique_ptr<net::Server> server_;
};

class FakeHost final : public FakeDaemon {
 public:
  using FakeDaemon::FakeDaemon;

  // -- how it behaves --
  void fail_creation(std::string code, std::string message);
  void fail_power(std::string code, std::string message);
  void behave();
  // While held, what is asked is taken up and not carried out.
  void hold(bool held);
  // While held, a guest's agent says nothing.
  void hold_evidence(bool held);
  // The verdict that the host has of a VM.
  void judge(const std::string& vm_id, const std::string& status, const std::string& evidence_time);
  void set_boot(const std::string& vm_id, const std::string& outcome, const std::string& message);
  void power_off_by_guest(const std::string& vm_id);
  // As if the folder of the VM had been lost.
  void lose(const std::string& vm_id);

  // -- what it was asked --
  [[nodiscard]] std::optional<json::Object> assignment(const std::string& vm_id) const;
  [[nodiscard]] std::vector<std::string> vms() const;
  [[nodiscard]] std::size_t assignments() const;  // PUTs in all
  [[nodiscard]] std::vector<std::string> carried_out(
      const std::string& vm_id) const;  // power actions, in order
  [[nodiscard]] std::size_t evidence_requests() const;
  // Waits until it has been asked for this many assignments.
  [[nodiscard]] bool wait_for_assignments(std::size_t count) const;

 private:
  struct Vm {
    json::Object assignment;
    std::string provisioning = "Creating";
    json::Value provisioning_error;
    std::string power = "Stopped";
    std::string request_id;
    std::string request_state;
    json::Value request_error;
    std::string boot = "";
    std::string boot_message;
    std::vector<std::string> carried_out;
    json::Value attestation;
    std::uint64_t revision = 0;
  };

  net::Router router() override;
  void carry_out(Vm& vm);
  void touch(Vm& vm);
  [[nodiscard]] json::Object status(const std::string& id, const Vm& vm) const;
  net::Response put(const net::Request& request);
  net::Response events(const net::Request& request);

  std::map<std::string, Vm> vms_;
  std::vector<std::pair<std::uint64_t, std::string>> gone_;
  std::uint64_t revision_ = 0;
  std::size_t assignments_ = 0;
  std::size_t evidence_requests_ = 0;
  bool held_ = false;
  bool evidence_held_ = false;
  std::optional<std::pair<std::string, std::string>> creation_failure_;
  std::optional<std::pair<std::string, std::string>> power_failure_;
};

class FakeVault final : public FakeDaemon {
 public:
  using FakeDaemon::FakeDaemon;
  void refuse(bool refuse);
  [[nodiscard]] std::map<std::string, json::Object> placements() const;
  [[nodiscard]] std::set<std::string> deleted_keys() const;

 private:
  net::Router router() override;
  std::map<std::string, json::Object> placements_;
  std::set<std::string> deleted_;
  bool refuse_ = false;
};

class FakeAttest final : public FakeDaemon {
 public:
  using FakeDaemon::FakeDaemon;
  [[nodiscard]] std::map<std::string, json::Object> expectations() const;
  // While silent, it takes calls up and does not answer, as a process that was stopped.
  void silence(bool silent);
  [[nodiscard]] std::size_t unanswered() const;

 private:
  net::Router router() override;
  bool silent_ = false;
  std::size_t unanswered_ = 0;
  std::map<std::string, json::Object> expectations_;
};

// An image folder with the image NAME:1.0.0 in it.
void make_image(const std::filesystem::path& images, const std::string& name,
                const std::string& security_type = "TrustedLaunchSupported",
                std::uint64_t minimum_memory_mib = 512);

}  // namespace bootseal::api::testing
