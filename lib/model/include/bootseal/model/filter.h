// $filter as Azure's lists take it: comparisons of members with texts, joined by and, or, not and
// parentheses, and calls such as substringof('x', name).
//
//   BOOTSEAL_ARM_TRY(const Filter filter, Filter::parse("resourceType eq
//   'Microsoft.Compute/virtualMachines'")); if (filter.matches(subject)) …
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/model/arm_error.h"

namespace bootseal::model {

class Filter {
 public:
  enum class Operator : std::uint8_t { equal, not_equal, less, less_or_equal, greater, greater_or_equal };

  // What a filter is applied to.
  class Subject {
   public:
    virtual ~Subject() = default;
    // The members that may be compared, in canonical case. A comparison with another one is refused at
    // parse(). nullopt-like: an absent member compares as an empty text.
    [[nodiscard]] virtual std::string member(std::string_view name) const = 0;
    // Whether a tag has this name, and this value unless it is nullptr.
    [[nodiscard]] virtual bool has_tag(std::string_view name, const std::string* value) const;
    // A call that is not substringof, such as atScope(); false for one that is not known.
    [[nodiscard]] virtual bool call(std::string_view function,
                                    const std::vector<std::string>& arguments) const;
  };

  // `members` and `functions` = the names that may be used, in canonical case; tagName and tagValue (the
  // value of that tag, when both are joined by `and`) where "tagName" is among them. An empty text matches
  // everything. 400 InvalidFilterInQueryString with the place, for whatever does not parse, is too long (2048
  // bytes), too deep or names something else.
  static ArmResult<Filter> parse(std::string_view text, const std::vector<std::string_view>& members,
                                 const std::vector<std::string_view>& functions = {});

  // Texts are compared without regard to case.
  [[nodiscard]] bool matches(const Subject& subject) const;
  // The text that every match must have in this member (`member eq 'text'`, not below an `or` or `not`);
  // empty when there is none. For lists that can be narrowed down before they are filtered.
  [[nodiscard]] std::string required(std::string_view member, Operator comparison = Operator::equal) const;
  // As it is understood, fully in parentheses; parse() takes it.
  [[nodiscard]] std::string to_string() const;

  struct Node;

 private:
  std::shared_ptr<const Node> root_;  // nullptr = matches everything
};

}  // namespace bootseal::model
