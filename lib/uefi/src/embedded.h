// The files of data/, embedded at build time (cmake/EmbedFiles.cmake).
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::uefi::embedded {

ByteSpan microsoft_kek_2011();
ByteSpan microsoft_kek_2023();
ByteSpan microsoft_uefi_ca_2011();
ByteSpan microsoft_uefi_ca_2023();
ByteSpan microsoft_windows_pca_2011();
ByteSpan microsoft_windows_uefi_ca_2023();
ByteSpan azure_services_linux_kmod_pca_2023();
ByteSpan dbx_2026_09_09();

}  // namespace bootseal::uefi::embedded
