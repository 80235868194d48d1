#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "bootseal/base/fds.h"
#include "bootseal/cli/progress.h"
#include "bootseal/cli/vm_page.h"
#include "installed_images.h"
#include "site_access.h"
#include "ssh_key.h"

namespace bootseal::app {
namespace {

constexpr std::size_t kLongestPath = 4096;
constexpr std::size_t kTextFileLimit = std::size_t{128} << 10;

// Text of one line that can only be meant as the path of a file.
bool looks_like_path(const std::string& value) {
  if (value.find('\n') != std::string::npos) return false;
  return value.starts_with('@') || value.starts_with('/') || value.starts_with("./") ||
         value.starts_with("../") || value.starts_with("~/");
}

// The content when it names a file, else the text itself. `wanted` is what the text may be.
Result<std::string> file_or_text(const std::string& value, std::string_view wanted) {
  std::string path = value.substr(value.starts_with('@') ? 1 : 0);
  const char* home = std::getenv("HOME");
  if (path.starts_with("~/") && home != nullptr) path.replace(0, 1, home);
  std::error_code error;
  const bool may_be_path = path.size() <= kLongestPath;
  if (may_be_path && std::filesystem::exists(path, error) && !std::filesystem::is_directory(path, error)) {
    BOOTSEAL_TRY(const Bytes content, read_file(path, kTextFileLimit));
    return std::string(as_text(content));
  }
  if (!may_be_path || !looks_like_path(value)) return value;
  const bool is_folder = std::filesystem::is_directory(path, error);
  return fail(is_folder ? ErrorCode::invalid_argument : ErrorCode::not_found,
              fmt::format("{}: {}; give a file that is there, or the {} itself", path,
                          is_folder ? "a folder, not a file" : "no such file", wanted));
}

Result<json::Object> image_reference(const std::string& image) {
  json::Object reference;
  if (image.starts_with('/')) {
    reference["id"] = image;
    return reference;
  }
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= image.size();) {
    const std::size_t end = std::min(image.find(':', at), image.size());
    parts.push_back(image.substr(at, end - at));
    at = end + 1;
  }
  const bool empty_part =
      std::any_of(parts.begin(), parts.end(), [](const std::string& part) { return part.empty(); });
  if (empty_part || (parts.size() != 1 && parts.size() != 2 && parts.size() != 4)) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format(
            "'{}' is no image; wanted NAME, NAME:VERSION, PUBLISHER:OFFER:SKU:VERSION or a resource id",
            image));
  }
  if (parts.size() == 4) {
    reference["publisher"] = parts[0];
    reference["sku"] = parts[2];
  }
  reference["offer"] = parts.size() == 4 ? parts[1] : parts[0];
  if (parts.size() != 1) reference["version"] = parts.back();
  return reference;
}

Result<json::Object> os_profile(const Global& global, const VmCreateOptions& options) {
  json::Object os;
  os["computerName"] = options.vm.name;
  if (options.admin_username.empty() && (!options.ssh_keys.empty() || options.generate_ssh_keys))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} needs --admin-username: whose keys are they?",
                            options.ssh_keys.empty() ? "--generate-ssh-keys" : "--ssh-key-values"));
  if (!options.admin_username.empty()) {
    os["adminUsername"] = options.admin_username;
    std::vector<std::string> texts;
    for (const std::string& value : options.ssh_keys) {
      BOOTSEAL_TRY(texts.emplace_back(), file_or_text(value, "public key"));
    }
    if (texts.empty()) {
      std::filesystem::path made;
      BOOTSEAL_TRY(texts.emplace_back(), default_ssh_key(options.generate_ssh_keys, made));
      if (!made.empty() && !global.quiet)
        fmt::print(stderr, "made the key pair {} and {}.pub\n", made.string(), made.string());
    }
    json::Array keys;
    for (std::string& text : texts) {
      json::Object key;
      key["path"] = fmt::format("/home/{}/.ssh/authorized_keys", options.admin_username);
      key["keyData"] = std::move(text);
      keys.emplace_back(std::move(key));
    }
    json::Object ssh;
    ssh["publicKeys"] = std::move(keys);
    json::Object configuration;
    configuration["disablePasswordAuthentication"] = true;
    configuration["ssh"] = std::move(ssh);
    os["linuxConfiguration"] = std::move(configuration);
  }
  if (!options.custom_data.empty()) {
    BOOTSEAL_TRY(const std::string data, file_or_text(options.custom_data, "user data"));
    os["customData"] = to_base64(as_bytes(data));
  }
  return os;
}

constexpr std::string_view kLocation = "local";

