// Templates from tenants: a plan or one error; in a plan everything comes after what it depends on, and what
// was known makes the same plan again.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "bootseal/template/plan.h"
#include "bootseal/template/what_if.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto document = templates::read_tolerant_json(text, {.bytes = 65536, .depth = 32, .values = 4096});
  if (!document) return 0;
  templates::PlanInput input;
  input.document = *document;
  input.surroundings.scope = "/subscriptions/s/resourceGroups/g";
  input.surroundings.resource_group = {{"name", "g"}, {"location", "local"}};
  input.parameters = {{"name", json::Object{{"value", "vt"}}}};
  input.limits = {.work = 2'000'000, .depth = 100, .text = 100'000};
  input.where = [text](std::string_view path) { return templates::locate(text, path); };
  const templates::PlanInput again_input = input;
  auto plan = templates::Plan::create(std::move(input));
  if (!plan) {
    BOOTSEAL_CHECK(!templates::is_deferred(plan.error()));
    BOOTSEAL_CHECK(!plan.error().message.empty());
    return 0;
  }
  const auto& resources = (*plan)->resources();
  std::vector<bool> made(resources.size(), false);
  for (const std::size_t index : (*plan)->order()) {
    for (const std::size_t to : resources[index].depends_on) BOOTSEAL_CHECK(made[to]);
    made[index] = true;
    const auto body = (*plan)->preview(index);
    if (body) BOOTSEAL_CHECK(templates::property_changes(*body, *body).empty());
  }
  templates::PlanInput known = again_input;
  known.parameters = (*plan)->known_parameters();
  auto again = templates::Plan::create(std::move(known));
  if (!again) return 0;  // a default value may be null, which cannot be given
  BOOTSEAL_CHECK((*again)->resources().size() == resources.size());
  for (std::size_t i = 0; i < resources.size(); ++i)
    BOOTSEAL_CHECK((*again)->resources()[i].id == resources[i].id);
  return 0;
}
