#include <fmt/format.h>
#include <fmt/ranges.h>
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cstdlib>

#include "bootseal/guest/swtpm.h"
#include "bootseal/json/json.h"

namespace bootseal::guest {

std::vector<unsigned> swtpm_rsa_key_sizes() {
  std::vector<unsigned> sizes;
  if (TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) != TPM_SUCCESS) return sizes;
  const std::unique_ptr<char, decltype(&std::free)> text(TPMLIB_GetInfo(TPMLIB_INFO_TPMFEATURES), &std::free);
  if (!text) return sizes;
  const auto document = json::parse(text.get());
  const json::Value* features =
      document && document->is_object() ? document->as_object().if_contains("TPMFeatures") : nullptr;
  const json::Value* list = features != nullptr && features->is_object()
                                ? features->as_object().if_contains("RSAKeySizes")
                                : nullptr;
  if (list == nullptr || !list->is_array()) return sizes;
  for (const json::Value& size : list->as_array())
    if (size.is_number()) sizes.push_back(size.to_number<unsigned>());
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

// In the words of swtpm, which programs search for "tpm-2.0" and the like.
std::string swtpm_capabilities(TpmVersion family, std::string_view version) {
  std::string sizes;
  if (family == TpmVersion::v2_0)
    for (const unsigned size : swtpm_rsa_key_sizes()) sizes += fmt::format(", \"rsa-keysize-{}\"", size);
  return fmt::format(
      "{{ \"type\": \"swtpm\", \"features\": [ \"tpm-1.2\", \"tpm-2.0\", \"tpm-send-command-header\", "
      "\"flags-opt-startup\", "
      "\"cmdarg-seccomp\", \"cmdarg-key-fd\", \"cmdarg-pwd-fd\", \"cmdarg-print-states\", "
      "\"nvram-backend-dir\", \"nvram-backend-file\"{} ], \"version\": \"{}\" }}",
      sizes, version);
}

std::string swtpm_states(const std::vector<SwtpmStore::NamedState>& states) {
  std::vector<std::string> texts;
  for (const SwtpmStore::NamedState& state : states)
    texts.push_back(fmt::format(" {{\"name\": \"{}\", \"size\": {}}}", state.name, state.size));
  return fmt::format("{{ \"type\": \"swtpm\", \"states\": [{}{}] }}", fmt::join(texts, ","),
                     texts.empty() ? "" : " ");
}

}  // namespace bootseal::guest