// What the options say against each other, in the words that were typed.
Status check_create_options(const VmCreateOptions& options) {
  if (!options.location.empty() && options.location != kLocation)
    return fail(ErrorCode::invalid_argument,
                fmt::format("there is no location '{}': this site's is '{}' (and may be left out)",
                            options.location, kLocation));
  if (options.security_type == "Standard" && (options.secure_boot || options.vtpm))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not possible with --security-type Standard, which has neither Secure Boot "
                            "nor a vTPM; leave one of the two out",
                            options.secure_boot ? "--enable-secure-boot" : "--enable-vtpm"));
  const char* for_cloud_init = !options.admin_username.empty() ? "--admin-username"
                               : !options.ssh_keys.empty()     ? "--ssh-key-values"
                               : options.generate_ssh_keys     ? "--generate-ssh-keys"
                               : !options.custom_data.empty()  ? "--custom-data"
                                                               : nullptr;
  if (for_cloud_init == nullptr) return {};
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  const auto images = find_installed(paths, options.image);
  if (images.empty() || cli::text_at(images.front().manifest, {"cloudInit"}) != "false") return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("the image '{}' has no cloud-init, so {} would do nothing; leave it out, or take an "
                  "image such as debian-12",
                  options.image, for_cloud_init));
}

// exhausted when the site says that no host has the memory of the size. What it does not say is left to it.
Status check_memory(cli::SiteClient& site, const std::string& size) {
  const auto status = site.call("GET", "/bootseal/status");
  const auto sizes =
      site.call("GET", site.subscription_path() + "/providers/Microsoft.Compute/locations/local/vmSizes");
  if (!status || !sizes) return {};
  const json::Value* hosts = cli::find(status->body, {"hosts"});
  const json::Value* list = cli::find(sizes->body, {"value"});
  if (hosts == nullptr || !hosts->is_array() || hosts->get_array().empty() || list == nullptr ||
      !list->is_array())
    return {};
  const auto number = [](const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); };
  unsigned long long most = 0;
  for (const json::Value& host : hosts->get_array())
    most = std::max(most, number(cli::text_at(host, {"memoryMiB"})));
  for (const json::Value& one : list->get_array()) {
    const unsigned long long needed = number(cli::text_at(one, {"memoryInMB"}));
    if (cli::text_at(one, {"name"}) != size || most == 0 || needed <= most) continue;
    return fail(ErrorCode::exhausted, fmt::format("the size {} needs {} MiB of memory, this host has {} MiB; "
                                                  "give a smaller --size",
                                                  size, needed, most));
  }
  return {};
}

Result<json::Object> create_body(const Global& global, const VmCreateOptions& options) {
  json::Object tags;
  for (const std::string& tag : options.tags) {
    const std::size_t equals = tag.find('=');
    if (equals == 0 || equals == std::string::npos)
      return fail(ErrorCode::invalid_argument, fmt::format("the tag '{}' has no {}; wanted NAME=VALUE", tag,
                                                           equals == 0 ? "name" : "'='"));
    tags[tag.substr(0, equals)] = tag.substr(equals + 1);
  }
  json::Object properties;
  properties["hardwareProfile"] = json::Object{{"vmSize", options.size}};
  BOOTSEAL_TRY(json::Object reference, image_reference(options.image));
  json::Object storage;
  storage["imageReference"] = std::move(reference);
  storage["osDisk"] = json::Object{{"createOption", "FromImage"}};
  properties["storageProfile"] = std::move(storage);
  if (!options.security_type.empty() || options.secure_boot || options.vtpm) {
    json::Object security;
    security["securityType"] = options.security_type.empty() ? "TrustedLaunch" : options.security_type;
    json::Object uefi;
    if (options.secure_boot) uefi["secureBootEnabled"] = *options.secure_boot;
    if (options.vtpm) uefi["vTpmEnabled"] = *options.vtpm;
    if (!uefi.empty()) security["uefiSettings"] = std::move(uefi);
    properties["securityProfile"] = std::move(security);
  }
  // The last one, for it may make a key pair.
  BOOTSEAL_TRY(properties["osProfile"], os_profile(global, options));
  json::Object body;
  body["location"] = "local";
  body["tags"] = std::move(tags);
  body["properties"] = std::move(properties);
  return body;
}

Status ensure_group(cli::SiteClient& site, const std::string& group) {
  const auto there = site.call("GET", site.group_path(group));
  if (there) return {};
  if (there.error().code != ErrorCode::not_found || group != "default") return tl::unexpected(there.error());
  BOOTSEAL_TRY_STATUS(site.call("PUT", site.group_path(group), json::Object{{"location", "local"}}));
  return {};
}

