// The outputs of a template.
#pragma once

#include "template_symbols.h"

namespace bootseal::templates {

// Everything but the values: 400 InvalidTemplate.
model::ArmStatus check_outputs(TemplateContext& context, TemplateSymbols& symbols);
// {"name":{"type","value"}}, without the values of secure ones. 400 InvalidTemplate,
// DeploymentOutputEvaluationFailed.
model::ArmResult<json::Object> evaluate_outputs(const TemplateContext& context, Evaluator& evaluator);

}  // namespace bootseal::templates
