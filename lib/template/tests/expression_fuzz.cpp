// Expressions from tenants: parse or fail; printing and parsing are inverse; evaluation ends within its
// budget.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>

#include "bootseal/template/evaluator.h"

namespace {

using namespace bootseal;

class NoSymbols final : public templates::Symbols {
 public:
  model::ArmResult<json::Value> parameter(std::string_view name,
                                          templates::Evaluator& /*evaluator*/) override {
    if (name == "n") return json::Value(7);
    return json::Value(json::Object{{"a", json::Array{1, "two", nullptr}}});
  }
  model::ArmResult<json::Value> variable(std::string_view name,
                                         templates::Evaluator& /*evaluator*/) override {
    return json::Value(boost::json::string(name));
  }
  const templates::UserFunction* function(std::string_view /*name_space*/,
                                          std::string_view /*name*/) override {
    return nullptr;
  }
  std::vector<Named> resources_named(std::string_view /*name*/) override { return {}; }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The readers let only UTF-8 through.
  if (!json::parse(json::serialize(json::Value(boost::json::string(text))))) return 0;
  if (!templates::is_expression(text)) {
    BOOTSEAL_CHECK(templates::unescape_text(templates::escape_text(text)) == text);
    return 0;
  }
  const auto tree = templates::parse_expression(text);
  if (!tree) return 0;
  const std::string printed = templates::print_expression(**tree);
  const auto again = templates::parse_expression(printed);
  BOOTSEAL_CHECK(again || printed.size() > templates::kMaxExpressionBytes);
  if (again) BOOTSEAL_CHECK(templates::print_expression(**again) == printed);

  templates::Surroundings surroundings;
  surroundings.scope = "/subscriptions/s/resourceGroups/g";
  NoSymbols symbols;
  templates::Budget budget({.work = 200'000, .depth = 100, .text = 10'000});
  templates::Evaluator evaluator(surroundings, symbols, nullptr, budget);
  evaluator.loops = {{"loop", 3}};
  evaluator.volatile_functions = true;
  const auto value = evaluator.expression(**tree);
  if (value)
    BOOTSEAL_CHECK(json::parse(json::serialize(*value), {.bytes = 10'000'000, .depth = 200}).has_value());
  return 0;
}