std::string show_command(const VmName& vm) {
  return fmt::format("bootseal vm show {}{}", vm.name, group_flag(vm));
}

// POST of an action; waits for it unless told otherwise.
Result<json::Value> run_action(const Global& global, cli::SiteClient& site, const VmActionOptions& options,
                               const std::string& action, const json::Value& body, const std::string& query,
                               const std::string& what) {
  BOOTSEAL_TRY(
      const auto answer,
      site.call("POST", site.vm_path(options.vm.group, options.vm.name) + "/" + action, body, {}, query));
  if (options.no_wait) return json::Value();
  return wait_with_progress(global, site, answer.operation_path, what, show_command(options.vm));
}

}  // namespace

Status vm_create(const Global& global, const VmCreateOptions& options) {
  BOOTSEAL_TRY_STATUS(check_create_options(options));
  BOOTSEAL_TRY(const json::Object body, create_body(global, options));
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY_STATUS(check_memory(*site, options.size));
  BOOTSEAL_TRY_STATUS(ensure_group(*site, options.vm.group));
  auto answer =
      site->call("PUT", site->vm_path(options.vm.group, options.vm.name), body, {{"If-None-Match", "*"}});
  if (!answer && answer.error().code == ErrorCode::conflict &&
      answer.error().message.ends_with("[PreconditionFailed]")) {
    return fail(ErrorCode::already_exists, fmt::format("the VM '{}' exists already; see `{}`",
                                                       options.vm.name, show_command(options.vm)));
  }
  if (!answer) return tl::unexpected(answer.error());
  if (!options.no_wait) {
    BOOTSEAL_TRY_STATUS(wait_with_progress(global, *site, answer->operation_path,
                                           fmt::format("Creating and starting {}", options.vm.name),
                                           show_command(options.vm)));
  }
  if (global.format == cli::Format::json) {
    BOOTSEAL_TRY(const json::Value vm, get_vm(*site, options.vm));
    print_json(vm);
    return {};
  }
  if (global.quiet) return {};
  if (options.no_wait) {
    fmt::print("{} is being created. See how it is: {}\n", options.vm.name, show_command(options.vm));
  } else {
    const bool is_attested = options.security_type != "Standard" && options.vtpm.value_or(true);
    fmt::print("{} is running. {}:\n  {}\n  bootseal vm console {}{}\n", options.vm.name,
               is_attested ? "Its boot is attested when its guest has come up"
                           : "Without a vTPM its boot is not attested",
               show_command(options.vm), options.vm.name, group_flag(options.vm));
  }
  return {};
}

Status vm_list(const Global& global, const std::string& group) {
  BOOTSEAL_TRY(const auto site, open_site());
  const std::string scope = group.empty() ? site->subscription_path() : site->group_path(group);
  BOOTSEAL_TRY(const auto answer, site->call("GET", scope + "/providers/Microsoft.Compute/virtualMachines",
                                             nullptr, {}, "$expand=instanceView"));
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of VMs has no 'value'");
  if (global.format == cli::Format::json) {
    print_json(*list);
    return {};
  }
  if (list->get_array().empty() && global.format == cli::Format::people) {
    fmt::print("There are no VMs. Make one: bootseal vm create --name NAME --image IMAGE\n");
    return {};
  }
  print_table(global, cli::vm_table(list->get_array()));
  return {};
}

Status vm_show(const Global& global, const VmName& name) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const json::Value vm, get_vm(*site, name));
  if (global.format == cli::Format::json) {
    print_json(vm);
  } else if (global.format == cli::Format::people) {
    fmt::print("{}", cli::vm_page(vm, Clock::system().now()));
  } else {
    print_table(global, cli::vm_table({vm}));
  }
  return {};
}

