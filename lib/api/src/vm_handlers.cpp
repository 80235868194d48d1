#include <fmt/format.h>

#include "bootseal/crypto/password_hash.h"
#include "bootseal/gallery/image.h"
#include "bootseal/model/virtual_machine.h"
#include "bootseal/model/vm_size.h"
#include "changes.h"
#include "service.h"
#include "vm_network.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;
using model::OperationKind;
using net::Request;
using net::Response;

bool wants_instance_view(const Request& request) {
  const auto expand = request.query_value("$expand");
  return expand && model::equal_ignoring_case(*expand, "instanceView");
}

ArmResult<Response> list_vms(Service& service, const Caller& caller, const Request& request,
                             const std::string& group_key) {
  BOOTSEAL_ARM_TRY(const auto records, service.database.vm_list(group_key));
  const bool with_view = wants_instance_view(request);
  const std::string action = std::string(model::kVirtualMachineType) + "/read";
  std::vector<ListItem> items;
  for (const auto& record : records) {
    if (!may(service, caller, action, record->id.to_string())) continue;
    items.push_back(
        {record->id.key(), [&service, record, with_view] { return vm_answer(service, *record, with_view); }});
  }
  return page_of(request, items);
}

ArmResult<Response> list_all(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  return list_vms(service, caller, request, {});
}

ArmResult<Response> list_in_group(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const GroupRecord group, find_group(service, request));
  return list_vms(service, caller, request,
                  model::ResourceId::of_group(group.subscription, group.name).key());
}

ArmResult<Response> get_vm(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const VmRecord record, find_vm(service, request));
  Response response = Response::json(200, vm_answer(service, record, wants_instance_view(request)));
  response.headers.emplace_back("ETag", record.etag());
  return response;
}

ArmResult<Response> get_instance_view(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const VmRecord record, find_vm(service, request));
  return Response::json(200, vm_instance_view(service, record));
}

ArmResult<gallery::ImageManifest> check_image(const Service& service, const model::VmSpec& spec) {
  const auto image = gallery::find_image(service.options.images, spec.image.image_name());
  if (!image) {
    const std::string why = image.error().describe();
    return model::refuse(
        400, "InvalidParameter",
        fmt::format(
            "The platform image '{}' is not available: {}. `bootseal image list` shows what there is.",
            spec.image.describe(), why),
        "imageReference");
  }
  const gallery::ImageManifest& manifest = image->manifest;
  const bool supports = manifest.hyper_v_generation == "V2" &&
                        manifest.security_type.find("TrustedLaunch") != std::string::npos;
  if (spec.security.type == model::SecurityType::trusted_launch && !supports) {
    return model::refuse(400, "BadRequest",
                         fmt::format("Use of TrustedLaunch setting is not supported for the provided image "
                                     "'{}'. Please select a Trusted Launch supported Gen2 image, or "
                                     "securityType 'Standard'.",
                                     manifest.name),
                         "securityProfile.securityType");
  }
  const model::VmSize* size = model::find_vm_size(spec.size);
  if (size != nullptr && size->memory_mib < manifest.minimum_memory_mib) {
    return model::invalid_parameter(
        "vmSize", fmt::format("The VM size '{}' has {} MiB of memory, the image '{}' needs at least {} MiB.",
                              size->name, size->memory_mib, manifest.name, manifest.minimum_memory_mib));
  }
  return manifest;
}

Response changed_answer(Service& service, const Request& request, const VmRecord& record, int status) {
  Response response = Response::json(status, vm_answer(service, record, false));
  response.headers.emplace_back("ETag", record.etag());
  if (!record.operation_id.empty()) add_operation_headers(service, request, record.operation_id, response);
  return response;
}

