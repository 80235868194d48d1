// The judges of single PCRs. Each is called only when the log's replay of its PCR equals the quoted value:
// the digests are proven, the types and the data are not.
#pragma once

#include "bootseal/attest/expectation.h"
#include "bootseal/attest/verdict.h"
#include "bootseal/tpm/event_log.h"
#include "reasons.h"

namespace bootseal::attest {

// Common names of the certificates that let programs run, as far as PCR 7 tells.
struct Authorities {
  std::string firmware;  // the db entry that verified the first program
  std::string shim;      // the certificate by which shim verified the next ones
};

struct Measurements {
  const tpm::EventLog& log;
  tpm::Algorithm bank;
  const Expectation& expectation;
};

// Exactly one good separator in each of PCR 0 to 7.
void judge_separators(const Measurements& measurements, Findings& findings);
// PCR 7: state and keys of Secure Boot. Fills in verdict.secure_boot.
Authorities judge_secure_boot(const Measurements& measurements, Findings& findings, Verdict& verdict);
// PCR 14: what shim trusts beside the firmware's keys.
void judge_shim_state(const Measurements& measurements, Findings& findings);
// PCR 4: every program that ran is in the baseline. Fills in verdict.boot_chain.
void judge_boot_chain(const Measurements& measurements, const Authorities& authorities, Findings& findings,
                      Verdict& verdict);
// PCR 5: the firmware handed over to a kernel. shim measures a kernel before it verifies it, so PCR 4 also
// names one that was refused.
void judge_hand_over(const Measurements& measurements, Findings& findings);
// PCR 8: what grub did. Fills in verdict.kernel_command_line.
void judge_command_line(const Measurements& measurements, Findings& findings, Verdict& verdict);
// PCR 9 and 8 against what the image's manifest says grub measures: grub.cfg, initrd, the commands and the
// kernel's command line. A difference is a failure for an immutable image and a note for any other. Call the
// first when PCR 9 is proven, the second when PCR 8 is; nothing is said without a record. They add stages to
// verdict.boot_chain.
void judge_boot_files(const Measurements& measurements, Findings& findings, Verdict& verdict);
void judge_boot_commands(const Measurements& measurements, Findings& findings, Verdict& verdict);
// PCR 0 and 2: the version the firmware tells, and code of devices. Fills in verdict.firmware_version.
void read_firmware(const Measurements& measurements, Findings& findings, Verdict& verdict);

}  // namespace bootseal::attest
