#include "bootseal/uefi/pe_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace bootseal::uefi {
namespace {

constexpr std::size_t kPeOffsetField = 0x3c;
constexpr std::size_t kCoffHeaderSize = 20;
constexpr std::uint16_t kMagicPe32Plus = 0x20b;
// Offsets in the optional header of PE32+.
constexpr std::size_t kSizeOfHeaders = 60, kCheckSum = 64, kSubsystem = 68, kDirectoryCount = 108,
                      kDirectories = 112;
constexpr std::size_t kDirectoryEntrySize = 8, kCertificateDirectory = 4;
constexpr std::size_t kSectionHeaderSize = 40;
constexpr std::size_t kSymbolSize = 18, kMaximumSectionName = 64;
constexpr std::size_t kMaximumSections = 96;  // what the loaders of Windows and of shim take

struct CoffHeader {
  std::size_t optional_offset = 0;
  std::uint16_t machine = 0, section_count = 0, optional_size = 0;
  std::size_t symbols_offset = 0, symbol_count = 0;
};

Result<CoffHeader> read_coff_header(ByteSpan file) {
  if (file.size() < kPeOffsetField + 4 || as_text(file.first(2)) != "MZ") {
    return fail(ErrorCode::unsupported, "the file is no PE image (it does not begin with MZ)");
  }
  const std::size_t pe_offset = load_le32(file, kPeOffsetField);
  ByteReader reader(file);
  BOOTSEAL_TRY_STATUS(reader.skip(pe_offset, "the DOS stub"));
  BOOTSEAL_TRY(const ByteSpan mark, reader.take(4, "the PE signature"));
  if (as_text(mark) != std::string_view("PE\0\0", 4))
    return fail(ErrorCode::unsupported, "the file is no PE image (no PE signature)");
  BOOTSEAL_TRY(const ByteSpan coff, reader.take(kCoffHeaderSize, "the COFF header"));
  return CoffHeader{.optional_offset = reader.position(),
                    .machine = load_le16(coff, 0),
                    .section_count = load_le16(coff, 2),
                    .optional_size = load_le16(coff, 16),
                    .symbols_offset = load_le32(coff, 8),
                    .symbol_count = load_le32(coff, 12)};
}

// A name longer than 8 bytes is "/" and its decimal offset in the string table, which follows the symbols. A
// name that cannot be resolved stays as it is: nothing is read through it.
std::string resolve_name(ByteSpan file, const CoffHeader& coff, std::string name) {
  std::size_t offset = 0;
  const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), offset);
  if (error != std::errc() || end != name.data() + name.size() || coff.symbols_offset == 0) return name;
  const std::size_t at = coff.symbols_offset + coff.symbol_count * kSymbolSize + offset;
  if (at >= file.size()) return name;
  const std::string_view text = as_text(file.subspan(at)).substr(0, kMaximumSectionName);
  return std::string(text.substr(0, text.find('\0')));
}

Result<PeSection> read_section(ByteReader& reader, std::size_t file_size) {
  BOOTSEAL_TRY(const ByteSpan header, reader.take(kSectionHeaderSize, "a section header"));
  PeSection section;
  section.name = std::string(as_text(header.first(8)));
  section.name.resize(std::min(section.name.find('\0'), section.name.size()));
  section.virtual_size = load_le32(header, 8);
  section.virtual_address = load_le32(header, 12);
  section.raw_size = load_le32(header, 16);
  section.raw_offset = load_le32(header, 20);
  if (section.raw_size == 0) section.raw_offset = 0;
  if (section.raw_offset > file_size || section.raw_size > file_size - section.raw_offset) {
    return fail(ErrorCode::corrupt,
                fmt::format("section {} has {} bytes at offset {}, the file has {}", section.name,
                            section.raw_size, section.raw_offset, file_size));
  }
  return section;
}

}  // namespace

