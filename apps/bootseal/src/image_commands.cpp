#include <fmt/format.h>

#include <algorithm>

#include "installed_images.h"
#include "site_access.h"

namespace bootseal::app {
namespace {

Result<std::vector<InstalledImage>> require_installed(const Paths& paths, const std::string& reference) {
  auto images = find_installed(paths, reference);
  if (!images.empty()) return images;
  return fail(ErrorCode::not_found,
              fmt::format("there is no image '{}' here; see: bootseal image list", reference));
}

// conflict, naming the VM, when one is made from the image. Without a site that runs nobody can say.
Status refuse_used(const Paths& paths, const InstalledImage& image) {
  const auto site = open_site();
  std::error_code error;
  const std::filesystem::directory_iterator first(paths.home / "vms", error);
  const bool has_none = error == std::errc::no_such_file_or_directory ||
                        (!error && first == std::filesystem::directory_iterator());
  if (!site && site.error().code == ErrorCode::not_found && has_none) return {};
  if (!site) return tl::unexpected(site.error());
  BOOTSEAL_TRY(const auto answer, (*site)->call("GET", (*site)->subscription_path() +
                                                           "/providers/Microsoft.Compute/virtualMachines"));
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of VMs has no 'value'");
  for (const json::Value& vm : list->get_array()) {
    const json::Value* reference = cli::find(vm, {"properties", "storageProfile", "imageReference"});
    if (reference == nullptr || cli::text_at(*reference, {"exactVersion"}) != image.version) continue;
    const std::string id = cli::text_at(*reference, {"id"});
    if (cli::text_at(*reference, {"offer"}) != image.name && id.find("/" + image.name) == std::string::npos)
      continue;
    return fail(ErrorCode::conflict,
                fmt::format("the disk of the VM '{}' is built on the image '{}:{}'; delete the VM first",
                            cli::text_at(vm, {"name"}), image.name, image.version));
  }
  return {};
}

}  // namespace

Status image_show(const Global& global, const std::string& reference) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(const auto images, require_installed(paths, reference));
  const InstalledImage& image = images.front();
  const json::Value& manifest = image.manifest;
  if (global.format == cli::Format::json) {
    print_json(manifest);
    return {};
  }
  const auto text = [&](std::initializer_list<std::string_view> path) {
    return cli::printable(cli::text_at(manifest, path));
  };
  cli::Table table{{"Property", "Value"}, {}};
  table.rows = {{"name", image.name},
                {"version", image.version},
                {"description", text({"description"})},
                {"system", text({"osName"})},
                {"security", text({"features", "securityType"})},
                {"memory", text({"minimumMemoryMiB"}) + " MiB at least"},
                {"users, keys and data",
                 text({"cloudInit"}) == "true" ? "taken by cloud-init" : "not taken: it has no cloud-init"},
                {"built", text({"createdTime"})},
                {"folder", image.folder.string()}};
  if (const json::Value* chain = cli::find(manifest, {"bootChain"}); chain != nullptr && chain->is_array()) {
    for (const json::Value& part : chain->get_array())
      table.rows.push_back(
          {cli::printable(cli::text_at(part, {"role"})),
           cli::printable(cli::text_at(part, {"version"}) + " " + cli::text_at(part, {"file"}))});
  }
  print_table(global, table);
  return {};
}

Status image_delete(const Global& global, const std::string& reference, bool yes) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(const auto images, require_installed(paths, reference));
  if (images.size() > 1) {
    std::string versions;
    for (const InstalledImage& image : images) versions += (versions.empty() ? "" : ", ") + image.version;
    return fail(ErrorCode::invalid_argument,
                fmt::format("the image '{0}' has the versions {1}; say which: bootseal image delete {0}:{2}",
                            reference, versions, images.front().version));
  }
  const InstalledImage& image = images.front();
  BOOTSEAL_TRY_STATUS(refuse_used(paths, image));
  BOOTSEAL_TRY_STATUS(confirm(yes, fmt::format("Delete the image '{}:{}'?", image.name, image.version)));
  // Nobody can make a VM from it any more; one that was made meanwhile gets it back. What a crash leaves here
  // goes with the next build.
  const std::filesystem::path aside =
      paths.home / fmt::format(".image-build-{}-{}-deleted", image.name, image.version);
  std::error_code error;
  std::filesystem::rename(image.folder, aside, error);
  if (error)
    return fail(error == std::errc::permission_denied ? ErrorCode::permission_denied : ErrorCode::io_error,
                fmt::format("removing {}: {}", image.folder.string(), error.message()));
  if (const Status used = refuse_used(paths, image); !used) {
    std::filesystem::rename(aside, image.folder, error);
    return used;
  }
  std::filesystem::remove_all(aside, error);
  if (error)
    return fail(ErrorCode::io_error, fmt::format("removing {}: {}", aside.string(), error.message()));
  std::filesystem::remove(image.folder.parent_path(), error);  // when it was the last version
  if (!global.quiet && global.format == cli::Format::people)
    fmt::print("the image '{}:{}' is deleted\n", image.name, image.version);
  return {};
}

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
