// What the functions of the template language share.
#pragma once

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/model/resource_id.h"
#include "bootseal/template/evaluator.h"

namespace bootseal::templates {

using Outcome = model::ArmResult<json::Value>;

inline std::string_view text_of(const json::Value& value) {
  return {value.get_string().data(), value.get_string().size()};
}
inline json::Value to_value(std::string_view text) {
  return json::Value(boost::json::string(text));
}
// "a string", "an integer", …
std::string_view kind_name(const json::Value& value);
// As string(): texts as they are, True and False, everything else its JSON text.
std::string to_text(const json::Value& value);
// Texts as .NET counts them: UTF-16 code units. A lone surrogate becomes U+FFFD on the way back.
std::u16string to_utf16(std::string_view text);
std::string to_utf8(std::u16string_view text);

// One call of a function whose arguments are evaluated before it.
struct Call {
  std::string_view name;
  std::vector<json::Value> arguments;
  Evaluator& evaluator;

  [[nodiscard]] std::size_t count() const { return arguments.size(); }
  [[nodiscard]] tl::unexpected<model::ArmError> refuse(std::string_view why) const {
    return invalid_template(fmt::format("Unable to evaluate template language function '{}': {}", name, why));
  }
  [[nodiscard]] tl::unexpected<model::ArmError> wrong(std::size_t index, std::string_view wanted) const {
    return refuse(
        fmt::format("argument {} must be {}, it is {}.", index + 1, wanted, kind_name(arguments[index])));
  }
  model::ArmResult<std::string_view> text(std::size_t index) const {
    if (!arguments[index].is_string()) return wrong(index, "a string");
    return text_of(arguments[index]);
  }
  model::ArmResult<std::int64_t> integer(std::size_t index) const;
  model::ArmResult<bool> boolean(std::size_t index) const {
    if (!arguments[index].is_bool()) return wrong(index, "true or false");
    return arguments[index].get_bool();
  }
  model::ArmResult<const json::Array*> array(std::size_t index) const {
    if (!arguments[index].is_array()) return wrong(index, "an array");
    return &arguments[index].get_array();
  }
  model::ArmResult<const json::Object*> object(std::size_t index) const {
    if (!arguments[index].is_object()) return wrong(index, "an object");
    return &arguments[index].get_object();
  }
  // Refuses a text beyond the limit before it is made.
  [[nodiscard]] model::ArmStatus allow_text(std::uint64_t bytes) const;
};

using Builtin = Outcome (*)(Call& call);
// A function that chooses itself which arguments are evaluated.
using LazyBuiltin = Outcome (*)(Evaluator& evaluator, const Expression& call);

inline constexpr std::size_t kAnyCount = 4096;
struct Function {
  std::size_t minimum = 0;
  std::size_t maximum = 0;
  Builtin eager = nullptr;
  LazyBuiltin lazy = nullptr;
};
using FunctionTable = std::map<std::string, Function, std::less<>>;  // by name in lower case

// All of them; made once.
const FunctionTable& functions();
void add_text_functions(FunctionTable& table);
void add_encoding_functions(FunctionTable& table);
void add_number_functions(FunctionTable& table);
void add_logic_functions(FunctionTable& table);
void add_collection_functions(FunctionTable& table);
void add_object_functions(FunctionTable& table);
void add_lambda_functions(FunctionTable& table);
void add_date_functions(FunctionTable& table);
void add_network_functions(FunctionTable& table);
void add_resource_functions(FunctionTable& table);
void add_deployment_functions(FunctionTable& table);

// .NET's composite format, "{0}-{1,5:D3}".
Outcome format_text(Call& call);

}  // namespace bootseal::templates
