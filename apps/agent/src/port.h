// The virtio-serial port on which the host speaks with the agent.
#pragma once

#include <filesystem>
#include <optional>

#include "bootseal/base/fds.h"

namespace bootseal::agent {

inline constexpr std::string_view kPortName = "org.bootseal.agent.0";

// The device of the port named `name` under /sys/class/virtio-ports (`class_folder`); nullopt when there is
// none now.
std::optional<std::filesystem::path> find_port(const std::filesystem::path& class_folder,
                                               std::string_view name);

// Waits for the port to come up (the kernel tells of new devices and of their names) and gives its device.
// Errors as fail_errno.
Result<std::filesystem::path> wait_for_port(const std::filesystem::path& class_folder, std::string_view name);

// Opens a port's device, or connects to a Unix socket. A device opens for one process at a time (conflict
// otherwise).
Result<UniqueFd> open_port(const std::filesystem::path& path);

}  // namespace bootseal::agent
