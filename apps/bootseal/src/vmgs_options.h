// What `bootseal vmgs` is told, and what its commands are.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "bootseal/vmgs/store.h"
#include "options.h"

namespace bootseal::app {

// vmgstool's, which scripts rely on.
enum class VmgsExit : std::uint8_t {
  error = 1,
  not_encrypted = 2,
  empty = 3,
  no_such_file_id = 4,
  version_1 = 5,
  encrypted_by_id = 6,    // "GspById": a VM id and no key protector
  encrypted_unknown = 7,  // neither of them
};

struct VmgsFailure {
  // Whatever else goes wrong is an error.
  VmgsFailure(Error why) : error(std::move(why)) {}  // NOLINT(google-explicit-constructor)
  VmgsFailure(VmgsExit code, Error why) : exit(code), error(std::move(why)) {}

  VmgsExit exit = VmgsExit::error;
  Error error;
};
template <typename T>
using VmgsResult = tl::expected<T, VmgsFailure>;
using VmgsStatus = VmgsResult<void>;

struct VmgsOptions {
  std::string file_path;
  std::string data_path;
  std::string key_path;
  std::string new_key_path;
  std::string algorithm;
  std::uint64_t file_size = vmgs::kDefaultBodySize;
  std::uint32_t sector_size = vmgs::kSmallSectorSize;
  vmgs::FileId file_id{};
  vmgs::FileId source{};
  vmgs::FileId destination{};
  bool raw = false;  // no VHD footer
  bool force_create = false;
  bool allow_overwrite = false;
  bool raw_stdout = false;
  bool plain = false;
  bool yes = false;
  bool no_backup = false;
};

using VmgsRun = std::function<VmgsStatus(const Global&, const VmgsOptions&)>;

VmgsStatus vmgs_create(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_write(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_dump(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_dump_headers(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_dump_file_table(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_query_size(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_query_encryption(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_encrypt(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_update_key(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_move(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_delete(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_check(const Global& global, const VmgsOptions& options);
VmgsStatus vmgs_repair(const Global& global, const VmgsOptions& options);

}  // namespace bootseal::app
