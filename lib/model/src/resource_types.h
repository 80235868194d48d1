// The lists that the registry of resource types is made of.
#pragma once

#include "bootseal/model/resource_type.h"

namespace bootseal::model {

// Types with handlers of their own.
std::vector<ResourceType> listed_types();
// Microsoft.Network.
std::vector<ResourceType> network_types();
// Microsoft.Authorization.
std::vector<ResourceType> authorization_types();

// A reference to another resource, as clients send one: only the id counts.
SchemaRef reference_schema();

}  // namespace bootseal::model
