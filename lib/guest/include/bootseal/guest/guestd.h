// bootseal-guestd as a library: serving one VM's TPM and UEFI variables, and making them for a new VM
// (docs/architecture.md, "guestd").
//
// Both functions run on the calling thread until they are done; all descriptors are inherited and owned. They
// expect SIGTERM and SIGINT to be readable from `signals` (a signalfd). libtpms keeps its state in globals:
// at most one of them runs in a process at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bootseal/guest/guest_state.h"

namespace bootseal::guest {

// The variable flash of OVMF's 4M build: 0x84000 bytes.
inline constexpr std::size_t kVariableFlashSize = 540672;

// Called once, when the guest state is found good and before the first byte from outside is read: the place
// to report readiness.
using ReadyHandler = std::function<Status(Generation)>;

struct ServeOptions {
  VmId vm;
  UniqueFd tpm_listener;         // QEMU's TPM control channel, one client at a time
  UniqueFd nbd_listener;         // the variable flash as NBD export "variables"
  UniqueFd management_listener;  // JSON lines; answers root and the user who made the socket
  UniqueFd signals;
  ReadyHandler on_ready;
};

// Serves until management `shutdown` or SIGTERM; on return the TPM is shut down and everything is committed.
// Errors: guest_state_missing when the state holds no TPM or no variables, io_error when the last commit
// failed or poll() does.
Status serve(std::unique_ptr<GuestState> state, ServeOptions options);

struct ManufactureOptions {
  VmId vm;
  std::string vm_name;
  UniqueFd variables;   // holds exactly kVariableFlashSize bytes
  UniqueFd management;  // connected; `certificates.wanted` goes out, `certificates` comes in
  UniqueFd signals;
  ReadyHandler on_ready;
};

// Makes the TPM of a new VM in the freshly formatted `state`: SHA-256 bank, EK (RSA 2048 and ECC P-256), AK
// at 0x81000003, the three certificates in NV; stores the variable flash and the description; shuts the TPM
// down. Returns the last generation. Errors: already_exists when the state holds a TPM, invalid_argument for
// the variables or the certificates, unavailable when the management peer goes away, cancelled on a signal,
// and those of GuestState::commit.
Result<Generation> manufacture(std::unique_ptr<GuestState> state, ManufactureOptions options);

}  // namespace bootseal::guest
