// From the resources of a template to the list of what it makes: loops, conditions, children, scopes.
#pragma once

#include <map>

#include "template_symbols.h"

namespace bootseal::templates {

struct Expansion {
  std::vector<PlannedResource> resources;
  // As many as resources: what dependsOn says, and the resource it stands in.
  std::vector<std::vector<std::string>> wanted;
  std::vector<std::optional<std::size_t>> parents;
  // Of one copy loop, in the order of its index; `batch` = 0 for a parallel one.
  struct Copy {
    std::vector<std::size_t> resources;
    std::size_t batch = 0;
  };
  std::map<std::string, Copy> copies;                              // by loop name in lower case
  std::map<std::string, std::vector<std::size_t>> symbolic_names;  // in lower case
};

// 400 InvalidTemplate.
model::ArmResult<Expansion> expand_resources(TemplateContext& context, TemplateSymbols& symbols);

// The error of an expression, with the resource it belongs to said first, as Azure does. Errors that name
// their place already stay as they are.
model::ArmError at_resource(const TemplateContext& context, std::string_view path, std::string_view name,
                            const model::ArmError& error);

}  // namespace bootseal::templates
