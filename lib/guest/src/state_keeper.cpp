#include "state_keeper.h"

#include <fmt/format.h>

#include "bootseal/log/log.h"

namespace bootseal::guest {
namespace {

std::string_view name_of(Blob blob) {
  switch (blob) {
    case Blob::tpm_permanent:
      return "the TPM's permanent state";
    case Blob::uefi_flash:
      return "the UEFI variables";
    case Blob::description:
      return "the description";
    case Blob::tpm12_permanent:
      return "the TPM 1.2's permanent state";
    case Blob::tpm12_saved_state:
      return "the TPM 1.2's saved state";
  }
  return "an unknown blob";
}

}  // namespace

Status StateKeeper::commit(Blob blob, ByteSpan content) {
  if (failure_) return tl::unexpected(*failure_);
  if (!state_) return fail(ErrorCode::unavailable, "no guest state is open");
  if (const auto committed = state_->commit(blob, content); !committed)
    return remember_failure(committed.error(), name_of(blob));
  if (const Status kept = check_ ? check_() : Status(); !kept)
    return remember_failure(kept.error(), name_of(blob));
  if (blob != Blob::uefi_flash && blob != Blob::description) ++tpm_commits_;
  if (blob == Blob::uefi_flash) ++variable_commits_;
  return {};
}

Status StateKeeper::advance() {
  if (failure_) return tl::unexpected(*failure_);
  if (!state_) return fail(ErrorCode::unavailable, "no guest state is open");
  if (const auto advanced = state_->advance(); !advanced)
    return remember_failure(advanced.error(), "the start of this run");
  return {};
}

Status StateKeeper::remember_failure(const Error& error, std::string_view what) {
  failure_ = error.wrap(fmt::format("committing {} after generation {}", what, state_->generation().value));
  log::error("guest_state.commit_failed",
             {{"generation", state_->generation().value}, {"message", failure_->describe()}});
  return tl::unexpected(*failure_);
}

}  // namespace bootseal::guest
