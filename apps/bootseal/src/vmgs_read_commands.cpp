// `bootseal vmgs`: what tells of a store and changes nothing.
#include <fmt/format.h>

#include "bootseal/base/fds.h"
#include "bootseal/json/json.h"
#include "site_access.h"
#include "vmgs_file.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kHexColumns = 16;

std::string hex_dump(ByteSpan content) {
  std::string text;
  for (std::size_t at = 0; at < content.size(); at += kHexColumns) {
    const ByteSpan row = content.subspan(at, std::min(kHexColumns, content.size() - at));
    std::string readable;
    for (const std::byte byte : row) {
      const auto c = std::to_integer<unsigned char>(byte);
      text += fmt::format("0x{:02x},", c);
      readable += c > 0x20 && c < 0x7F ? static_cast<char>(c) : '.';
    }
    text.append((kHexColumns - row.size()) * 5, ' ');
    text += "  // " + readable + '\n';
  }
  return text;
}

VmgsFailure no_such_file(const VmgsOptions& options) {
  return {VmgsExit::no_such_file_id,
          {ErrorCode::not_found,
           fmt::format("{} has no file {}", options.file_path, vmgs::describe(options.file_id)), nullptr}};
}

std::string hex(const Bytes& bytes) {
  return "0x" + to_hex(bytes);
}

std::string state_text(const vmgs::HeaderReport& header) {
  switch (header.state) {
    case vmgs::HeaderReport::State::blank:
      return "blank";
    case vmgs::HeaderReport::State::valid:
      return "valid";
    case vmgs::HeaderReport::State::damaged:
      break;
  }
  return header.reason;
}

// Name and value of each field of a header.
std::vector<std::pair<std::string, std::string>> fields_of(const vmgs::HeaderReport& header) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Signature", fmt::format("{:#018x}", header.signature)},
      {"Version", fmt::format("{}.{}", header.version >> 16U, header.version & 0xFFFFU)},
      {"Checksum", fmt::format("{:#010x}", header.checksum)},
      {"Sequence", fmt::format("{}", header.sequence)},
      {"HeaderSize", fmt::format("{}", header.header_size)},
      {"FileTableOffset", fmt::format("{:#010x}", header.file_table_block)},
      {"FileTableSize", fmt::format("{}", header.file_table_blocks)},
      {"EncryptionAlgorithm", fmt::format("{:#06x}", header.algorithm)},
      {"Markers", fmt::format("{:#06x}", header.markers)}};
  for (std::size_t i = 0; i < header.key_slots.size(); ++i) {
    const vmgs::KeySlotReport& slot = header.key_slots[i];
    fields.emplace_back(fmt::format("MetadataKey{}.Nonce", i + 1), hex(slot.nonce));
    fields.emplace_back(fmt::format("MetadataKey{}.AuthenticationTag", i + 1), hex(slot.tag));
    fields.emplace_back(fmt::format("MetadataKey{}.EncryptionKey", i + 1), hex(slot.wrapped_key));
  }
  fields.emplace_back("State", state_text(header));
  return fields;
}

std::optional<unsigned> active_header(const vmgs::Inspection& found) {
  if (found.generations.empty() || !found.generations.front().active) return std::nullopt;
  return found.generations.front().header;
}

VmgsResult<vmgs::Inspection> look(const VmgsOptions& options) {
  BOOTSEAL_TRY(const std::optional<crypto::Secret> key, given_key(options));
  BOOTSEAL_TRY(const auto device, open_device(options, Access::read));
  BOOTSEAL_TRY(vmgs::Inspection found, vmgs::inspect(*device, container_of(options),
                                                     key ? std::optional(key->view()) : std::nullopt));
  if (found.condition == vmgs::Condition::empty || found.condition == vmgs::Condition::version_1)
    return tl::unexpected(refused(options, {found.condition, found.reason}));
  return found;
}

std::string_view severity_name(vmgs::Severity severity) {
  switch (severity) {
    case vmgs::Severity::ok:
      return "ok";
    case vmgs::Severity::note:
      return "note";
    case vmgs::Severity::warning:
      return "warning";
    case vmgs::Severity::damage:
      break;
  }
  return "damage";
}

}  // namespace

