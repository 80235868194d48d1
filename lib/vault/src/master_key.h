// FOLDER/master.json: the master key, wrapped under a key made from the passphrase.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "bootseal/crypto/scrypt.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::vault {

struct MasterFile {
  std::string vault_id;  // GUID; the store of this vault names the same
  // The store has been filled: without it, this file is the rest of a vault that was lost.
  bool ready = false;
  crypto::ScryptParameters scrypt;
  Bytes salt;
  Bytes wrapped_key;
};

// nullopt when there is no file. corrupt when it is malformed.
Result<std::optional<MasterFile>> read_master_file(const std::filesystem::path& path);
// On disk, whole or not at all, when it returns.
Status write_master_file(const std::filesystem::path& path, const MasterFile& file);

struct NewMasterKey {
  MasterFile file;
  crypto::Secret key;
};
Result<NewMasterKey> make_master_key(const crypto::Secret& passphrase,
                                     const crypto::ScryptParameters& scrypt);
// permission_denied when the passphrase does not open it.
Result<crypto::Secret> open_master_key(const MasterFile& file, const crypto::Secret& passphrase);

}  // namespace bootseal::vault
