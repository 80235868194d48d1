// What the commands of `bootseal vmgs` share: the file with its lock, its key, its store.
#pragma once

#include <memory>

#include "bootseal/crypto/secret.h"
#include "bootseal/vmgs/inspection.h"
#include "vmgs_options.h"

namespace bootseal::app {

enum class Access : std::uint8_t { read, change };
// What a store without its key is good for.
enum class Locked : std::uint8_t { refuse, accept };

inline vmgs::Container container_of(const VmgsOptions& options) {
  return options.raw ? vmgs::Container::raw : vmgs::Container::fixed_vhd;
}

// Opens the file and takes a lock on it, shared for reading: a running VM has an exclusive one. Errors: as
// open_file; conflict (in use), invalid_argument (a folder, …).
Result<std::unique_ptr<vmgs::FileDevice>> open_device(const VmgsOptions& options, Access access);
// The lock alone, on an open file.
Status lock_file(int fd, Access access, const std::string& path);
// The 32 bytes of a key file. invalid_argument for another size.
Result<crypto::Secret> read_key(const std::string& path);
// The key of --key-path, when one was given.
Result<std::optional<crypto::Secret>> given_key(const VmgsOptions& options);
// The failure for a condition that is not valid.
VmgsFailure refused(const VmgsOptions& options, const vmgs::Examination& found);
// The store, unlocked with --key-path when that is given. Warns about keys that anybody can read.
VmgsResult<vmgs::Store> open_store(const VmgsOptions& options, Access access, Locked without_key);
// After a change: what became of it, for people or as JSON.
void print_done(const Global& global, const VmgsOptions& options, const vmgs::Store& store,
                const std::string& what);
void warn(const std::string& text);
// "TPM_NVRAM"; empty for an id without a name.
std::string name_of(vmgs::FileId id);

}  // namespace bootseal::app