Status vm_power(const Global& global, const VmActionOptions& options, const std::string& action) {
  struct Words {
    const char* action;
    const char* path;
    const char* query;
    const char* doing;
    const char* done;
    const char* asked;
  };
  static constexpr Words kWords[] = {
      {"start", "start", "", "Starting", "is running", "has been asked to start"},
      {"stop", "powerOff", "skipShutdown=false", "Shutting down", "is stopped",
       "has been asked to shut down"},
      {"kill", "powerOff", "skipShutdown=true", "Ending", "is stopped", "is being ended"},
      {"deallocate", "deallocate", "", "Shutting down", "is deallocated", "has been asked to shut down"},
      {"restart", "restart", "", "Restarting", "is running again", "has been asked to restart"}};
  const auto* words =
      std::find_if(std::begin(kWords), std::end(kWords), [&](const Words& w) { return action == w.action; });
  BOOTSEAL_CHECK(words != std::end(kWords));
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const json::Value before, get_vm(*site, options.vm));
  const std::string power = cli::power_state(before);
  const bool is_so_already = (action == "start" && power == "running") ||
                             ((action == "stop" || action == "kill") && power == "stopped");
  BOOTSEAL_TRY_STATUS(run_action(global, *site, options, words->path, nullptr, words->query,
                                 fmt::format("{} {}", words->doing, options.vm.name)));
  if (global.format == cli::Format::json) {
    BOOTSEAL_TRY(const json::Value vm, get_vm(*site, options.vm));
    print_json(vm);
  } else if (!global.quiet && options.no_wait) {
    fmt::print("{} {}. See how it is: {}\n", options.vm.name, words->asked, show_command(options.vm));
  } else if (!global.quiet) {
    fmt::print("{} {}{}\n", options.vm.name, words->done, is_so_already ? " already" : "");
  }
  return {};
}

Status vm_delete(const Global& global, const VmActionOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY_STATUS(get_vm(*site, options.vm));
  BOOTSEAL_TRY_STATUS(confirm(
      options.yes, fmt::format("Delete the VM '{}' with its disk, its TPM and its key?", options.vm.name)));
  BOOTSEAL_TRY(const auto answer, site->call("DELETE", site->vm_path(options.vm.group, options.vm.name)));
  if (!options.no_wait) {
    BOOTSEAL_TRY_STATUS(wait_with_progress(global, *site, answer.operation_path,
                                           fmt::format("Deleting {}", options.vm.name), "bootseal vm list"));
  }
  if (!global.quiet && global.format == cli::Format::people)
    fmt::print("{} is {}\n", options.vm.name, options.no_wait ? "being deleted" : "deleted");
  return {};
}

Status vm_attest(const Global& global, const VmActionOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const json::Value vm, get_vm(*site, options.vm));
  if (!cli::has_vtpm(vm))
    return fail(
        ErrorCode::conflict,
        fmt::format("'{}' has no vTPM, so it gives no evidence and is never attested", options.vm.name));
  BOOTSEAL_TRY_STATUS(refuse_stopped(vm, options.vm, "only a running VM gives evidence"));
  BOOTSEAL_TRY(const json::Value verdict,
               run_action(global, *site, options, "attest", nullptr, "",
                          fmt::format("Waiting for fresh evidence of {}", options.vm.name)));
  const std::string status = cli::text_at(verdict, {"status"});
  if (global.format == cli::Format::json) {
    print_json(verdict);
  } else if (options.no_wait) {
    fmt::print("{} has been asked for evidence. See the verdict: {}\n", options.vm.name,
               show_command(options.vm));
    return {};
  } else {
    fmt::print("{} is {}\n", options.vm.name, status);
    if (const json::Value* reasons = cli::find(verdict, {"reasons"});
        reasons != nullptr && reasons->is_array()) {
      for (const json::Value& reason : reasons->get_array()) {
        fmt::print("  {}: {}\n", cli::printable(cli::text_at(reason, {"severity"})),
                   cli::printable(cli::text_at(reason, {"message"})));
      }
    }
  }
  if (status == "Healthy" || options.no_wait) return {};
  return fail(ErrorCode::conflict,
              fmt::format("'{}' is not Healthy but {}; `{}` shows why", options.vm.name,
                          status.empty() ? "without a verdict" : status, show_command(options.vm)));
}

Status vm_reset_guest_state(const Global& global, const VmActionOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const json::Value vm, get_vm(*site, options.vm));
  BOOTSEAL_TRY_STATUS(confirm(
      options.yes,
      fmt::format("Give '{}' a new TPM and new UEFI variables? What is sealed to the old ones is lost.",
                  options.vm.name)));
  json::Object body;
  body["confirm"] = cli::text_at(vm, {"properties", "vmId"});
  BOOTSEAL_TRY_STATUS(run_action(global, *site, options, "resetGuestState", body, "",
                                 fmt::format("Making a new guest state for {}", options.vm.name)));
  if (!global.quiet)
    fmt::print("{} has a new guest state; the old file was kept beside it\n", options.vm.name);
  return {};
}

Status vm_log(const VmLogOptions& options) {
  BOOTSEAL_TRY(const auto site, open_site());
  BOOTSEAL_TRY(const std::string log,
               site->text(site->vm_path(options.vm.group, options.vm.name) + "/serialLog"));
  const bool is_raw = options.raw || ::isatty(STDOUT_FILENO) != 1;
  return cli::write_output(is_raw ? log : cli::without_terminal_controls(log));
}

}  // namespace bootseal::app
