// Management lines: the same lines come out whole and in pieces, and every request that parses can be
// answered in one line.
#include <algorithm>

#include "bootseal/base/result.h"
#include "management.h"

namespace {

using namespace bootseal;

std::vector<std::string> lines_of(ByteSpan input, std::size_t piece) {
  guest::LineBuffer buffer;
  std::vector<std::string> lines;
  while (!input.empty()) {
    const std::size_t size = std::min(piece, input.size());
    BOOTSEAL_CHECK(buffer.append(input.first(size)).has_value());
    input = input.subspan(size);
    while (auto line = buffer.next()) lines.push_back(*std::move(line));
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size >= guest::kMaxManagementLine) return 0;
  const ByteSpan input(reinterpret_cast<const std::byte*>(data), size);
  const auto lines = lines_of(input, size + 1);
  BOOTSEAL_CHECK(lines_of(input, 3) == lines);
  for (const std::string& line : lines) {
    const auto request = guest::parse_management_request(line);
    const std::string answer = request ? guest::management_result(request->id, request->parameters)
                                       : guest::management_error(0, request.error());
    BOOTSEAL_CHECK(std::count(answer.begin(), answer.end(), '\n') == 1 && answer.back() == '\n');
  }
  return 0;
}
