// The endpoints of template deployments.
#pragma once

#include "bootseal/model/endpoint.h"

namespace bootseal::model {

std::vector<Endpoint> deployment_endpoints();

}  // namespace bootseal::model
