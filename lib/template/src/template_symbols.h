// What parameters('x'), variables('x') and the functions of a template's author stand for.
#pragma once

#include <map>
#include <set>

#include "parameters.h"

namespace bootseal::templates {

class TemplateSymbols final : public Symbols {
 public:
  // Reads the declarations and settles every parameter. 400 InvalidTemplate.
  static model::ArmResult<std::unique_ptr<TemplateSymbols>> create(TemplateContext& context);

  model::ArmResult<json::Value> parameter(std::string_view name, Evaluator& evaluator) override;
  model::ArmResult<json::Value> variable(std::string_view name, Evaluator& evaluator) override;
  const UserFunction* function(std::string_view name_space, std::string_view name) override;
  std::vector<Named> resources_named(std::string_view name) override;

  [[nodiscard]] const std::vector<Parameter>& declared() const { return declared_; }
  [[nodiscard]] const std::map<std::string, json::Value>& values() const {
    return values_;
  }  // by name in lower case
  // Set once the resources are known.
  std::function<std::vector<Named>(std::string_view)> find_resources;

 private:
  explicit TemplateSymbols(TemplateContext& context) : context_(context) {}
  model::ArmStatus settle_parameters();
  model::ArmStatus read_variables();
  model::ArmStatus read_functions();
  model::ArmStatus read_function(const std::string& name_space, std::string_view name,
                                 const json::Value& definition);
  model::ArmResult<json::Value> default_of(const Parameter& parameter, Evaluator& evaluator);

  struct Variable {
    json::Value value;
    bool copy = false;  // `value` is the loop {"name","count","input"}
  };
  TemplateContext& context_;
  std::vector<Parameter> declared_;
  std::map<std::string, json::Value> values_;
  std::map<std::string, Variable> variables_;
  std::map<std::string, json::Value> variable_values_;
  std::map<std::string, UserFunction> functions_;
  std::set<std::string> in_progress_;
};

}  // namespace bootseal::templates
