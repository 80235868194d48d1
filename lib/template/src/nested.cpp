#include "nested.h"

#include <algorithm>

#include "functions.h"

namespace bootseal::templates {
namespace {

ExpressionTree text_tree(std::string text) {
  Expression tree;
  tree.text = std::move(text);
  return std::make_shared<const Expression>(std::move(tree));
}

// An expression whose value is this one, whatever is around it.
ExpressionTree literal(const json::Value& value) {
  Expression tree;
  if (value.is_string()) return text_tree(std::string(text_of(value)));
  if (value.is_int64()) {
    tree.kind = Expression::Kind::number;
    tree.number = value.get_int64();
    return std::make_shared<const Expression>(std::move(tree));
  }
  tree.kind = Expression::Kind::call;
  tree.text = "json";
  tree.arguments.push_back(text_tree(json::serialize(value)));
  return std::make_shared<const Expression>(std::move(tree));
}

class Isolation {
 public:
  Isolation(TemplateSymbols& symbols, Evaluator& evaluator) : symbols_(symbols), evaluator_(evaluator) {}

  model::ArmResult<json::Value> value(const json::Value& value) {
    if (value.is_string()) return text(text_of(value));
    if (const json::Array* list = value.if_array()) {
      json::Array result;
      for (const json::Value& element : *list) {
        BOOTSEAL_ARM_TRY(json::Value rewritten, this->value(element));
        result.push_back(std::move(rewritten));
      }
      return json::Value(std::move(result));
    }
    const json::Object* members = value.if_object();
    if (members == nullptr) return value;
    const bool looped = note_loops(*members);
    json::Object result;
    for (const auto& member : *members) {
      BOOTSEAL_ARM_TRY(const json::Value name, text(member.key()));
      BOOTSEAL_ARM_TRY(json::Value rewritten, this->value(member.value()));
      result[text_of(name)] = std::move(rewritten);
    }
    if (looped) --inner_loops_;
    return json::Value(std::move(result));
  }

 private:
  // A "copy" in this object makes copyIndex() inside it the nested template's own.
  bool note_loops(const json::Object& members) {
    const json::Value* copy = find_member(members, "copy");
    if (copy == nullptr || !copy->is_structured()) return false;
    ++inner_loops_;
    const auto note = [&](const json::Value& loop) {
      const json::Value* name = loop.is_object() ? find_member(loop.get_object(), "name") : nullptr;
      if (name != nullptr && name->is_string()) inner_names_.insert(model::to_lower(text_of(*name)));
    };
    if (const json::Array* list = copy->if_array())
      std::ranges::for_each(*list, note);
    else
      note(*copy);
    return true;
  }

  Outcome text(std::string_view text) {
    if (!is_expression(text)) return to_value(text);
    BOOTSEAL_ARM_TRY_STATUS(evaluator_.budget().charge(text.size()));
    BOOTSEAL_ARM_TRY(const ExpressionTree tree, parse_expression(text));
    BOOTSEAL_ARM_TRY(const ExpressionTree rewritten, rewrite(tree));
    return to_value(print_expression(*rewritten));
  }

  model::ArmResult<ExpressionTree> rewrite(const ExpressionTree& tree) {
    if (tree->kind == Expression::Kind::text || tree->kind == Expression::Kind::number) return tree;
    if (is_outer(*tree)) {
      BOOTSEAL_ARM_TRY(const json::Value known, evaluator_.expression(*tree));
      return literal(known);
    }
    if (is_call(*tree, "resourceId")) {
      // The group that it stands for is that of the outer deployment.
      const Outcome known = evaluator_.expression(*tree);
      if (known) return literal(*known);
    }
    Expression result = *tree;
    if (result.target) {
      BOOTSEAL_ARM_TRY(result.target, rewrite(result.target));
    }
    for (ExpressionTree& argument : result.arguments) {
      BOOTSEAL_ARM_TRY(argument, rewrite(argument));
    }
    if (is_reference(result) && !result.arguments.empty()) name_in_full(result);
    return std::make_shared<const Expression>(std::move(result));
  }

