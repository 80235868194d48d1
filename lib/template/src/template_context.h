// What the parts of one plan share: the template, what is around it, and how a mistake in it is told.
#pragma once

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>

#include "bootseal/template/plan.h"

namespace bootseal::templates {

struct TemplateContext {
  PlanInput input;
  Budget budget;

  explicit TemplateContext(PlanInput given) : input(std::move(given)), budget(input.limits) {}

  // " at line '3' and column '9'", or nothing where the text is not at hand.
  [[nodiscard]] std::string at(std::string_view path) const {
    const std::optional<TextPlace> place = input.where ? input.where(path) : std::nullopt;
    if (!place) return {};
    return fmt::format(" at line '{}' and column '{}'", place->line, place->column);
  }
  // 400 InvalidTemplate about the value at `path`.
  [[nodiscard]] static tl::unexpected<model::ArmError> problem(std::string_view path,
                                                               std::string_view message) {
    return model::refuse(400, "InvalidTemplate",
                         fmt::format("Deployment template validation failed: '{}'.", message),
                         std::string(path));
  }
};

}  // namespace bootseal::templates
