#include "bootseal/tpm/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "client_parts.h"

namespace bootseal::tpm {
namespace {

constexpr std::uint32_t kCapabilityHandles = 1, kCapabilityProperties = 6;
constexpr std::uint32_t kResponseInitialize = 0x100, kResponseYielded = 0x908, kResponseTesting = 0x90A,
                        kResponseRetry = 0x922;
constexpr unsigned kCommandAttempts = 8;
constexpr unsigned kPcrReadAttempts = 16;
constexpr std::uint32_t kHandlesPerPage = 64;
constexpr std::size_t kMaximumHandles = 4096;

struct PcrPage {
  std::uint32_t update_counter = 0;
  std::uint32_t mask = 0;
  std::vector<PcrValue> values;
};

Result<PcrPage> parse_pcr_page(ByteSpan parameters, PcrSelection asked) {
  ByteReader reader(parameters);
  PcrPage page;
  BOOTSEAL_TRY(page.update_counter, reader.be32("the PCR update counter"));
  BOOTSEAL_TRY(const std::vector<PcrSelection> selections, read_pcr_selections(reader));
  for (const PcrSelection& selection : selections) {
    if (selection.bank != asked.bank || (selection.mask & ~asked.mask) != 0) {
      return fail(ErrorCode::corrupt, "TPM2_PCR_Read: the response holds PCRs that were not asked for");
    }
    page.mask = selection.mask;
  }
  BOOTSEAL_TRY(const std::uint32_t count, reader.be32("the number of PCR values"));
  std::uint32_t read = 0;
  for (unsigned index = 0; index < kPcrCount; ++index) {
    if ((page.mask & (1U << index)) == 0) continue;
    BOOTSEAL_TRY(const ByteSpan digest, read_sized(reader, kMaximumDigest, "a PCR value"));
    if (digest.size() != digest_size(asked.bank)) {
      return fail(ErrorCode::corrupt,
                  fmt::format("TPM2_PCR_Read: PCR {} has {} bytes", index, digest.size()));
    }
    page.values.push_back({index, to_bytes(digest)});
    ++read;
  }
  if (count != read) return fail(ErrorCode::corrupt, "TPM2_PCR_Read: selection and values do not match");
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::pcr_read));
  return page;
}

}  // namespace

// A TPM may ask for the same command once more (Part 1, 30.3); the kernel's driver waits between tries on
// hardware, so here they follow each other.
Result<Reply> Client::run(const Command& command) {
  const Bytes marshalled = marshal_command(command);
  for (unsigned attempt = 1;; ++attempt) {
    auto response = transport_.transceive(marshalled);
    if (!response) return tl::unexpected(response.error().wrap(command_name(command.code)));
    if (const auto code = response_code(*response)) {
      last_response_code_ = *code;
      const bool asks_again =
          *code == kResponseRetry || *code == kResponseYielded || *code == kResponseTesting;
      if (asks_again && attempt < kCommandAttempts) continue;
    }
    return parse_response(command, *response);
  }
}

Status Client::startup(bool state) {
  ByteWriter writer;
  writer.be16(state ? 1 : 0);
  const auto reply = run({.code = CommandCode::startup, .parameters = writer.take()});
  if (!reply && last_response_code_ != kResponseInitialize) return tl::unexpected(reply.error());
  return {};
}

Status Client::shutdown(bool state) {
  ByteWriter writer;
  writer.be16(state ? 1 : 0);
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::shutdown, .parameters = writer.take()}));
  return {};
}

Status Client::self_test() {
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::self_test, .parameters = {std::byte{1}}}));
  return {};
}

Result<Bytes> Client::get_random(std::uint16_t size) {
  Bytes random;
  while (random.size() < size) {
    const std::size_t wanted = size - random.size();
    ByteWriter writer;
    writer.be16(static_cast<std::uint16_t>(wanted));
    BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::get_random, .parameters = writer.take()}));
    BOOTSEAL_TRY(const Bytes piece, only_sized(reply, wanted, CommandCode::get_random, "random bytes"));
    if (piece.empty()) return fail(ErrorCode::corrupt, "TPM2_GetRandom: the TPM gave no random bytes");
    append(random, piece);
  }
  return random;
}

