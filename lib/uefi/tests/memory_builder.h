// Guest memory as firmware leaves it, built from the formats' specifications: an EFI system table,
// configuration tables, an image execution table and an event log at the addresses a 2022.11 OVMF used,
// scaled to a small machine.
#pragma once

#include <string>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/uefi/boot_diagnosis.h"
#include "bootseal/uefi/guids.h"
#include "bootseal/uefi/signature_list.h"

namespace bootseal::uefi {

inline constexpr std::size_t kMemorySize = std::size_t{8} << 20;
inline constexpr std::size_t kSystemTable = 0x7eb018, kConfigurationTables = 0x7e2f98,
                             kExecutionTable = 0x782198, kEventLog = 0x5a2000;

inline Bytes characters(std::string_view text) {
  ByteWriter writer;
  for (const char c : text) writer.le16(static_cast<std::uint8_t>(c));
  return writer.le16(0).take();
}

// A PCI device, a partition and a file path (UEFI 2.10 section 10.3).
inline Bytes device_path(std::string_view file) {
  ByteWriter writer;
  writer.u8(2).u8(1).le16(12).le32(0x0a0341d0).le32(0);
  writer.u8(1).u8(1).le16(6).u8(0).u8(1);
  const Bytes name = characters(file);
  writer.u8(4).u8(4).le16(static_cast<std::uint16_t>(4 + name.size())).bytes(name);
  return writer.u8(0x7f).u8(0xff).le16(4).take();
}

inline Bytes execution_entry(const ImageExecution& execution) {
  ByteWriter body;
  body.bytes(characters(execution.name)).bytes(device_path(execution.file));
  if (execution.sha256)
    body.bytes(serialize_signature_database({sha256_list(kOwnerBootseal, {*execution.sha256})}));
  ByteWriter entry;
  entry.le32(static_cast<std::uint32_t>(execution.action))
      .le32(static_cast<std::uint32_t>(8 + body.size()))
      .bytes(body.view());
  return entry.take();
}

inline void place(Bytes& memory, std::size_t address, ByteSpan content) {
  std::ranges::copy(content, memory.begin() + static_cast<std::ptrdiff_t>(address));
}

inline Bytes build_memory(const std::vector<ImageExecution>& executions, ByteSpan event_log) {
  Bytes memory(kMemorySize);
  ByteWriter system_table;
  system_table.text("IBI SYST")
      .le32(0x20046)
      .le32(0x78)
      .le32(0)
      .le32(0)
      .fill(0x50)
      .le64(2)
      .le64(kConfigurationTables);
  place(memory, kSystemTable, system_table.view());
  ByteWriter tables;
  tables.bytes(guid_literal("8868e871-e4f1-11d3-bc22-0080c73c8881").windows_layout()).le64(0x77e014);
  tables.bytes(kImageExecutionTable.windows_layout()).le64(kExecutionTable);
  place(memory, kConfigurationTables, tables.view());
  ByteWriter table;
  table.le32(static_cast<std::uint32_t>(executions.size())).le32(0);
  for (const ImageExecution& execution : executions) table.bytes(execution_entry(execution));
  place(memory, kExecutionTable, table.view());
  place(memory, kEventLog, event_log);
  // What else lies about: the mark without a table, and the head of a log without events.
  place(memory, 0x7f0000, as_bytes("IBI SYST"));
  if (!event_log.empty()) place(memory, 0x100000, event_log.first(64));
  return memory;
}

}  // namespace bootseal::uefi
