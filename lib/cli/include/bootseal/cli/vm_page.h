// A VM as people read it (pure).
#pragma once

#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/cli/output.h"

namespace bootseal::cli {

// Whether it was given a TPM; without one there is no evidence.
bool has_vtpm(const json::Value& vm);
// "running", "deallocated", …; empty when the host has not said anything.
std::string power_state(const json::Value& vm);
// The page of `bootseal vm show`: state, Secure Boot, TPM, guest state, verdict with its reasons, boot chain
// in words. `vm` is the resource with its instance view; everything in it may come from a guest.
std::string vm_page(const json::Value& vm, TimePoint now);
// "12 seconds ago", "3 hours ago"; the text itself when it is no time.
std::string age(std::string_view time, TimePoint now);
// The rows of `bootseal vm list`.
Table vm_table(const json::Array& vms);

}  // namespace bootseal::cli
