// Making a VM: folders, key, guest state, disks. Each step may be repeated, so that a creation that was cut
// off is gone on with.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>

#include "bootseal/base/fds.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"
#include "bootseal/uefi/templates.h"

namespace bootseal::host {
namespace {

TpmIdentity identity_of(const TpmPublicKeys& keys, const TpmCertificates& certificates) {
  TpmIdentity identity;
  const Bytes& certificate = certificates.ek_rsa.empty() ? certificates.ek_ecc : certificates.ek_rsa;
  if (const Result<crypto::Certificate> ek = crypto::Certificate::from_der(certificate)) {
    identity.ek_issuer = ek->issuer();
    identity.ek_subject = ek->subject();
  }
  identity.ek_public_sha256 = crypto::sha256(keys.ek_rsa.empty() ? keys.ek_ecc : keys.ek_rsa).to_hex();
  identity.ak_public_sha256 = crypto::sha256(keys.ak).to_hex();
  return identity;
}

std::uint64_t size_of(const std::filesystem::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

}  // namespace

// True when the VM is complete. Otherwise either a retry is scheduled or the creation has failed.
bool Vm::provision() {
  if (!patience_until_) patience_until_ = std::chrono::steady_clock::now() + environment_.options.patience;
  vault_away_ = false;
  const std::optional<PowerRequest> request = record().request;
  const Status made = make_everything();
  if (made) {
    retry_ = {};
    patience_until_.reset();
    update([](Record& record) {
      record.provisioning = ProvisioningState::succeeded;
      record.provisioning_error.reset();
    });
    log::info("vm.created", {{"vm", record().assignment.vm.to_string()}});
    return true;
  }
  if (vault_away_ && std::chrono::steady_clock::now() < *patience_until_) {
    log::warning("vm.creation_waits",
                 {{"vm", record().assignment.vm.to_string()}, {"reason", made.error().describe()}});
    retry_timer_ = post_after(next_retry(), &Vm::reconcile);
    return false;
  }
  log::error("vm.creation_failed",
             {{"vm", record().assignment.vm.to_string()}, {"reason", made.error().describe()}});
  update([&](Record& record) {
    record.provisioning = ProvisioningState::failed;
    record.provisioning_error = made.error();
  });
  if (request) finish_request(request->id, &made.error());
  return false;
}

Status Vm::make_everything() {
  const Record now = record();
  BOOTSEAL_TRY_STATUS(environment_.disks.make_folders(now.assignment, now.slot));
  if (now.assignment.trusted()) {
    // A complete file only: it gets this name when it is finished.
    if (!std::filesystem::exists(paths_.guest_state()))
      BOOTSEAL_TRY_STATUS(make_guest_state(now, Generation{}));
  } else {
    BOOTSEAL_TRY_STATUS(environment_.disks.make_standard_variables(now.assignment, now.slot));
  }
  if (!now.assignment.os_disk) BOOTSEAL_TRY_STATUS(environment_.disks.make_overlay(now.assignment, now.slot));
  return environment_.disks.make_seed(now.assignment, now.slot);
}

// The key of a VM that has no guest state yet.
Result<crypto::Secret> Vm::key_for_manufacture(const Record& record) {
  const Assignment& assignment = record.assignment;
  const Status created = from_vault(environment_.vault.create_key(assignment.vm, assignment.epoch));
  if (!created && created.error().code == ErrorCode::already_exists) {
    // Left by a creation that was cut off, or by a VM that had a guest state once: nothing is guessed then.
    BOOTSEAL_TRY(const Generation known, from_vault(environment_.vault.known_generation(assignment.vm)));
    if (known.value != 0) {
      return fail(ErrorCode::guest_state_missing,
                  fmt::format("the vault knows generation {} of this virtual machine's guest state, but {} "
                              "is missing; put the file back, or make a new TPM on explicit request with: "
                              "bootseal vm reset-guest-state {}",
                              known.value, paths_.guest_state().native(), assignment.name));
    }
  } else if (!created) {
    return tl::unexpected(created.error());
  }
  BOOTSEAL_TRY(ReleasedKey released, from_vault(environment_.vault.release(assignment.vm, assignment.epoch)));
  return std::move(released.key);
}

// Makes the guest state under a temporary name and gives it its own when it is complete. `after` != 0: a
// replacement, whose generations go on where the vault's count is.
Status Vm::make_guest_state(const Record& now, Generation after) {
  const Assignment& assignment = now.assignment;
  if (::unlink(paths_.new_guest_state().c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, fmt::format("removing {}", paths_.new_guest_state().native()));
  crypto::Secret key;
  if (after.value == 0) {
    BOOTSEAL_TRY(key, key_for_manufacture(now));
  } else {
    BOOTSEAL_TRY(ReleasedKey released,
                 from_vault(environment_.vault.release(assignment.vm, assignment.epoch)));
    key = std::move(released.key);
  }
  BOOTSEAL_TRY(const Bytes ca, from_vault(environment_.vault.ca_certificate_der()));
  BOOTSEAL_TRY(const uefi::SignatureTemplate signature_template,
               uefi::parse_signature_template(assignment.signature_template));
  BOOTSEAL_TRY(const Bytes variables,
               uefi::build_variable_flash(signature_template, assignment.secure_boot, ca));
  GuestServiceConfig config = guest_config(now);
  config.guest_state = paths_.new_guest_state();
  TpmIdentity identity;
  const auto certify = [&](const TpmPublicKeys& keys) -> Result<TpmCertificates> {
    BOOTSEAL_TRY(TpmCertificates certificates, from_vault(environment_.vault.certify_tpm(
                                                   assignment.vm, assignment.epoch, assignment.name, keys)));
    identity = identity_of(keys, certificates);
    return certificates;
  };
  BOOTSEAL_TRY(const Generation generation,
               environment_.guests.manufacture(config, std::move(key), after, variables, certify,
                                               environment_.options.manufacture_limit));
  const Status named = name_guest_state();
  if (!named) {
    ::unlink(paths_.new_guest_state().c_str());
    return named;
  }
  BOOTSEAL_TRY_STATUS(sync_folder(paths_.private_folder));
  update([&](Record& record) {
    record.generation = generation;
    record.guest_state_bytes = size_of(paths_.guest_state());
    record.tpm = identity;
    record.sealed_secure_boot = assignment.secure_boot;
  });
  note_generation(generation);
  return {};
}

// Gives the complete new guest state its name in one step. The one before gets a second name first, which
// no other file has, so that at no time there is none.
Status Vm::name_guest_state() {
  std::filesystem::path kept;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(environment_.clock.now());
  const std::string base =
      fmt::format("{}.replaced-{:%Y%m%dT%H%M%SZ}", paths_.guest_state().native(), fmt::gmtime(seconds));
  for (unsigned number = 1; kept.empty(); ++number) {
    const std::string name = number == 1 ? base : fmt::format("{}-{}", base, number);
    if (::link(paths_.guest_state().c_str(), name.c_str()) == 0) {
      kept = name;
    } else if (errno == ENOENT) {
      break;  // the VM's first
    } else if (errno != EEXIST) {
      return fail_errno(errno, fmt::format("keeping the old guest state as {}", name));
    }
  }
  if (::rename(paths_.new_guest_state().c_str(), paths_.guest_state().c_str()) != 0) {
    const int problem = errno;
    if (!kept.empty()) ::unlink(kept.c_str());
    return fail_errno(problem, "giving the new guest state its name");
  }
  return {};
}

void Vm::reset_guest_state(std::function<void(Status)> done) {
  strand_->post([self = shared_from_this(), done = std::move(done)]() { self->reset_guest_state_now(done); });
}

void Vm::reset_guest_state_now(const std::function<void(Status)>& done) {
  const Record now = record();
  const Status reset = [&]() -> Status {
    if (!now.assignment.trusted())
      return fail(ErrorCode::conflict, fmt::format("{} is a Standard virtual machine: it has no guest state",
                                                   now.assignment.name));
    if (now.deleting)
      return fail(ErrorCode::conflict, fmt::format("{} is being deleted", now.assignment.name));
    if (now.power != PowerState::stopped)
      return fail(ErrorCode::conflict, fmt::format("{} must be stopped first: bootseal vm stop {}",
                                                   now.assignment.name, now.assignment.name));
    // The vault's count goes on: a copy of the old file stays recognised as old.
    BOOTSEAL_TRY(const Generation known, environment_.vault.known_generation(now.assignment.vm));
    return make_guest_state(now, known);
  }();
  if (reset) log::warning("vm.guest_state_reset", {{"vm", now.assignment.vm.to_string()}});
  done(reset);
}

}  // namespace bootseal::host
