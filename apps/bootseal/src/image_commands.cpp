#include <fmt/format.h>

#include <algorithm>

#include "site_access.h"

namespace bootseal::app {

Status image_list(const Global& global) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const auto answer,
               site->call("GET", site->subscription_path() + "/providers/Bootseal.Gallery/images"));
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of images has no 'value'");
  if (global.format == cli::Format::json) {
    print_json(*list);
    return {};
  }
  if (list->get_array().empty() && global.format == cli::Format::people) {
    fmt::print("There are no images. Build one: bootseal image build debian-12-mini\n");
    return {};
  }
  cli::Table table{{"Name", "Version", "OS", "Security", "Memory", "Built"}, {}};
  for (const json::Value& image : list->get_array()) {
    const json::Value* features = cli::find(image, {"properties", "features"});
    const std::string security = features != nullptr && features->is_array() && !features->get_array().empty()
                                     ? cli::text_at(features->get_array().front(), {"value"})
                                     : "";
    table.rows.push_back({cli::text_at(image, {"name"}), cli::text_at(image, {"properties", "version"}),
                          cli::text_at(image, {"properties", "osName"}), security,
                          cli::text_at(image, {"properties", "minimumMemoryMiB"}) + " MiB",
                          cli::text_at(image, {"properties", "timeCreated"})});
  }
  print_table(global, table);
  return {};
}

}  // namespace bootseal::app
