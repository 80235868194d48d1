// Text of a guest, of QEMU or of guestd that people will see in a log, in a status or on a terminal.
#pragma once

#include <string>
#include <string_view>

namespace bootseal::host {

// At most `maximum` bytes, cut between characters of UTF-8, with blanks for control characters: nothing that
// a terminal would act on.
std::string display_text(std::string_view text, std::size_t maximum);

}  // namespace bootseal::host
