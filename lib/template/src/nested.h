// A nested deployment with the outer scope (Azure's default): its template uses the parameters, variables and
// functions of the template around it. It becomes a template of its own.
#pragma once

#include "template_symbols.h"

namespace bootseal::templates {

// True for a nested deployment whose expressions are its own (expressionEvaluationOptions.scope = inner).
bool has_inner_scope(const json::Object& properties);

struct IsolatedTemplate {
  json::Value document;
  json::Object parameters;  // {"name":{"value":…}}: those of the template around it
};
// `evaluator` is that of the nested deployment's resource, with the loops around it. What only the outer
// template knows (its loops, its group, its deployment, short names of resources) is written into the
// expressions.
model::ArmResult<IsolatedTemplate> isolate(const TemplateContext& context, TemplateSymbols& symbols,
                                           Evaluator& evaluator, const json::Value& nested);

// Visits every call of reference() or list…() that an expression makes; the branch of an if() that is not
// taken is left out where its condition is known.
void visit_references(Evaluator& evaluator, const Expression& tree,
                      const std::function<void(const Expression&)>& visit);
bool is_reference(const Expression& tree);

}  // namespace bootseal::templates