Result<std::vector<PcrValue>> Client::pcr_read(PcrSelection selection) {
  BOOTSEAL_TRY_STATUS(check_selection(selection));
  for (unsigned attempt = 0; attempt < kPcrReadAttempts; ++attempt) {
    std::vector<PcrValue> values;
    std::optional<std::uint32_t> update_counter;
    bool changed = false;
    PcrSelection left = selection;
    while (left.mask != 0 && !changed) {
      ByteWriter writer;
      write_pcr_selection(writer, left);
      BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::pcr_read, .parameters = writer.take()}));
      BOOTSEAL_TRY(PcrPage page, parse_pcr_page(reply.parameters, left));
      if (page.mask == 0) {
        return fail(ErrorCode::unsupported,
                    fmt::format("TPM2_PCR_Read: the TPM has no such PCRs in bank {} (mask 0x{:06x})",
                                algorithm_name(left.bank), left.mask));
      }
      changed = update_counter.value_or(page.update_counter) != page.update_counter;
      update_counter = page.update_counter;
      left.mask &= ~page.mask;
      std::move(page.values.begin(), page.values.end(), std::back_inserter(values));
    }
    if (changed) continue;
    std::sort(values.begin(), values.end(),
              [](const PcrValue& a, const PcrValue& b) { return a.index < b.index; });
    return values;
  }
  return fail(ErrorCode::unavailable,
              fmt::format("TPM2_PCR_Read: PCRs were extended during each of {} readings; try again",
                          kPcrReadAttempts));
}

Status Client::pcr_extend(unsigned index, Algorithm bank, ByteSpan digest) {
  if (index >= kPcrCount || digest.size() != digest_size(bank)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("PCR {} cannot be extended with {} bytes", index, digest.size()));
  }
  ByteWriter writer;
  writer.be32(1).be16(id_of(bank)).bytes(digest);
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::pcr_extend,
                           .handles = {index},
                           .sessions = {kPasswordSession},
                           .parameters = writer.take()}));
  return {};
}

Status Client::pcr_allocate(const std::vector<Algorithm>& banks, const std::vector<Algorithm>& all_banks) {
  ByteWriter writer;
  writer.be32(static_cast<std::uint32_t>(all_banks.size()));
  for (const Algorithm bank : all_banks) {
    const bool wanted = std::find(banks.begin(), banks.end(), bank) != banks.end();
    writer.be16(id_of(bank)).u8(kPcrCount / 8).fill(kPcrCount / 8, wanted ? std::byte{0xFF} : std::byte{0});
  }
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::pcr_allocate,
                                       .handles = {kPlatform},
                                       .sessions = {kPasswordSession},
                                       .parameters = writer.take()}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const std::uint8_t success, reader.u8("the result of the PCR allocation"));
  BOOTSEAL_TRY_STATUS(reader.skip(12, "the sizes of the PCR allocation"));
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::pcr_allocate));
  if (success != 1) return fail(ErrorCode::conflict, "TPM2_PCR_Allocate: the TPM refused these banks");
  return {};
}

Result<CreatedObject> Client::create_primary(Handle hierarchy, ByteSpan public_template) {
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::create_primary,
                                       .handles = {hierarchy},
                                       .sessions = {kPasswordSession},
                                       .parameters = creation_parameters({}, public_template),
                                       .returns_handle = true}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const ByteSpan public_area, read_sized(reader, kMaximumPublic, "the public area"));
  BOOTSEAL_TRY_STATUS(skip_creation(reader));
  BOOTSEAL_TRY(const ByteSpan name, read_sized(reader, kMaximumName, "the object's name"));
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::create_primary));
  return CreatedObject{reply.handle, to_bytes(public_area), to_bytes(name)};
}

Status Client::evict_control(Handle hierarchy, Handle object, Handle persistent) {
  ByteWriter writer;
  writer.be32(persistent);
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::evict_control,
                           .handles = {hierarchy, object},
                           .sessions = {kPasswordSession},
                           .parameters = writer.take()}));
  return {};
}

