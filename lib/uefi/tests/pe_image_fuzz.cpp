// A boot loader from a tenant's image: parsed, hashed and judged, or refused.
#include "bootseal/uefi/authenticode.h"
#include "bootseal/uefi/sbat.h"
#include "bootseal/uefi/templates.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  static const auto keys = uefi::template_keys(uefi::SignatureTemplate::microsoft_uefi_certificate_authority);
  const ByteSpan input{reinterpret_cast<const std::byte*>(data), size};
  (void)uefi::linux_kernel_version(input);
  (void)uefi::parse_sbat(input);
  const auto image = uefi::PeImage::parse(input);
  if (!image) return 0;
  if (const auto section = image->section(".sbat")) (void)uefi::parse_sbat(*section);
  (void)uefi::vendor_databases(*image);
  const auto judgement = uefi::judge_image(*image, keys.db, keys.dbx);
  BOOTSEAL_CHECK(!judgement || !judgement->reason.empty());
  return 0;
}
