// The one guest state as the TPM and the variable flash share it: counts commits and remembers the first one
// that failed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "bootseal/guest/guest_state.h"

namespace bootseal::guest {

class StateKeeper {
 public:
  explicit StateKeeper(std::unique_ptr<GuestState> state) : state_(std::move(state)) {}

  // Goes on with another state (or without one, until the next call); only while the TPM is off.
  void replace(std::unique_ptr<GuestState> state) {
    state_ = std::move(state);
    failure_.reset();
  }
  // `check` is asked after each commit; what it says fails that commit, and so all that follow.
  void check_after_commit(std::function<Status()> check) { check_ = std::move(check); }
  [[nodiscard]] bool has_state() const { return state_ != nullptr; }

  [[nodiscard]] Result<std::optional<Bytes>> read(Blob blob) {
    if (!state_) return fail(ErrorCode::unavailable, "no guest state is open");
    return state_->read(blob);
  }
  // On disk when it returns. After the first failure every further commit fails with the same error: what is
  // in memory and what is on disk have parted, and nothing may be acknowledged on top of that.
  Status commit(Blob blob, ByteSpan content);

  // A commit that changes nothing but the generation.
  Status advance();

  [[nodiscard]] Generation generation() const { return state_ ? state_->generation() : Generation{}; }
  [[nodiscard]] std::uint64_t tpm_commits() const { return tpm_commits_; }
  [[nodiscard]] std::uint64_t variable_commits() const { return variable_commits_; }
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }

 private:
  Status remember_failure(const Error& error, std::string_view what);

  std::unique_ptr<GuestState> state_;
  std::uint64_t tpm_commits_ = 0;
  std::uint64_t variable_commits_ = 0;
  std::optional<Error> failure_;
  std::function<Status()> check_;
};

}  // namespace bootseal::guest