VmgsStatus vmgs_dump(const Global& global, const VmgsOptions& options) {
  auto store = open_store(options, Access::read, Locked::accept);
  if (!store) return tl::unexpected(store.error());
  const auto info = store->query(options.file_id);
  if (!info) return tl::unexpected(no_such_file(options));
  const bool decrypted = !info->encrypted || store->info().unlocked;
  if (!decrypted)
    warn(fmt::format("{} is sealed and no key was given: these are its sealed bytes",
                     vmgs::describe(options.file_id)));
  auto content = decrypted ? store->read(options.file_id) : store->read_stored(options.file_id);
  if (!content) return tl::unexpected(VmgsFailure(content.error().wrap(options.file_path)));
  if (!options.data_path.empty()) {
    BOOTSEAL_TRY_STATUS(replace_file(options.data_path, *content));
    if (!global.quiet)
      fmt::print(stderr, "wrote the {} bytes of {} to {}\n", content->size(), vmgs::describe(options.file_id),
                 options.data_path);
    return {};
  }
  if (global.format == cli::Format::json) {
    json::Object object;
    object["fileId"] = static_cast<unsigned>(options.file_id);
    object["name"] = name_of(options.file_id);
    object["sizeBytes"] = content->size();
    object["encrypted"] = info->encrypted;
    object["decrypted"] = info->encrypted && decrypted;
    object["content"] = to_base64(*content);
    print_json(object);
    return {};
  }
  BOOTSEAL_TRY_STATUS(
      cli::write_output(options.raw_stdout ? std::string(as_text(*content)) : hex_dump(*content)));
  return {};
}

VmgsStatus vmgs_query_size(const Global& global, const VmgsOptions& options) {
  auto store = open_store(options, Access::read, Locked::accept);
  if (!store) return tl::unexpected(store.error());
  const auto info = store->query(options.file_id);
  if (!info) return tl::unexpected(no_such_file(options));
  if (global.format == cli::Format::json) {
    print_json(json::Object{{"fileId", static_cast<unsigned>(info->id)}, {"sizeBytes", info->size}});
  } else {
    fmt::print("{}\n", info->size);
  }
  return {};
}

VmgsStatus vmgs_query_encryption(const Global& global, const VmgsOptions& options) {
  auto store = open_store(options, Access::read, Locked::accept);
  if (!store) return tl::unexpected(store.error());
  const bool encrypted = store->info().encrypted;
  const bool has_protector = store->query(vmgs::FileId::key_protector).has_value();
  const bool has_vm_id = store->query(vmgs::FileId::vm_unique_id).has_value();
  const std::string_view scheme = has_protector ? "GspKey" : has_vm_id ? "GspById" : "None";
  if (global.format == cli::Format::json) {
    json::Object object;
    object["encrypted"] = encrypted;
    object["algorithm"] = encrypted ? "AES_GCM" : "NONE";
    object["scheme"] = scheme;
    print_json(object);
  } else if (!global.quiet) {
    fmt::print("{} is {}, scheme {}\n", options.file_path,
               encrypted ? "encrypted with AES_GCM" : "not encrypted", scheme);
  }
  const auto answer = [&](VmgsExit exit, std::string_view why) {
    return tl::unexpected(
        VmgsFailure(exit, {ErrorCode::conflict, fmt::format("{} {}", options.file_path, why), nullptr}));
  };
  if (!encrypted) return answer(VmgsExit::not_encrypted, "is not encrypted");
  if (has_protector) return {};
  if (has_vm_id)
    return answer(
        VmgsExit::encrypted_by_id,
        "is encrypted, and has a VM id and no key protector: its key comes from elsewhere, by that id");
  return answer(VmgsExit::encrypted_unknown,
                "is encrypted, and nothing in it tells where its key comes from");
}

