// What the data of an event says, and whether its digest covers that data.
// TCG PC Client Platform Firmware Profile 1.05, 10.2 to 10.4.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "bootseal/base/ids.h"
#include "bootseal/tpm/event_log.h"

namespace bootseal::tpm {

// UEFI_VARIABLE_DATA of the EFI_VARIABLE events; `data` points into the log.
struct VariableContent {
  Guid vendor;
  std::string name;  // UTF-8; "db", "SecureBoot", "MokListTrusted"
  ByteSpan data;
};

// UEFI_IMAGE_LOAD_EVENT of applications and drivers. The digest is the Authenticode hash of the image;
// everything here is a claim.
struct ImageContent {
  std::uint64_t location = 0;  // in memory
  std::uint64_t length = 0;
  std::uint64_t link_time_address = 0;
  std::string device_path;  // text form (UEFI 2.10, 10.6.1.6); empty when there is none
};

// EV_IPL: what boot loaders measure.
struct IplContent {
  enum class Kind : std::uint8_t {
    grub_command,         // "grub_cmd: …": text is the command
    kernel_command_line,  // "kernel_cmdline: …": text is the path of the kernel and its arguments
    module_command_line,  // "module_cmdline: …"
    name,                 // the name of a file or a variable whose content is measured
  };
  Kind kind = Kind::name;
  std::string text;  // without prefix and NUL; bytes outside printable UTF-8 are escaped as \xNN
};

struct SeparatorContent {
  bool error = false;  // not 00000000 (nor Windows' "WBCL"): the firmware tells of an error
};

// Text of EV_EFI_ACTION, EV_ACTION, EV_S_CRTM_VERSION (UCS-2 there).
struct TextContent {
  std::string text;
};

struct GptPartition {
  Guid type;
  Guid id;
  std::uint64_t first_lba = 0;
  std::uint64_t last_lba = 0;
  std::string name;
};
struct GptContent {
  Guid disk;
  std::vector<GptPartition> partitions;  // used entries, at most 128
};

struct BlobContent {
  std::string description;  // only in the "2" form
  std::uint64_t base = 0;
  std::uint64_t length = 0;
};

struct TaggedContent {
  std::uint32_t id = 0;
  ByteSpan data;
};

// No structure that is known for this type; look at the bytes.
struct OpaqueContent {};

using EventContent = std::variant<OpaqueContent, VariableContent, ImageContent, IplContent, SeparatorContent,
                                  TextContent, GptContent, BlobContent, TaggedContent>;

// corrupt when the data does not have the structure of its type (a claim that cannot be read; the digest may
// be right all the same). Spans in the result point into the log.
Result<EventContent> read_content(const Event& event);

// What the digest of an event was found to be over.
enum class DigestCover : std::uint8_t {
  data,                    // the whole event data
  variable_data,           // VariableData alone (EFI_VARIABLE events)
  text,                    // the text after "grub_cmd: " or the like, without NUL
  data_without_last_byte,  // an old shim's way with EFI_VARIABLE_AUTHORITY
  opaque,    // something outside of the log by its type (an image, a file, memory): the data proves nothing
  mismatch,  // its type says that the digest is over the data, and it is not
  absent,    // there is no digest in this bank, or nothing is extended (EV_NO_ACTION)
};
std::string_view digest_cover_name(DigestCover cover);
// True when the data (for variable_data: VariableData; for text: the text) is as authentic as the digest.
inline bool covers_data(DigestCover cover) {
  return cover <= DigestCover::data_without_last_byte;
}

DigestCover check_digest(const Event& event, Algorithm bank);

// Text form of a binary EFI_DEVICE_PATH_PROTOCOL,
// "PciRoot(0x0)/Pci(0x3,0x0)/HD(1,GPT,…)/\EFI\debian\shimx64.efi". corrupt when a node is cut off or the end
// node is missing.
Result<std::string> device_path_text(ByteSpan path);

// UTF-16LE to UTF-8; stops at a NUL; lone surrogates and control characters become \uNNNN. corrupt for an odd
// number of bytes.
Result<std::string> text_from_utf16le(ByteSpan bytes);

}  // namespace bootseal::tpm
