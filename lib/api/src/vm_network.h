// The network interfaces of VMs.
#pragma once

#include "resource_store.h"
#include "service.h"

namespace bootseal::api {

// Holds the interfaces that a VM is to have against the rules, and puts their ids into the spelling they were
// made with: 400 LinkedInvalidPropertyId, InvalidResourceReference, NicInUse, SubnetsNotInSameVnet. Call it,
// and store the VM, while ResourceStore::exclusive() is held.
model::ArmStatus settle_interfaces(Service& service, const model::ResourceId& vm, json::Object& desired);
// The Assignment's `network`; nullopt for a VM of which nothing was ever said.
model::ArmResult<std::optional<json::Array>> network_of(Service& service, const VmRecord& vm);
// Has the reconciler look at every VM whose network this resource (of Microsoft.Network) is a part of, by
// whatever references.
void wake_vms_using(Service& service, const ResourceRecord& changed);

}  // namespace bootseal::api