  [[nodiscard]] bool is_outer(const Expression& tree) const {
    for (const std::string_view name : {"resourceGroup", "subscription", "tenant", "deployment"})
      if (is_call(tree, name)) return true;
    if (!is_call(tree, "copyIndex")) return false;
    const bool named = !tree.arguments.empty() && tree.arguments.front()->kind == Expression::Kind::text;
    if (named) return !inner_names_.contains(model::to_lower(tree.arguments.front()->text));
    return inner_loops_ == 0 && !evaluator_.loops.empty();
  }

  // reference('short') means a resource of the outer template.
  void name_in_full(Expression& call) {
    const Outcome target = evaluator_.expression(*call.arguments.front());
    if (!target || !target->is_string()) return;
    const std::vector<Symbols::Named> found = symbols_.resources_named(text_of(*target));
    if (found.size() != 1) return;
    call.arguments.front() = text_tree(found.front().id);
    if (call.arguments.size() == 1) call.arguments.push_back(text_tree(found.front().api_version));
  }

  TemplateSymbols& symbols_;
  Evaluator& evaluator_;
  std::size_t inner_loops_ = 0;
  std::set<std::string> inner_names_;
};

}  // namespace

bool is_reference(const Expression& tree) {
  return is_call(tree, "reference") || (tree.kind == Expression::Kind::call && tree.name_space.empty() &&
                                        model::to_lower(tree.text).starts_with("list"));
}

void visit_references(Evaluator& evaluator, const Expression& tree,
                      const std::function<void(const Expression&)>& visit) {
  if (is_reference(tree)) visit(tree);
  if (is_call(tree, "if") && tree.arguments.size() == 3) {
    const Outcome condition = evaluator.expression(*tree.arguments[0]);
    if (condition && condition->is_bool())
      return visit_references(evaluator, *tree.arguments[condition->get_bool() ? 1 : 2], visit);
  }
  if (tree.target) visit_references(evaluator, *tree.target, visit);
  for (const ExpressionTree& argument : tree.arguments) visit_references(evaluator, *argument, visit);
}

bool has_inner_scope(const json::Object& properties) {
  const json::Value* options = find_member(properties, "expressionEvaluationOptions");
  const json::Value* scope =
      options != nullptr && options->is_object() ? find_member(options->get_object(), "scope") : nullptr;
  return scope != nullptr && scope->is_string() && model::equal_ignoring_case(text_of(*scope), "inner");
}

model::ArmResult<IsolatedTemplate> isolate(const TemplateContext& context, TemplateSymbols& symbols,
                                           Evaluator& evaluator, const json::Value& nested) {
  if (!nested.is_object())
    return TemplateContext::problem("resources", "The template of a nested deployment must be an object.");
  const json::Object& outer = context.input.document.get_object();
  Isolation isolation(symbols, evaluator);
  json::Object document;
  for (const auto& member : nested.get_object()) {
    const std::string name = model::to_lower(member.key());
    if (name == "parameters" || name == "variables" || name == "functions" || name == "definitions") continue;
    BOOTSEAL_ARM_TRY(json::Value rewritten, isolation.value(member.value()));
    document[member.key()] = std::move(rewritten);
  }
  for (const char* section : {"parameters", "functions", "definitions"})
    if (const json::Value* found = find_member(outer, section)) document[section] = *found;
  if (const json::Value* variables = find_member(outer, "variables")) {
    Evaluator without_loops(evaluator.surroundings(), symbols, nullptr, evaluator.budget());
    BOOTSEAL_ARM_TRY(json::Value rewritten, Isolation(symbols, without_loops).value(*variables));
    document["variables"] = std::move(rewritten);
  }
  IsolatedTemplate result{json::Value(std::move(document)), {}};
  for (const Parameter& parameter : symbols.declared())
    result.parameters[parameter.name] =
        json::Object{{"value", symbols.values().at(model::to_lower(parameter.name))}};
  return result;
}

}  // namespace bootseal::templates
