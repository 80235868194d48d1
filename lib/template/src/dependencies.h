// Which resource needs which, and the order that follows.
#pragma once

#include "expansion.h"

namespace bootseal::templates {

// All names by which dependsOn, reference() and list…() may call a resource, in any case: its id, type/name,
// the tail of its id, its name, its symbolic name, the copy loop it comes from.
class ResourceNames {
 public:
  explicit ResourceNames(const Expansion& expansion);
  // nullptr for a name that nobody has.
  [[nodiscard]] const std::vector<std::size_t>* find(std::string_view name) const;
  // The same without the names of copy loops.
  [[nodiscard]] const std::vector<std::size_t>* find_resource(std::string_view name) const;

 private:
  std::map<std::string, std::vector<std::size_t>> resources_;
  std::map<std::string, std::vector<std::size_t>> loops_;
};

// Fills depends_on from dependsOn, parents and serial loops. 400 InvalidTemplate for a name that nobody has,
// and for a resource that is defined twice.
model::ArmStatus connect(const TemplateContext& context, Expansion& expansion, const ResourceNames& names);
// Adds a dependency that an expression implies; of a resource on itself and on what is not made: none.
void add_dependency(std::vector<PlannedResource>& resources, std::size_t from, std::size_t to);
// 400 InvalidTemplate with the way around a circle.
model::ArmResult<std::vector<std::size_t>> sort_by_dependency(const std::vector<PlannedResource>& resources);

}  // namespace bootseal::templates
