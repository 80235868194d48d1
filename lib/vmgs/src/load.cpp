#include "load.h"

#include <fmt/format.h>

namespace bootseal::vmgs {
namespace {

constexpr std::size_t kV1SignatureOffset = 512;
constexpr std::string_view kV1Signature = "EFI PART";

ErrorCode code_of(Condition condition) {
  switch (condition) {
    case Condition::empty:
      return ErrorCode::not_found;
    case Condition::version_1:
      return ErrorCode::unsupported;
    case Condition::valid:
    case Condition::invalid_format:
    case Condition::corrupt:
      break;
  }
  return ErrorCode::corrupt;
}

tl::unexpected<LoadFailure> refuse(Condition condition, std::string reason) {
  return tl::unexpected(
      LoadFailure{condition, Error{.code = code_of(condition), .message = std::move(reason)}});
}

// A read that failed: the end of the device is damage of the store, everything else says nothing about it.
tl::unexpected<LoadFailure> refuse(const Error& error) {
  const auto condition = error.code == ErrorCode::corrupt ? std::optional(Condition::corrupt) : std::nullopt;
  return tl::unexpected(LoadFailure{condition, error});
}

// The blocks that the inactive header leads to. When its state is damaged there is nothing in it to keep but
// its table.
Result<std::vector<Extent>> inactive_extents(Device& device, const Header& header, std::uint64_t capacity) {
  if (header.file_table_block >= capacity) return std::vector<Extent>{};
  BOOTSEAL_TRY(const FileTable table, read_table(device, header.file_table_block));
  auto extents = check_table(table, header.file_table_block, capacity);
  if (!extents) return std::vector<Extent>{{header.file_table_block, 1}};
  return *std::move(extents);
}

Status check_sector_size(const Device& device, Container container) {
  const std::uint32_t size = device.sector_size();
  if (size == kSmallSectorSize || (size == kLargeSectorSize && container == Container::raw)) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("a guest state store needs sectors of 512 bytes (or of 4096 without a VHD footer), not {}",
                  size));
}

}  // namespace

Result<std::array<Header, 2>> read_headers(Device& device) {
  Bytes front(2 * std::size_t{device.sector_size()});
  BOOTSEAL_TRY_STATUS(device.read(0, front));
  return std::array<Header, 2>{from_wire<Header>(front),
                               from_wire<Header>(ByteSpan(front).subspan(device.sector_size()))};
}

tl::expected<unsigned, LoadFailure> choose_header(const std::array<Header, 2>& headers,
                                                  const std::array<std::optional<HeaderFault>, 2>& faults) {
  if (faults[0] && faults[1]) {
    return refuse(Condition::invalid_format,
                  fmt::format("neither header is valid: in header 1 {}, in header 2 {}", faults[0]->reason,
                              faults[1]->reason));
  }
  if (faults[0]) return 1U;
  if (faults[1]) return 0U;
  const std::uint32_t first = headers[0].sequence;
  const std::uint32_t second = headers[1].sequence;
  if (first == static_cast<std::uint32_t>(second + 1)) return 0U;
  if (second == static_cast<std::uint32_t>(first + 1)) return 1U;
  return refuse(Condition::corrupt,
                fmt::format("the headers have the sequence numbers {} and {}, which no commit can leave",
                            first, second));
}

Result<FileTable> read_table(Device& device, std::uint32_t block) {
  FileTable table;
  BOOTSEAL_TRY_STATUS(
      device.read(std::uint64_t{block} * kBlockSize, std::as_writable_bytes(std::span(table))));
  return table;
}

Result<std::uint64_t> planned_body_size(const Device& device, Container container) {
  BOOTSEAL_TRY_STATUS(check_sector_size(device, container));
  const std::uint64_t footer = container == Container::fixed_vhd ? kFooterSize : 0;
  const std::uint64_t size = device.size();
  if (size < kMinimumBodySize + footer || size > kMaximumDeviceSize || size % device.sector_size() != 0) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a guest state store has {} bytes to 4 GiB in whole sectors, not {}",
                            kMinimumBodySize + footer, size));
  }
  return size - footer;
}

tl::expected<Loaded, LoadFailure> load(Device& device, Container container) {
  if (const Status status = check_sector_size(device, container); !status)
    return tl::unexpected(LoadFailure{std::nullopt, status.error()});
  const std::uint64_t size = device.size();
  if (size == 0) return refuse(Condition::empty, "the device holds 0 bytes");
  const std::uint64_t least = kMinimumBodySize + (container == Container::fixed_vhd ? kFooterSize : 0);
  if (size < least || size > kMaximumDeviceSize) {
    return refuse(Condition::corrupt, fmt::format("it has {} bytes, a guest state store has {} to {}", size,
                                                  least, kMaximumDeviceSize));
  }

  Bytes front(2 * std::size_t{device.sector_size()});
  if (const Status status = device.read(0, front); !status) return refuse(status.error());
  const std::array<Header, 2> headers{from_wire<Header>(front),
                                      from_wire<Header>(ByteSpan(front).subspan(device.sector_size()))};
  const bool blank = is_zero(wire_bytes(headers[0])) && is_zero(wire_bytes(headers[1]));

  Loaded loaded{.body_size = size};
  if (container == Container::fixed_vhd) {
    Field<kFooterSize> last;
    if (const Status status = device.read(size - kFooterSize, last); !status) return refuse(status.error());
    const auto footer = from_wire<VhdFooter>(last);
    if (blank && is_zero(last)) return refuse(Condition::empty, "headers and footer are zero");
    const Result<std::uint64_t> body = body_size_of(footer, size);
    if (!body) return refuse(Condition::corrupt, body.error().message);
    loaded.body_size = *body;
  }
  if (loaded.body_size < kMinimumBodySize) {
    return refuse(Condition::corrupt,
                  fmt::format("the body has {} bytes, the least is {}", loaded.body_size, kMinimumBodySize));
  }
  if (as_text(ByteSpan(front).subspan(kV1SignatureOffset, kV1Signature.size())) == kV1Signature) {
    return refuse(Condition::version_1,
                  "it is a version 1 store (a GPT disk of an old Hyper-V host); only version 3 is read");
  }
  if (blank) return refuse(Condition::empty, "both headers are zero");

  const std::array<std::optional<HeaderFault>, 2> faults{find_fault(headers[0]), find_fault(headers[1])};
  const auto slot = choose_header(headers, faults);
  if (!slot) return tl::unexpected(slot.error());
  const std::uint64_t capacity = loaded.body_size / kBlockSize;
  loaded.slot = *slot;
  loaded.header = headers[*slot];
  loaded.other_header_valid = !faults[1 - *slot];
  const std::uint32_t table_block = loaded.header.file_table_block;
  if (table_block >= capacity) {
    return refuse(Condition::corrupt,
                  fmt::format("the file table is at block {} of {}", table_block, capacity));
  }
  const Result<FileTable> table = read_table(device, table_block);
  if (!table) return refuse(table.error());
  loaded.table = *table;
  Result<std::vector<Extent>> extents = check_table(loaded.table, table_block, capacity);
  if (!extents) return refuse(Condition::corrupt, extents.error().message);
  loaded.extents = *std::move(extents);
  if (loaded.other_header_valid) {
    Result<std::vector<Extent>> others = inactive_extents(device, headers[1 - *slot], capacity);
    if (!others) return refuse(others.error());
    loaded.other_extents = *std::move(others);
  }
  return loaded;
}

}  // namespace bootseal::vmgs
