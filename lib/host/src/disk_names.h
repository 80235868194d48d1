// What the parts of the disk store share.
#pragma once

#include <string_view>

#include "bootseal/base/subprocess.h"
#include "bootseal/host/disk_store.h"

namespace bootseal::host {

std::string_view disk_state_name(DiskState state);  // "Ready", …

// The name by which qemu-img opens a disk: the whole chain, so that nothing in a header makes it open another
// file. Errors: corrupt (check_qcow2_header), io_error.
Result<std::string> image_name(const DiskFile& file);

// Runs qemu-img. Errors: its last lines, cancelled.
Status run_qemu_img(std::vector<std::string> arguments, std::stop_token stop = {});

// Bytes that the file takes on its file system; 0 when it is not there.
std::uint64_t allocated_bytes(const std::filesystem::path& file);

}  // namespace bootseal::host
