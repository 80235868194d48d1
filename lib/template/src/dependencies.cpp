#include "dependencies.h"

#include <algorithm>
#include <queue>

#include "functions.h"
#include "resource_ids.h"

namespace bootseal::templates {
namespace {

void note(std::vector<std::size_t>& list, std::size_t index) {
  if (list.empty() || list.back() != index) list.push_back(index);
}

// The names of a circle among the resources that could not be ordered.
std::string circle_among(const std::vector<PlannedResource>& resources,
                         const std::vector<std::size_t>& missing) {
  std::vector<std::size_t> way;
  std::size_t at = static_cast<std::size_t>(
      std::ranges::find_if(missing, [](std::size_t count) { return count > 0; }) - missing.begin());
  // Everything left waits for something left: following that must come around.
  while (std::ranges::find(way, at) == way.end()) {
    way.push_back(at);
    at = *std::ranges::find_if(resources[at].depends_on, [&](std::size_t next) { return missing[next] > 0; });
  }
  std::string text;
  for (auto step = std::ranges::find(way, at); step != way.end(); ++step)
    text += resources[*step].type + "/" + resources[*step].name + " -> ";
  return text + resources[at].type + "/" + resources[at].name;
}

}  // namespace

ResourceNames::ResourceNames(const Expansion& expansion) {
  for (std::size_t i = 0; i < expansion.resources.size(); ++i) {
    const PlannedResource& resource = expansion.resources[i];
    for (const std::string& name : {resource.id, interleave(resource.type, split_path(resource.name)),
                                    resource.type + "/" + resource.name, resource.name})
      note(resources_[model::to_lower(name)], i);
  }
  // A symbolic name is the author's own: it wins over a resource that happens to be called so.
  for (const auto& [name, indices] : expansion.symbolic_names) resources_[name] = indices;
  for (const auto& [name, copy] : expansion.copies) loops_[name] = copy.resources;
}

const std::vector<std::size_t>* ResourceNames::find_resource(std::string_view name) const {
  const auto found = resources_.find(model::to_lower(name));
  return found == resources_.end() ? nullptr : &found->second;
}

const std::vector<std::size_t>* ResourceNames::find(std::string_view name) const {
  if (const auto* found = find_resource(name)) return found;
  const auto loop = loops_.find(model::to_lower(name));
  return loop == loops_.end() ? nullptr : &loop->second;
}

void add_dependency(std::vector<PlannedResource>& resources, std::size_t from, std::size_t to) {
  if (from == to || !resources[from].is_made() || !resources[to].is_made()) return;
  std::vector<std::size_t>& list = resources[from].depends_on;
  const auto place = std::ranges::lower_bound(list, to);
  if (place == list.end() || *place != to) list.insert(place, to);
}

model::ArmStatus connect(const TemplateContext& context, Expansion& expansion, const ResourceNames& names) {
  std::vector<PlannedResource>& resources = expansion.resources;
  std::map<std::string, std::size_t> ids;
  for (std::size_t i = 0; i < resources.size(); ++i) {
    if (!resources[i].is_made()) continue;
    if (ids.emplace(model::to_lower(resources[i].id), i).second) continue;
    return TemplateContext::problem(
        resources[i].path,
        fmt::format("The resource '{}'{} is defined multiple times in a template. Please see "
                    "https://aka.ms/arm-syntax-resources for usage details.",
                    resources[i].id, context.at(resources[i].path)));
  }
  for (std::size_t i = 0; i < resources.size(); ++i) {
    for (const std::string& wanted : expansion.wanted[i]) {
      const std::vector<std::size_t>* found = names.find(wanted);
      if (found == nullptr) {
        return TemplateContext::problem(
            resources[i].path,
            fmt::format(
                "The resource '{}' is not defined in the template, but '{}'{} depends on it. Please see "
                "https://aka.ms/arm-syntax for usage details.",
                wanted, resources[i].name, context.at(resources[i].path)));
      }
      for (const std::size_t to : *found) {
        if (to == i && found->size() == 1) {
          return TemplateContext::problem(
              resources[i].path,
              fmt::format("The resource '{}'{} depends on itself.", wanted, context.at(resources[i].path)));
        }
        add_dependency(resources, i, to);
      }
    }
    if (expansion.parents[i]) add_dependency(resources, i, *expansion.parents[i]);
  }
  for (const auto& [name, copy] : expansion.copies) {
    if (copy.batch == 0) continue;
    for (std::size_t i = copy.batch; i < copy.resources.size(); ++i) {
      const std::size_t batch_begin = (i / copy.batch - 1) * copy.batch;
      for (std::size_t k = batch_begin; k < batch_begin + copy.batch; ++k)
        add_dependency(resources, copy.resources[i], copy.resources[k]);
    }
  }
  return {};
}

model::ArmResult<std::vector<std::size_t>> sort_by_dependency(const std::vector<PlannedResource>& resources) {
  std::vector<std::size_t> missing(resources.size(),
                                   0);  // of each: how many dependencies are not ordered yet
  std::vector<std::vector<std::size_t>> dependents(resources.size());
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  std::size_t wanted = 0;
  for (std::size_t i = 0; i < resources.size(); ++i) {
    if (!resources[i].is_made()) continue;
    ++wanted;
    missing[i] = resources[i].depends_on.size();
    for (const std::size_t to : resources[i].depends_on) dependents[to].push_back(i);
    if (missing[i] == 0) ready.push(i);
  }
  std::vector<std::size_t> order;
  while (!ready.empty()) {
    const std::size_t next = ready.top();
    ready.pop();
    order.push_back(next);
    for (const std::size_t dependent : dependents[next])
      if (--missing[dependent] == 0) ready.push(dependent);
  }
  if (order.size() == wanted) return order;
  return TemplateContext::problem("resources",
                                  fmt::format("Circular dependency detected on resource: {}. Please see "
                                              "https://aka.ms/arm-syntax-resources for usage details.",
                                              circle_among(resources, missing)));
}

}  // namespace bootseal::templates
