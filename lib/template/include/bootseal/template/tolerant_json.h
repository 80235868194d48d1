// The reader of deployment bodies. Azure's command line pastes the user's template file byte for byte into
// the request, so the body is JSON with liberties: bare member names, // and /* */ comments, raw line breaks
// and tabs in strings, a comma after the last member, a byte order mark before any value. Only deployment
// routes use it; everything else is read strictly (lib/json).
//
//   BOOTSEAL_TRY(const json::Value body, templates::read_tolerant_json(request.body));
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bootseal/base/result.h"
#include "bootseal/json/json.h"

namespace bootseal::templates {

struct TolerantLimits {
  std::size_t bytes = std::size_t{4} << 20;  // of the whole text
  std::size_t depth = 64;                    // of nested objects and arrays
  std::size_t values = 200'000;              // members and elements, in all
};

// The whole text is one value; duplicate members: the last wins, as in lib/json. invalid_argument with line
// and column (counted from 1, columns in bytes) for a syntax error, exhausted past a limit.
Result<json::Value> read_tolerant_json(std::string_view text, const TolerantLimits& limits = {});

struct TextPlace {
  std::size_t line = 0;    // counted from 1
  std::size_t column = 0;  // in bytes, counted from 1
};

// Where the value at `path` ("resources[2].properties.count", member names in any case) begins in the text,
// counted from where the value at `from` begins ("properties.template"; empty = the text), as Azure counts
// lines of the template rather than of the request. nullopt when the text has no such value or is not well
// formed.
std::optional<TextPlace> locate(std::string_view text, std::string_view path, std::string_view from = {});

}  // namespace bootseal::templates