VmgsStatus vmgs_dump_headers(const Global& global, const VmgsOptions& options) {
  auto found = look(options);
  if (!found) return tl::unexpected(found.error());
  const auto first = fields_of(found->headers[0]);
  const auto second = fields_of(found->headers[1]);
  const auto active = active_header(*found);
  if (global.format == cli::Format::json) {
    json::Array headers;
    for (const auto& fields : {first, second}) {
      json::Object object;
      for (const auto& [name, value] : fields) object[name] = value;
      headers.emplace_back(std::move(object));
    }
    json::Object object;
    object["headers"] = std::move(headers);
    object["activeHeader"] = active ? json::Value(*active + 1) : json::Value();
    print_json(object);
  } else {
    cli::Table table{{"Field", "Header 1", "Header 2"}, {}};
    for (std::size_t i = 0; i < first.size(); ++i)
      table.rows.push_back({first[i].first, first[i].second, second[i].second});
    print_table(global, table);
    if (active && global.format == cli::Format::people) fmt::print("\nActive header is {}\n", *active + 1);
  }
  if (found->condition == vmgs::Condition::valid) return {};
  return tl::unexpected(refused(options, {found->condition, found->reason}));
}

VmgsStatus vmgs_dump_file_table(const Global& global, const VmgsOptions& options) {
  auto store = open_store(options, Access::read, Locked::accept);
  if (!store) return tl::unexpected(store.error());
  const std::vector<vmgs::FileInfo> files = store->list();
  if (global.format == cli::Format::json) {
    json::Array list;
    for (const vmgs::FileInfo& file : files) {
      json::Object object;
      object["fileId"] = static_cast<unsigned>(file.id);
      object["name"] = name_of(file.id);
      object["sizeBytes"] = file.size;
      object["block"] = file.block;
      object["blocks"] = file.blocks;
      object["encrypted"] = file.encrypted;
      list.emplace_back(std::move(object));
    }
    print_json(list);
    return {};
  }
  cli::Table table{{"Id", "Name", "Bytes", "Block", "Blocks", "Sealed"}, {}};
  for (const vmgs::FileInfo& file : files) {
    const std::string name = name_of(file.id);
    table.rows.push_back({std::to_string(static_cast<unsigned>(file.id)), name.empty() ? "-" : name,
                          std::to_string(file.size), std::to_string(file.block), std::to_string(file.blocks),
                          file.encrypted ? "yes" : "no"});
  }
  print_table(global, table);
  return {};
}

VmgsStatus vmgs_check(const Global& global, const VmgsOptions& options) {
  auto found = look(options);
  if (!found) return tl::unexpected(found.error());
  const bool damaged = found->damaged();
  if (global.format == cli::Format::json) {
    json::Array findings;
    for (const vmgs::Finding& finding : found->findings) {
      json::Object object;
      object["severity"] = severity_name(finding.severity);
      object["where"] = finding.where;
      object["text"] = finding.text;
      findings.emplace_back(std::move(object));
    }
    const auto active = active_header(*found);
    json::Object object;
    object["path"] = options.file_path;
    object["opens"] = found->condition == vmgs::Condition::valid;
    object["damaged"] = damaged;
    object["activeHeader"] = active ? json::Value(*active + 1) : json::Value();
    object["findings"] = std::move(findings);
    print_json(object);
  } else {
    cli::Table table{{"Result", "Where", "What"}, {}};
    for (const vmgs::Finding& finding : found->findings) {
      if (global.quiet && finding.severity < vmgs::Severity::warning) continue;
      table.rows.push_back({std::string(severity_name(finding.severity)), finding.where, finding.text});
    }
    if (!table.rows.empty()) print_table(global, table);
  }
  if (!damaged) return {};
  const bool opens = found->condition == vmgs::Condition::valid;
  return tl::unexpected(VmgsFailure(
      {ErrorCode::corrupt,
       fmt::format("{} is damaged{}; `bootseal vmgs repair -f {}` shows what can be mended",
                   options.file_path, opens ? ", and opens" : " and does not open", options.file_path),
       nullptr}));
}

}  // namespace bootseal::app
