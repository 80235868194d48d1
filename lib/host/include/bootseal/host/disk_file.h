// A disk as QEMU opens it.
#pragma once

#include <filesystem>

namespace bootseal::host {

struct DiskFile {
  std::filesystem::path path;
  bool raw = false;             // otherwise qcow2
  std::filesystem::path image;  // the qcow2 layer below it; empty = none
};

}  // namespace bootseal::host
