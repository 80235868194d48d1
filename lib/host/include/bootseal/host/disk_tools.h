// Disks made with qemu-img, mkfs.vfat and mcopy.
#pragma once

#include "bootseal/base/paths.h"
#include "bootseal/host/peers.h"
#include "bootseal/host/qemu_command.h"

namespace bootseal::host {

std::unique_ptr<Disks> create_disk_tools(Paths paths, Firmware firmware);

// The documents of a cloud-init NoCloud disk: file name -> content. Pure; texts are written as JSON strings,
// which YAML reads as they stand.
std::vector<std::pair<std::string, std::string>> cloud_init_documents(const Assignment& assignment);

}  // namespace bootseal::host
