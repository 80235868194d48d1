// The certificates of a new TPM: by the program that the configuration names, or by a CA of this machine.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "bootseal/guest/swtpm_setup.h"
#include "setup_options.h"

namespace bootseal::swtpm {

using Say = std::function<void(std::string_view)>;

// A CA in a folder of its own: ca.pem, and ca-key.pem that only its owner reads. Made when it is first used.
class LocalCa {
 public:
  // Errors: io_error, corrupt for files that are no key and certificate.
  static Result<LocalCa> open(const std::filesystem::path& folder);
  // `vm_id` is "NAME:GUID", a GUID or a name.
  [[nodiscard]] Result<Bytes> certify(const guest::TpmCertificateRequest& request,
                                      const std::string& vm_id) const;

 private:
  LocalCa(std::string key, std::string certificate)
      : key_(std::move(key)), certificate_(std::move(certificate)) {}
  std::string key_;  // PEM
  std::string certificate_;
};

// Runs swtpm_localca or what stands for it: TOOL --type ek|platform --ek KEY --dir FOLDER … and reads
// FOLDER's ek.cert or platform.cert. Errors: not_found, unavailable (with what the tool said).
Result<Bytes> certify_with_tool(const SetupConfiguration& configuration, guest::TpmVersion version,
                                const guest::TpmCertificateRequest& request,
                                const guest::TpmDescription& description,
                                const std::optional<std::string>& vm_id,
                                const std::optional<std::string>& log_file, const Say& say);

// Where the local CA lies when the configuration does not say.
std::filesystem::path default_ca_folder();

}  // namespace bootseal::swtpm
