#include <fmt/format.h>

#include <algorithm>

#include "bootseal/gallery/image.h"
#include "bootseal/uefi/authenticode.h"
#include "bootseal/uefi/sbat.h"

namespace bootseal::gallery {
namespace {

Result<std::vector<uefi::SbatEntry>> sbat_of(const uefi::PeImage& image) {
  const std::optional<ByteSpan> section = image.section(".sbat");
  if (!section) return std::vector<uefi::SbatEntry>{};
  return uefi::parse_sbat(*section);
}

// What the image calls itself. A distribution's own row ("grub.debian,5,Debian,grub2,2.06-13+deb12u2") is
// more exact than upstream's
// ("grub,5,Free Software Foundation,grub,2.06").
std::string version_from_sbat(const std::vector<uefi::SbatEntry>& entries, std::string_view component) {
  const std::string distribution = fmt::format("{}.", component);
  std::string version;
  for (const uefi::SbatEntry& entry : entries) {
    const bool exact = entry.component.starts_with(distribution);
    if (entry.version.empty() || (!exact && entry.component != component)) continue;
    if (exact) return entry.version;
    version = entry.version;
  }
  return version;
}

// shim says "$Version: 16.1 $" in section .data.ident.
std::string version_from_ident(const uefi::PeImage& image) {
  const std::optional<ByteSpan> section = image.section(".data.ident");
  if (!section) return {};
  constexpr std::string_view kMark = "$Version: ";
  std::string_view text = as_text(*section);
  const std::size_t begin = text.find(kMark);
  if (begin == std::string_view::npos) return {};
  text = text.substr(begin + kMark.size(), 32);
  const std::size_t end =
      text.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-+~_");
  return std::string(text.substr(0, end));
}

std::string version_of(std::string_view role, const uefi::PeImage& image,
                       const std::vector<uefi::SbatEntry>& sbat) {
  if (role == "kernel") {
    // "6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP …": the release is the first word.
    const std::string text = uefi::linux_kernel_version(image.file()).value_or("");
    return text.substr(0, text.find(' '));
  }
  std::string version = version_from_sbat(sbat, role);
  if (version.empty() && role == "shim") version = version_from_ident(image);
  return version;
}

}  // namespace

Result<BootComponent> inspect_component(std::string role, std::string file, ByteSpan content) {
  constexpr std::array<std::string_view, 4> kRoles = {"shim", "grub", "kernel", "bootApplication"};
  if (std::ranges::find(kRoles, role) == kRoles.end()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no role of a boot file; there are {}", role, fmt::join(kRoles, ", ")));
  }
  const auto inspect = [&]() -> Result<BootComponent> {
    BOOTSEAL_TRY(const uefi::PeImage image, uefi::PeImage::parse(content));
    BOOTSEAL_TRY(const std::vector<uefi::ImageSignature> signatures, uefi::image_signatures(image));
    BOOTSEAL_TRY(const std::vector<uefi::SbatEntry> sbat, sbat_of(image));
    BootComponent component{.role = role,
                            .file = file,
                            .authenticode_sha256 = image.authenticode_sha256(),
                            .version = version_of(role, image, sbat),
                            .sbat = uefi::summarize_sbat(sbat)};
    for (const uefi::ImageSignature& signature : signatures) {
      component.signers.push_back(signature.digest_matches
                                      ? fmt::format("{} <- {}", signature.signer, signature.issuer)
                                      : fmt::format("{} <- {} (the file was changed after signing)",
                                                    signature.signer, signature.issuer));
    }
    return component;
  };
  Result<BootComponent> component = inspect();
  if (!component) return tl::unexpected(component.error().wrap(file));
  return component;
}

}  // namespace bootseal::gallery