// Stores what is desired now, with the operation that brings it about.
ArmResult<Response> store_change(Service& service, const Request& request, VmRecord record,
                                 OperationKind kind) {
  const bool is_new = record.revision == 0;
  BOOTSEAL_ARM_TRY(const auto current, current_operation(service, record));
  if (record.deleting)
    return model::refuse(409, "OperationNotAllowed",
                         fmt::format("The virtual machine '{}' is being deleted.", record.id.name));
  if (current) {
    return model::refuse(
        409, "OperationNotAllowed",
        fmt::format(
            "Another operation ({}) is going on for the virtual machine '{}'. Try again when it has ended.",
            model::to_string(current->kind), record.id.name));
  }
  const Change change = begin_operation(std::move(record), std::nullopt, kind, service.now());
  const Status stored = service.database.put_vm(change.record, change.operations);
  if (!stored && stored.error().code == ErrorCode::conflict) {
    return model::refuse(409, "Conflict",
                         fmt::format("The virtual machine '{}' was changed at the same moment. Try again.",
                                     change.record.id.name));
  }
  BOOTSEAL_ARM_TRY_STATUS(stored);
  service.reconciler.wake(change.record.id.key());
  return changed_answer(service, request, change.record, is_new ? 201 : 200);
}

// From here on there is only a password's hash. The guest got it at its first start: it does not change.
ArmStatus settle_password(json::Object& desired, const json::Object* existing) {
  const std::string password = model::take_password(desired);
  if (password.empty()) return {};
  if (existing == nullptr) {
    BOOTSEAL_ARM_TRY(std::string hash, crypto::hash_password(password));
    model::set_password_hash(desired, std::move(hash));
    return {};
  }
  if (crypto::is_password_of(password, model::password_hash_of(*existing))) return {};
  return model::refuse(
      409, "PropertyChangeNotAllowed",
      "Changing property 'osProfile.adminPassword' is not allowed. It was handed to the guest "
      "at its first start; change it there.",
      "osProfile.adminPassword");
}

ArmResult<Response> create_vm(Service& service, const Request& request, const model::ResourceId& id,
                              const json::Value& body) {
  VmRecord record;
  record.id = id;
  BOOTSEAL_ARM_TRY(record.desired, model::desired_from_put(body, id, nullptr));
  BOOTSEAL_ARM_TRY_STATUS(settle_password(record.desired, nullptr));
  BOOTSEAL_ARM_TRY(const model::VmSpec spec, model::spec_of(record.desired));
  BOOTSEAL_ARM_TRY(const gallery::ImageManifest manifest, check_image(service, spec));
  record.vm_id = VmId::random();
  record.time_created = service.now();
  record.time_changed = record.time_created;
  record.image_name = manifest.name;
  record.image_version = manifest.version;
  record.os_name = manifest.os_name;
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY_STATUS(settle_interfaces(service, id, record.desired));
  return store_change(service, request, std::move(record), OperationKind::create);
}

// A change of what the host does not need to know of ends at once.
bool concerns_host(const VmRecord& before, const json::Object& after) {
  const auto old_spec = model::spec_of(before.desired);
  const auto new_spec = model::spec_of(after);
  return !before.created || !old_spec || !new_spec || old_spec->size != new_spec->size ||
         old_spec->security != new_spec->security || old_spec->interfaces != new_spec->interfaces;
}

// The security profile is what the firmware and the TPM begin a boot with: it changes between boots only.
ArmStatus check_security_change(const Service& service, const VmRecord& before, const model::VmSpec& after) {
  const auto old_spec = model::spec_of(before.desired);
  if (!before.created || (old_spec && old_spec->security == after.security)) return {};
  const auto status = service.board.get(before.vm_id);
  if (status && status->power == "Stopped" && service.board.host_answers()) return {};
  return model::refuse(
      409, "OperationNotAllowed",
      fmt::format("Changing property 'securityProfile.uefiSettings' is not allowed while the virtual machine "
                  "'{}' is running. Deallocate the virtual machine and try again: `bootseal vm stop {}`.",
                  before.id.name, before.id.name),
      "securityProfile.uefiSettings");
}

