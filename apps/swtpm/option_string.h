// The values of swtpm's options: "type=unixio,path=/run/tpm.sock,mode=0600".
//
// As swtpm reads them: commas separate, empty parts are left out, a name alone stands for "true", the first
// of a name given twice counts.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::swtpm {

enum class OptionKind : std::uint8_t { text, number, truth, mode, user, group };

struct OptionRule {
  std::string_view name;
  OptionKind kind;
};

class OptionString {
 public:
  // Errors: invalid_argument for a name that is not in `rules` or a value of the wrong kind (whole numbers
  // from 0 to 2^31-1; octal modes up to 0777; users and groups by number or by a name that exists).
  static Result<OptionString> parse(std::string_view text, std::span<const OptionRule> rules);

  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  [[nodiscard]] std::optional<int> number(std::string_view name) const;
  [[nodiscard]] bool truth(std::string_view name) const;  // false when absent
  [[nodiscard]] std::optional<mode_t> mode(std::string_view name) const;
  // (uid_t)-1 and (gid_t)-1 when absent: chown() leaves it then.
  [[nodiscard]] uid_t user(std::string_view name) const;
  [[nodiscard]] gid_t group(std::string_view name) const;

 private:
  using Value = std::variant<std::string, int, bool, mode_t>;
  [[nodiscard]] const Value* find(std::string_view name) const;

  std::vector<std::pair<std::string, Value>> values_;
};

// A whole number, 0 to `maximum`, in `base`; nothing else in `text`.
std::optional<unsigned long> parse_number(std::string_view text, int base, unsigned long maximum);

}  // namespace bootseal::swtpm
