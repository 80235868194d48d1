// Azure's built-in roles as its documentation lists them ("Azure built-in roles"): ids, names and
// permissions.
#include "bootseal/identity/roles.h"

namespace bootseal::identity {
namespace {

using Texts = std::vector<std::string>;

RoleDefinition role(std::string_view id, std::string name, std::string description, Permission permission) {
  RoleDefinition made;
  made.id = id;
  made.name = std::move(name);
  made.description = std::move(description);
  made.built_in = true;
  made.permissions.push_back(std::move(permission));
  made.assignable_scopes = {"/"};
  made.created = made.updated = *parse_time("2015-02-02T21:55:09Z");
  return made;
}

Permission contributor() {
  return {{"*"},
          {"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write",
           "Microsoft.Authorization/elevateAccess/Action", "Microsoft.Blueprint/blueprintAssignments/write",
           "Microsoft.Blueprint/blueprintAssignments/delete", "Microsoft.Compute/galleries/share/action",
           "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
           "Microsoft.Resources/deploymentStacks/manageDenySetting/action",
           "Microsoft.Subscription/cancel/action", "Microsoft.Subscription/enable/action"},
          {},
          {}};
}

Permission virtual_machine_contributor() {
  return {{"Microsoft.Authorization/*/read",
           "Microsoft.Compute/availabilitySets/*",
           "Microsoft.Compute/locations/*",
           "Microsoft.Compute/virtualMachines/*",
           "Microsoft.Compute/virtualMachineScaleSets/*",
           "Microsoft.Compute/cloudServices/*",
           "Microsoft.Compute/disks/write",
           "Microsoft.Compute/disks/read",
           "Microsoft.Compute/disks/delete",
           "Microsoft.DevTestLab/schedules/*",
           "Microsoft.Insights/alertRules/*",
           "Microsoft.Network/applicationGateways/backendAddressPools/join/action",
           "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
           "Microsoft.Network/loadBalancers/inboundNatPools/join/action",
           "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
           "Microsoft.Network/loadBalancers/probes/join/action",
           "Microsoft.Network/loadBalancers/read",
           "Microsoft.Network/locations/*",
           "Microsoft.Network/networkInterfaces/*",
           "Microsoft.Network/networkSecurityGroups/join/action",
           "Microsoft.Network/networkSecurityGroups/read",
           "Microsoft.Network/publicIPAddresses/join/action",
           "Microsoft.Network/publicIPAddresses/read",
           "Microsoft.Network/virtualNetworks/read",
           "Microsoft.Network/virtualNetworks/subnets/join/action",
           "Microsoft.RecoveryServices/locations/*",
           "Microsoft.RecoveryServices/Vaults/backupFabrics/backupProtectionIntent/write",
           "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/*/read",
           "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/read",
           "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/write",
           "Microsoft.RecoveryServices/Vaults/backupPolicies/read",
           "Microsoft.RecoveryServices/Vaults/backupPolicies/write",
           "Microsoft.RecoveryServices/Vaults/read",
           "Microsoft.RecoveryServices/Vaults/usages/read",
           "Microsoft.RecoveryServices/Vaults/write",
           "Microsoft.ResourceHealth/availabilityStatuses/read",
           "Microsoft.Resources/deployments/*",
           "Microsoft.Resources/subscriptions/resourceGroups/read",
           "Microsoft.SerialConsole/serialPorts/connect/action",
           "Microsoft.SqlVirtualMachine/*",
           "Microsoft.Storage/storageAccounts/listKeys/action",
           "Microsoft.Storage/storageAccounts/read",
           "Microsoft.Support/*"},
          {},
          {},
          {}};
}

Permission network_contributor() {
  return {{"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Network/*",
           "Microsoft.ResourceHealth/availabilityStatuses/read", "Microsoft.Resources/deployments/*",
           "Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*"},
          {},
          {},
          {}};
}

Permission virtual_machine_login(Texts data_actions) {
  return {{"Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/virtualNetworks/read",
           "Microsoft.Network/loadBalancers/read", "Microsoft.Network/networkInterfaces/read",
           "Microsoft.Compute/virtualMachines/*/read", "Microsoft.HybridCompute/machines/*/read",
           "Microsoft.HybridConnectivity/endpoints/listCredentials/action"},
          {},
          std::move(data_actions),
          {}};
}

}  // namespace

const std::vector<RoleDefinition>& built_in_roles() {
  static const std::vector<RoleDefinition> roles = {
      role(kOwnerRole, "Owner",
           "Grants full access to manage all resources, including the ability to assign roles.",
           {{"*"}, {}, {}, {}}),
      role(kContributorRole, "Contributor",
           "Manages all resources, and cannot assign roles or share galleries.", contributor()),
      role(kReaderRole, "Reader", "Sees all resources, and changes none.", {{"*/read"}, {}, {}, {}}),
      role(kUserAccessAdministratorRole, "User Access Administrator", "Manages who may access resources.",
           {{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}, {}, {}, {}}),
      role(kVirtualMachineContributorRole, "Virtual Machine Contributor",
           "Manages virtual machines, but not who may access them, nor the networks they are connected to.",
           virtual_machine_contributor()),
      role(kNetworkContributorRole, "Network Contributor", "Manages networks, but not who may access them.",
           network_contributor()),
      role(kVirtualMachineAdministratorLoginRole, "Virtual Machine Administrator Login",
           "Sees virtual machines, and signs in to them as administrator.",
           virtual_machine_login({"Microsoft.Compute/virtualMachines/login/action",
                                  "Microsoft.Compute/virtualMachines/loginAsAdmin/action",
                                  "Microsoft.HybridCompute/machines/login/action",
                                  "Microsoft.HybridCompute/machines/loginAsAdmin/action"})),
  };
  return roles;
}

}  // namespace bootseal::identity
