#include "resource_provider.h"

namespace bootseal::api {

void add_network_providers(ProviderTable& /*table*/) {}

}  // namespace bootseal::api
