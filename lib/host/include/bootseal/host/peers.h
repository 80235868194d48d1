// The other daemons and tools as hostd needs them. Calls block, each with a time limit.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "bootseal/host/assignment.h"
#include "bootseal/host/guest_service.h"

namespace bootseal::host {

struct ReleasedKey {
  crypto::Secret key;
  Generation minimum;
};

// vaultd. Errors: unavailable and timeout when it does not answer (try again), permission_denied when this
// host does not own the epoch.
class Vault {
 public:
  virtual ~Vault() = default;
  // The site CA's certificate.
  virtual Result<Bytes> ca_certificate_der() = 0;
  virtual Status create_key(const VmId& vm, Epoch epoch) = 0;       // already_exists
  virtual Result<Generation> known_generation(const VmId& vm) = 0;  // not_found
  virtual Result<ReleasedKey> release(const VmId& vm, Epoch epoch) = 0;
  virtual Status tell_generation(const VmId& vm, Epoch epoch, Generation generation) = 0;
  // permission_denied when this host does not own the epoch.
  virtual Status delete_key(const VmId& vm, Epoch epoch) = 0;
  virtual Result<TpmCertificates> certify_tpm(const VmId& vm, Epoch epoch, std::string_view vm_name,
                                              const TpmPublicKeys& keys) = 0;
};

struct Challenge {
  std::string id;
  json::Value parameters;  // of the agent's method `attest`: {nonce, pcrs, bank}
};

// attestd.
class Attestor {
 public:
  virtual ~Attestor() = default;
  virtual Result<Challenge> challenge(const VmId& vm) = 0;
  // The verdict (docs/architecture.md) on evidence that the guest sent.
  virtual Result<json::Value> judge(const VmId& vm, const std::string& challenge_id,
                                    const json::Value& evidence) = 0;
};

// Disks and folders of VMs.
class Disks {
 public:
  virtual ~Disks() = default;
  // The folders of a VM with their owners and modes; existing ones are brought to that.
  virtual Status make_folders(const Assignment& assignment, unsigned slot) = 0;
  // The run folder alone (it may lie on a tmpfs).
  virtual Status make_run_folder(const VmId& vm, unsigned slot) = 0;
  // A qcow2 overlay on the image, complete or not there at all. Success when it is there already.
  virtual Status make_overlay(const Assignment& assignment, unsigned slot) = 0;
  // The cloud-init disk (NoCloud). Replaces one that is there.
  virtual Status make_seed(const Assignment& assignment, unsigned slot) = 0;
  // The variables file of a Standard VM. Success when it is there already.
  virtual Status make_standard_variables(const Assignment& assignment, unsigned slot) = 0;
  // Everything of the VM. Success when nothing is there.
  virtual Status remove(const VmId& vm) = 0;
};

}  // namespace bootseal::host
