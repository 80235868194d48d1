// bootseal-swtpm as a library: one TPM over swtpm's control and data channels, its state in a SwtpmStore.
//
// Unlike guestd's, the state goes in and out over the control channel whenever it is asked for: whoever may
// connect to it is trusted with the state, as with swtpm (docs/bootseal-swtpm.md).
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "bootseal/guest/swtpm_store.h"

namespace bootseal::guest {

struct SwtpmOptions {
  TpmVersion version = TpmVersion::v2_0;
  SwtpmStore* store = nullptr;                    // outlives the run; nullptr: every INIT fails
  const crypto::Secret* file_key = nullptr;       // encrypts blobs that leave without being decrypted
  const crypto::Secret* migration_key = nullptr;  // encrypts and opens blobs that migrate
  UniqueFd control_listener;
  UniqueFd control_client;
  UniqueFd data_listener;  // with it or with data_client, SET_DATAFD is refused
  UniqueFd data_client;
  bool keep_connection = true;          // else a data client is let go after each response
  bool terminate = false;               // end when the data client goes
  bool terminate_with_control = false;  // end when the control client goes
  bool reject_locality_4 = false;
  bool allow_set_locality = false;
  bool need_init = true;                                                  // else the TPM is started at once
  enum class Startup : std::uint8_t { none, clear, state, deactivated };  // deactivated: TPM 1.2
  Startup startup = Startup::none;                                        // sent at once
  UniqueFd signals;                           // a signalfd: any signal ends the run
  std::function<Status()> on_ready;           // once, before the first byte from outside is read
  std::function<void(std::string_view)> say;  // one line for the log
  // 2 and more: a line for each command; 5 and more: also what libtpms does. Never the bytes of a command.
  unsigned log_level = 1;
};

// Until SHUTDOWN, a signal, or what the options say; the TPM is shut down then. Errors: of on_ready, and of
// the first start when one is asked for.
Status run_swtpm(SwtpmOptions options);

// The JSON texts of --print-capabilities (with the RSA key sizes that this family's TPM tells of) and
// --print-states, without a line end.
std::string swtpm_capabilities(TpmVersion family, std::string_view version);
std::string swtpm_states(const std::vector<SwtpmStore::NamedState>& states);
// RSA key sizes that libtpms offers for a TPM 2.0, ascending.
std::vector<unsigned> swtpm_rsa_key_sizes();

}  // namespace bootseal::guest