Result<PeImage> PeImage::parse(ByteSpan file) {
  BOOTSEAL_TRY(const CoffHeader coff, read_coff_header(file));
  PeImage image(file);
  image.machine_ = coff.machine;
  ByteReader reader(file);
  BOOTSEAL_TRY_STATUS(reader.skip(coff.optional_offset, "the headers"));
  BOOTSEAL_TRY(const ByteSpan optional, reader.take(coff.optional_size, "the optional header"));
  if (optional.size() < kDirectories || load_le16(optional, 0) != kMagicPe32Plus) {
    return fail(ErrorCode::unsupported, "the file is no PE32+ image");
  }
  image.subsystem_ = load_le16(optional, kSubsystem);
  image.headers_size_ = load_le32(optional, kSizeOfHeaders);
  image.checksum_offset_ = coff.optional_offset + kCheckSum;

  const std::size_t directories = load_le32(optional, kDirectoryCount);
  if (directories > (optional.size() - kDirectories) / kDirectoryEntrySize) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} data directories do not fit the optional header", directories));
  }
  if (directories > kCertificateDirectory) {
    const std::size_t entry = kDirectories + kCertificateDirectory * kDirectoryEntrySize;
    image.certificate_entry_offset_ = coff.optional_offset + entry;
    image.certificate_offset_ = load_le32(optional, entry);
    image.certificate_size_ = load_le32(optional, entry + 4);
  }
  if (image.certificate_size_ == 0) image.certificate_offset_ = file.size();
  if (image.certificate_offset_ > file.size() ||
      image.certificate_size_ != file.size() - image.certificate_offset_) {
    return fail(
        ErrorCode::corrupt,
        fmt::format("the certificate table ({} bytes at offset {}) does not end with the file ({} bytes)",
                    image.certificate_size_, image.certificate_offset_, file.size()));
  }

  if (coff.section_count > kMaximumSections)
    return fail(ErrorCode::corrupt, fmt::format("the image has {} sections", coff.section_count));
  for (std::size_t i = 0; i < coff.section_count; ++i) {
    BOOTSEAL_TRY(PeSection section, read_section(reader, image.certificate_offset_));
    if (section.name.starts_with('/')) section.name = resolve_name(file, coff, std::move(section.name));
    image.sections_.push_back(std::move(section));
  }
  if (image.headers_size_ < reader.position() || image.headers_size_ > image.certificate_offset_) {
    return fail(ErrorCode::corrupt, fmt::format("the size of the headers is {}, they end at {}",
                                                image.headers_size_, reader.position()));
  }
  std::size_t hashed = image.headers_size_;
  for (const PeSection& section : image.sections_) hashed += section.raw_size;
  if (hashed > image.certificate_offset_)
    return fail(ErrorCode::corrupt, "sections overlap each other or the headers");
  return image;
}

std::optional<ByteSpan> PeImage::section(std::string_view name) const {
  for (const PeSection& section : sections_) {
    if (section.name != name) continue;
    const std::size_t size =
        section.virtual_size == 0 ? section.raw_size : std::min(section.virtual_size, section.raw_size);
    return file_.subspan(section.raw_offset, size);
  }
  return std::nullopt;
}

Bytes PeImage::authenticode_digest(crypto::HashAlgorithm algorithm) const {
  std::vector<ByteSpan> parts;
  const auto add = [&](std::size_t begin, std::size_t end) {
    parts.push_back(file_.subspan(begin, end - begin));
  };
  add(0, checksum_offset_);
  if (certificate_entry_offset_ == 0) {
    add(checksum_offset_ + 4, headers_size_);
  } else {
    add(checksum_offset_ + 4, certificate_entry_offset_);
    add(certificate_entry_offset_ + kDirectoryEntrySize, headers_size_);
  }
  std::vector<PeSection> ordered = sections_;
  std::ranges::stable_sort(ordered, {}, &PeSection::raw_offset);
  std::size_t hashed = headers_size_;
  for (const PeSection& section : ordered) {
    add(section.raw_offset, std::size_t{section.raw_offset} + section.raw_size);
    hashed += section.raw_size;
  }
  // What lies behind the sections, up to the certificate table.
  add(hashed, certificate_offset_);

  Bytes content;
  for (const ByteSpan part : parts) append(content, part);
  return crypto::digest(algorithm, content);
}

crypto::Sha256Digest PeImage::authenticode_sha256() const {
  crypto::Sha256Digest digest;
  std::ranges::copy(authenticode_digest(crypto::HashAlgorithm::sha256), digest.bytes.begin());
  return digest;
}

Result<std::string> linux_kernel_version(ByteSpan file) {
  // Documentation/arch/x86/boot.rst: "HdrS" at 0x202; kernel_version at 0x20e counts from 0x200.
  constexpr std::size_t kHeaderMark = 0x202, kVersionField = 0x20e, kVersionBase = 0x200,
                        kMaximumLength = 256;
  if (file.size() < kVersionField + 2 || as_text(file.subspan(kHeaderMark, 4)) != "HdrS") {
    return fail(ErrorCode::not_found, "the file is no Linux kernel image (no HdrS mark)");
  }
  const std::size_t offset = load_le16(file, kVersionField);
  if (offset == 0 || kVersionBase + offset >= file.size()) {
    return fail(ErrorCode::not_found, "the Linux kernel image does not say its version");
  }
  std::string text(as_text(file.subspan(kVersionBase + offset)).substr(0, kMaximumLength));
  text.resize(std::min(text.find('\0'), text.size()));
  const bool printable = std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
  if (text.empty() || !printable)
    return fail(ErrorCode::not_found, "the Linux kernel image does not say its version");
  return text;
}

}  // namespace bootseal::uefi
