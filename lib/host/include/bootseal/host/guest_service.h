// guestd as hostd needs it: the process that holds one VM's key, guest state and TPM.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>

#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::host {

struct GuestServiceConfig {
  VmId vm;
  std::string name;
  uid_t uid = 0;
  std::filesystem::path guest_state;
  std::filesystem::path run_folder;
};

// All run on the loop thread and must not block.
struct GuestServiceEvents {
  std::function<void(Generation)> generation;
  std::function<void(const std::string& message)> tpm_failed;
  std::function<void()> ended;  // the process is gone; once, the last event
};

class GuestService {
 public:
  virtual ~GuestService() = default;
  [[nodiscard]] virtual ProcessIdentity process() const = 0;
  // The generation as last heard.
  [[nodiscard]] virtual Generation generation() const = 0;
  // Lets it write what is left and end; waits for the end up to `limit`, then ends it by SIGKILL (every
  // acknowledged commit is on disk). Returns the last generation it told.
  virtual Generation shut_down(std::chrono::milliseconds limit) = 0;
};

// Public keys of a new TPM, SubjectPublicKeyInfo in DER.
struct TpmPublicKeys {
  Bytes ek_rsa, ek_ecc;  // empty = there is none
  Bytes ak;
};
struct TpmCertificates {
  Bytes ek_rsa, ek_ecc;  // DER, empty = there is none
  Bytes ak;
};

class GuestServices {
 public:
  virtual ~GuestServices() = default;
  // Makes the guest state of a new VM in `config.guest_state` (made by this call; removed when it fails).
  // `certify` is called once with the TPM's public keys. Blocks up to `limit`. Returns the first generation.
  virtual Result<Generation> manufacture(
      const GuestServiceConfig& config, crypto::Secret key, Generation after, ByteSpan variables,
      const std::function<Result<TpmCertificates>(const TpmPublicKeys&)>& certify,
      std::chrono::milliseconds limit) = 0;
  // Switches Secure Boot in the sealed variables of a VM that is off; the generation then. Errors: the five
  // guest-state errors, conflict when it has no keys to check with, timeout, unavailable.
  virtual Result<Generation> set_secure_boot(const GuestServiceConfig& config, crypto::Secret key,
                                             Generation minimum, bool secure_boot) = 0;
  // Starts the service; blocks until it is ready. `started` runs as soon as there is a process. Errors: the
  // five guest-state errors as guestd tells them (guest_state_missing also when the file is not there),
  // timeout, unavailable.
  virtual Result<std::shared_ptr<GuestService>> serve(
      const GuestServiceConfig& config, crypto::Secret key, Generation minimum, GuestServiceEvents events,
      const std::function<void(const ProcessIdentity&)>& started) = 0;
  // A service that an earlier hostd started. not_found when its process has ended; unavailable when it does
  // not answer.
  virtual Result<std::shared_ptr<GuestService>> attach(const GuestServiceConfig& config,
                                                       const ProcessIdentity& process,
                                                       GuestServiceEvents events) = 0;
};

}  // namespace bootseal::host
