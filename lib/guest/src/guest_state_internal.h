// Guest state over any device: what GuestState::format and ::open do once they have locked the file.
#pragma once

#include "bootseal/guest/guest_state.h"
#include "bootseal/vmgs/device.h"

namespace bootseal::guest {

// `device` is empty (zeroes). `name` stands for the file in messages; `lock`, when given, holds the lock of
// the file for as long as the object lives.
Result<std::unique_ptr<GuestState>> format_guest_state(std::unique_ptr<vmgs::Device> device, const VmId& vm,
                                                       const crypto::Secret& key, std::string name,
                                                       std::shared_ptr<void> lock = nullptr,
                                                       Generation after = {},
                                                       Audience audience = Audience::site);
Result<std::unique_ptr<GuestState>> open_guest_state(std::unique_ptr<vmgs::Device> device, const VmId& vm,
                                                     const crypto::Secret& key, Generation minimum,
                                                     std::string name, std::shared_ptr<void> lock = nullptr,
                                                     Audience audience = Audience::site);

}  // namespace bootseal::guest
