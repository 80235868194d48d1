// A vTPM program on swtpm's command line, ours or swtpm itself, as a client sees it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bootseal/guest/tpm_version.h"
#include "support.h"

namespace bootseal::swtpm::test {

using guest::test::ControlClient;
using guest::test::Socket;
using guest::test::SocketTransport;
using guest::test::TemporaryFolder;

inline const std::string kOurs = BOOTSEAL_SWTPM;
inline const std::string kOurSetup = BOOTSEAL_SWTPM_SETUP;
inline const std::string kTheirs = "swtpm";

using guest::TpmVersion;

// `socket --tpm2 --tpmstate dir=FOLDER --ctrl …` (a TPM 1.2: without --tpm2) and what `more` adds; killed at
// the end.
class VtpmProcess {
 public:
  VtpmProcess(const std::string& program, const std::filesystem::path& state_folder,
              std::vector<std::string> more = {}, TpmVersion version = TpmVersion::v2_0);
  ~VtpmProcess();
  VtpmProcess(const VtpmProcess&) = delete;
  VtpmProcess& operator=(const VtpmProcess&) = delete;

  [[nodiscard]] std::filesystem::path control() const { return folder_ / "control"; }
  [[nodiscard]] std::string output() const;
  void kill(int signal_number);
  // The exit code, once it has ended by itself (or 128 + the signal).
  int wait();

 private:
  TemporaryFolder folder_;
  ProcessIdentity process_;
  bool ended_ = false;
};

// Connected to a vTPM: control and data channel, and a client of the TPM.
class Session {
 public:
  explicit Session(const VtpmProcess& process);
  ControlClient control;
  Socket data;
  SocketTransport transport{data};
  tpm::Client client{transport};

  // A TPM 1.2 command's ordinal and parameters (hex): "CODE PARAMETERS" of the response, both hex.
  std::string tpm12(std::uint32_t ordinal, std::string_view parameters = "");
};

CommandOutput run_program(std::vector<std::string> arguments,
                          std::map<std::string, std::string> environment = {});
void write_text(const std::filesystem::path& path, std::string_view text);

inline constexpr std::uint32_t kNvIndex = guest::test::kNvIndex;
inline constexpr std::uint32_t kNvNoLockout = guest::test::kNvNoLockout;
inline constexpr std::uint32_t kCounterIndex = 0x01500011;
inline constexpr std::uint32_t kCounter = kNvNoLockout | tpm::kNvCounter;

}  // namespace bootseal::swtpm::test
