#include <fmt/format.h>

#include <algorithm>

#include "client_parts.h"

namespace bootseal::tpm {
namespace {

constexpr std::uint16_t kMaximumNvPiece = 1024;
constexpr std::uint32_t kPropertyNvBufferMaximum = 0x0000012C;

}  // namespace

Status Client::nv_define(Handle hierarchy, Handle index, std::uint32_t attributes, std::uint16_t size,
                         ByteSpan policy) {
  ByteWriter nv_public;
  nv_public.be32(index).be16(id_of(Algorithm::sha256)).be32(attributes);
  write_sized(nv_public, policy);
  nv_public.be16(size);
  ByteWriter writer;
  write_sized(writer, {});
  write_sized(writer, nv_public.view());
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::nv_define_space,
                           .handles = {hierarchy},
                           .sessions = {kPasswordSession},
                           .parameters = writer.take()}));
  return {};
}

Status Client::nv_undefine(Handle hierarchy, Handle index) {
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::nv_undefine_space,
                           .handles = {hierarchy, index},
                           .sessions = {kPasswordSession},
                           .parameters = {}}));
  return {};
}

Result<std::uint16_t> Client::nv_piece_size() {
  if (!nv_piece_size_) {
    BOOTSEAL_TRY(const std::uint32_t maximum, property(kPropertyNvBufferMaximum));
    if (maximum == 0) return fail(ErrorCode::corrupt, "the TPM says its NV buffer has no bytes");
    nv_piece_size_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(maximum, kMaximumNvPiece));
  }
  return *nv_piece_size_;
}

Status Client::nv_write(Handle authority, Handle index, ByteSpan data) {
  if (data.size() > 0xFFFF) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes do not fit NV index 0x{:08x}", data.size(), index));
  }
  BOOTSEAL_TRY(const std::size_t piece_size, nv_piece_size());
  std::size_t offset = 0;
  do {
    const ByteSpan piece = data.subspan(offset, std::min(piece_size, data.size() - offset));
    ByteWriter writer;
    write_sized(writer, piece);
    writer.be16(static_cast<std::uint16_t>(offset));
    BOOTSEAL_TRY_STATUS(run({.code = CommandCode::nv_write,
                             .handles = {authority, index},
                             .sessions = {kPasswordSession},
                             .parameters = writer.take()}));
    offset += piece.size();
  } while (offset < data.size());
  return {};
}

Status Client::nv_write_lock(Handle authority, Handle index) {
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::nv_write_lock,
                           .handles = {authority, index},
                           .sessions = {kPasswordSession},
                           .parameters = {}}));
  return {};
}

Status Client::nv_increment(Handle authority, Handle index) {
  BOOTSEAL_TRY_STATUS(run({.code = CommandCode::nv_increment,
                           .handles = {authority, index},
                           .sessions = {kPasswordSession},
                           .parameters = {}}));
  return {};
}

Result<NvPublic> Client::nv_read_public(Handle index) {
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::nv_read_public, .handles = {index}}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const ByteSpan area, read_sized(reader, kMaximumPublic, "the NV public area"));
  BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumName, "the name of the NV index"));
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::nv_read_public));
  ByteReader fields(area);
  NvPublic nv;
  BOOTSEAL_TRY(nv.index, fields.be32("the NV index"));
  BOOTSEAL_TRY_STATUS(fields.be16("the name algorithm of the NV index"));
  BOOTSEAL_TRY(nv.attributes, fields.be32("the NV attributes"));
  BOOTSEAL_TRY(const ByteSpan policy, read_sized(fields, kMaximumDigest, "the NV policy"));
  nv.policy = to_bytes(policy);
  BOOTSEAL_TRY(nv.data_size, fields.be16("the NV data size"));
  BOOTSEAL_TRY_STATUS(at_end(fields, CommandCode::nv_read_public));
  return nv;
}

Result<Bytes> Client::nv_read(Handle authority, Handle index) {
  BOOTSEAL_TRY(const NvPublic nv, nv_read_public(index));
  BOOTSEAL_TRY(const std::size_t piece_size, nv_piece_size());
  Bytes data;
  do {
    const std::size_t wanted = std::min(piece_size, nv.data_size - data.size());
    ByteWriter writer;
    writer.be16(static_cast<std::uint16_t>(wanted)).be16(static_cast<std::uint16_t>(data.size()));
    BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::nv_read,
                                         .handles = {authority, index},
                                         .sessions = {kPasswordSession},
                                         .parameters = writer.take()}));
    BOOTSEAL_TRY(const Bytes piece, only_sized(reply, wanted, CommandCode::nv_read, "the NV data"));
    if (piece.size() != wanted) return fail(ErrorCode::corrupt, "TPM2_NV_Read: fewer bytes than asked for");
    append(data, piece);
  } while (data.size() < nv.data_size);
  return data;
}

}  // namespace bootseal::tpm
