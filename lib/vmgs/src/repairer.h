// Puts a store right on an overlay, rule by rule (repair.h has them).
#pragma once

#include "bootseal/vmgs/repair.h"
#include "device_view.h"
#include "generation.h"

namespace bootseal::vmgs {

// What is known of the state that a damaged header may lead to.
enum class Proof : std::uint8_t {
  none,     // it leads nowhere: there is nothing to keep
  proven,   // the key opens it and every seal is right
  locked,   // in order as far as can be seen; the key would tell
  unsealed  // in order as far as can be seen, and nothing seals it
};

class Repairer {
 public:
  Repairer(OverlayDevice& device, Container container, std::optional<ByteSpan> key)
      : device_(&device), container_(container), key_(key) {}

  // Errors: io_error, permission_denied (the key).
  Status run();

  std::vector<std::string> steps;
  std::vector<std::string> left_alone;

 private:
  Status mend_footer();
  // permission_denied when the key opens none of the valid headers.
  Status check_key();
  // True when a header was put right and the others are to be looked at again.
  Result<bool> mend_headers();
  // What the checksums can put right by themselves.
  Result<bool> mend_single_bytes(const std::array<Header, 2>& headers);
  Result<bool> mend_both_damaged(const std::array<Header, 2>& headers);
  Result<bool> mend_damaged(const std::array<Header, 2>& headers, unsigned damaged, std::string_view fault);
  Result<bool> mend_order(const std::array<Header, 2>& headers);
  Status mend_table();
  Status drop_lost_files(const GenerationReport& generation, const Header& header);
  Status mend_zero_key();
  // `may_be_newer`: than what the key is known to open.
  Result<Proof> prove(const Header& candidate, unsigned slot, bool may_be_newer);
  Result<GenerationReport> look(const Header& header, unsigned slot, bool use_key);
  Status put_header(unsigned slot, Header header);
  void leave(std::string text) { left_alone.push_back(std::move(text)); }
  void step(std::string text) { steps.push_back(std::move(text)); }

  OverlayDevice* device_;
  Container container_;
  std::optional<ByteSpan> key_;
  std::uint64_t body_size_ = 0;
};

}  // namespace bootseal::vmgs