Status Client::flush_context(Handle handle) {
  // The handle is a parameter of this command.
  ByteWriter writer;
  writer.be32(handle);
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::flush_context, .parameters = writer.take()}));
  return {};
}

Result<CreatedObject> Client::read_public(Handle handle) {
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::read_public, .handles = {handle}}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const ByteSpan public_area, read_sized(reader, kMaximumPublic, "the public area"));
  BOOTSEAL_TRY(const ByteSpan name, read_sized(reader, kMaximumName, "the object's name"));
  BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumName, "the object's qualified name"));
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::read_public));
  return CreatedObject{handle, to_bytes(public_area), to_bytes(name)};
}

Result<Quote> Client::quote(Handle key, ByteSpan nonce, PcrSelection selection) {
  BOOTSEAL_TRY_STATUS(check_selection(selection));
  if (nonce.size() > kMaximumDigest) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a nonce of {} bytes is longer than 64", nonce.size()));
  }
  ByteWriter writer;
  write_sized(writer, nonce);
  writer.be16(kAlgNull);
  write_pcr_selection(writer, selection);
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::quote,
                                       .handles = {key},
                                       .sessions = {kPasswordSession},
                                       .parameters = writer.take()}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const ByteSpan attest, read_sized(reader, kMaximumAttest, "the attestation structure"));
  return Quote{to_bytes(attest), to_bytes(reader.rest())};
}

Result<std::uint32_t> Client::property(std::uint32_t tag) {
  ByteWriter writer;
  writer.be32(kCapabilityProperties).be32(tag).be32(1);
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::get_capability, .parameters = writer.take()}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY_STATUS(reader.u8("the more-data flag"));
  BOOTSEAL_TRY(const std::uint32_t capability, reader.be32("the capability"));
  BOOTSEAL_TRY(const std::uint32_t count, reader.be32("the number of properties"));
  if (capability != kCapabilityProperties || count > 1) {
    return fail(ErrorCode::corrupt, "TPM2_GetCapability: the response is not about one property");
  }
  if (count == 0) return fail(ErrorCode::not_found, fmt::format("the TPM has no property 0x{:08x}", tag));
  BOOTSEAL_TRY(const std::uint32_t found, reader.be32("the property's tag"));
  BOOTSEAL_TRY(const std::uint32_t value, reader.be32("the property's value"));
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::get_capability));
  // The TPM answers with the next property when it does not have this one.
  if (found != tag) return fail(ErrorCode::not_found, fmt::format("the TPM has no property 0x{:08x}", tag));
  return value;
}

Result<std::vector<Handle>> Client::handles(Handle first) {
  std::vector<Handle> found;
  Handle next = first;
  for (bool more = true; more;) {
    ByteWriter writer;
    writer.be32(kCapabilityHandles).be32(next).be32(kHandlesPerPage);
    BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::get_capability, .parameters = writer.take()}));
    ByteReader reader(reply.parameters);
    BOOTSEAL_TRY(const std::uint8_t more_data, reader.u8("the more-data flag"));
    BOOTSEAL_TRY(const std::uint32_t capability, reader.be32("the capability"));
    BOOTSEAL_TRY(const std::uint32_t count, reader.be32("the number of handles"));
    if (capability != kCapabilityHandles || count > kHandlesPerPage || (more_data != 0 && count == 0)) {
      return fail(ErrorCode::corrupt, "TPM2_GetCapability: the response is not a list of handles");
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      BOOTSEAL_TRY(const Handle handle, reader.be32("a handle"));
      if (handle < next || handle >> 24 != first >> 24) {
        return fail(ErrorCode::corrupt, "TPM2_GetCapability: handles out of order");
      }
      found.push_back(handle);
      next = handle + 1;
    }
    BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::get_capability));
    if (found.size() > kMaximumHandles) return fail(ErrorCode::exhausted, "the TPM lists too many handles");
    more = more_data != 0;
  }
  return found;
}

}  // namespace bootseal::tpm