ArmResult<Response> update_vm(Service& service, const Request& request, VmRecord record,
                              json::Object desired) {
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY_STATUS(settle_interfaces(service, record.id, desired));
  BOOTSEAL_ARM_TRY(const model::VmSpec spec, model::spec_of(desired));
  BOOTSEAL_ARM_TRY_STATUS(check_security_change(service, record, spec));
  const bool host_matters = concerns_host(record, desired);
  if (host_matters) BOOTSEAL_ARM_TRY_STATUS(check_image(service, spec));
  if (desired != record.desired) {
    ++record.version;
    record.time_changed = service.now();
  }
  if (const auto old_spec = model::spec_of(record.desired);
      !old_spec || old_spec->security != spec.security) {
    record.expectation_due = true;
    record.expectation_changed = service.now();
  }
  record.desired = std::move(desired);
  if (!host_matters) {
    if (record.deleting)
      return model::refuse(409, "OperationNotAllowed",
                           fmt::format("The virtual machine '{}' is being deleted.", record.id.name));
    const Status stored = service.database.put_vm(record);
    if (!stored && stored.error().code == ErrorCode::conflict) {
      return model::refuse(
          409, "Conflict",
          fmt::format("The virtual machine '{}' was changed at the same moment. Try again.", record.id.name));
    }
    BOOTSEAL_ARM_TRY_STATUS(stored);
    record.operation_id.clear();  // an operation that is going on is not this one
    return changed_answer(service, request, record, 200);
  }
  // A creation that failed is tried again.
  const OperationKind kind = record.created ? OperationKind::update : OperationKind::create;
  return store_change(service, request, std::move(record), kind);
}

ArmResult<Response> put_vm(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const model::ResourceId id, vm_id_of(service, request));
  BOOTSEAL_ARM_TRY(const GroupRecord group, find_group(service, request));
  if (group.deleting) {
    return model::refuse(
        409, "ResourceGroupBeingDeleted",
        fmt::format("The resource group '{}' is in deprovisioning state and cannot perform this operation.",
                    group.name));
  }
  BOOTSEAL_ARM_TRY(auto existing, service.database.vm(id.key()));
  BOOTSEAL_ARM_TRY_STATUS(check_preconditions(request, existing ? &*existing : nullptr));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  if (!existing) return create_vm(service, request, id, body);
  BOOTSEAL_ARM_TRY(json::Object desired, model::desired_from_put(body, id, &existing->desired));
  BOOTSEAL_ARM_TRY_STATUS(settle_password(desired, &existing->desired));
  return update_vm(service, request, *std::move(existing), std::move(desired));
}

ArmResult<Response> patch_vm(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(VmRecord record, find_vm(service, request));
  BOOTSEAL_ARM_TRY_STATUS(check_preconditions(request, &record));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(json::Object desired, model::desired_from_patch(body, record.id, record.desired));
  return update_vm(service, request, std::move(record), std::move(desired));
}

ArmResult<Response> delete_vm(Service& service, const Request& request) {
  auto found = find_vm(service, request);
  if (!found && found.error().code == "ResourceNotFound") return Response::empty(204);
  BOOTSEAL_ARM_TRY(VmRecord record, std::move(found));
  BOOTSEAL_ARM_TRY_STATUS(check_preconditions(request, &record));
  BOOTSEAL_ARM_TRY(const std::string operation, begin(service, std::move(record), OperationKind::remove));
  Response response = Response::empty(202);
  add_operation_headers(service, request, operation, response);
  return response;
}

}  // namespace

void add_vm_handlers(HandlerTable& table) {
  table["VirtualMachines_ListAll"] = list_all;
  table["VirtualMachines_List"] = list_in_group;
  table["VirtualMachines_Get"] = get_vm;
  table["VirtualMachines_InstanceView"] = get_instance_view;
  table["VirtualMachines_CreateOrUpdate"] = put_vm;
  table["VirtualMachines_Update"] = patch_vm;
  table["VirtualMachines_Delete"] = delete_vm;
}

}  // namespace bootseal::api
