"""The real az does with a site what it does with Azure: the life of a Trusted Launch VM."""
import json
import pathlib
import tempfile

from site_under_test import check, run, wait_until
from test_azure_login import Az

GROUP = "az"
TEMPLATE = """// a template as people write them
{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "prefix": {"type": "string", "minLength": 2}, /* of every name */
    "ports": {"type": "array", "defaultValue": ["80", "443"]}
  },
  "variables": {"network": "[concat(parameters('prefix'), '-net')]"},
  "resources": [
    {
      "type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2022-07-01", "name": "[format('{0}-nsg', parameters('prefix'))]",
      "location": "[resourceGroup().location]", "tags": {"of": "[parameters('prefix')]"},
      "properties": {"copy": [{"name": "securityRules", "count": "[length(parameters('ports'))]", "input": {
        "name": "[concat('port-', parameters('ports')[copyIndex('securityRules')])]",
        "properties": {"protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": "[add(100, copyIndex('securityRules'))]", "sourcePortRange": "*",
          "destinationPortRange": "[parameters('ports')[copyIndex('securityRules')]]", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}}}]}
    },
    {
      "type": "Microsoft.Network/virtualNetworks", "apiVersion": "2022-07-01", "name": "[variables('network')]", "location": "[resourceGroup().location]",
      "dependsOn": ["[resourceId('Microsoft.Network/networkSecurityGroups', format('{0}-nsg', parameters('prefix')))]"],
      "properties": {"addressSpace": {"addressPrefixes": ["10.40.0.0/16"]}, "subnets": [{"name": "default", "properties": {"addressPrefix": "10.40.0.0/24",
        "networkSecurityGroup": {"id": "[resourceId('Microsoft.Network/networkSecurityGroups', format('{0}-nsg', parameters('prefix')))]"}}}]}
    }
  ],
  "outputs": {"subnet": {"type": "string", "value": "[reference(variables('network')).subnets[0].id]"}}
}
"""


def power(site, name):
    view = site.az("vm", "get-instance-view", "-g", GROUP, "-n", name)["instanceView"]
    return next(status["code"] for status in view["statuses"] if status["code"].startswith("PowerState/"))


def bootseal_view(site, name):
    """The instance view with what only Bootseal says."""
    path = f"/subscriptions/{site.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}/instanceView?api-version=2022-08-01"
    return site.az("rest", "-u", path)


def wait_for_verdict(site, name, status, limit=300):
    return wait_until(lambda: (bootseal_view(site, name).get("attestation") or {}).get("status") == status, limit, f"{name} is {status}")


def test_az_signs_in(site):
    site.install_image("probe")
    site.az = Az(site)
    run(["sh", "-c", site.cli_json("cloud", "show")["az"]["login"]], env=site.az.environment)
    account = site.az("account", "show")
    site.subscription = account["id"]
    check(site.az("account", "list-locations")[0]["name"] == "local", "locations")


def test_group_create(site):
    made = site.az("group", "create", "-n", GROUP, "-l", "local", "--tags", "of=test")
    check(made["properties"]["provisioningState"] == "Succeeded", made)
    check(site.az("group", "exists", "-n", GROUP) is True, "exists")
    check(site.az("group", "exists", "-n", "absent") is False, "absent")
    updated = site.az("group", "update", "-n", GROUP, "--set", "tags.x=y")
    check(updated["tags"] == {"of": "test", "x": "y"}, updated)


def test_the_catalogue(site):
    images = site.az("vm", "image", "list", "--all", "-l", "local")
    found = [image for image in images if "probe" in image["urn"]]
    check(found, images)
    site.urn = ":".join(found[0]["urn"].split(":")[:3]) + ":latest"
    shown = site.az("vm", "image", "show", "--urn", site.urn, "-l", "local")
    check(shown["hyperVGeneration"] == "V2" and {"name": "SecurityType", "value": "TrustedLaunchSupported"} in shown["features"], shown)
    check(any(size["name"] == "Standard_DS1_v2" for size in site.az("vm", "list-sizes", "-l", "local")), "sizes")
    skus = site.az("vm", "list-skus", "-l", "local", "--size", "Standard_DS1_v2")
    capabilities = {c["name"]: c["value"] for c in skus[0]["capabilities"]}
    check("V2" in capabilities["HyperVGenerations"] and capabilities.get("TrustedLaunchDisabled", "False") == "False", capabilities)
    aliases = site.az("vm", "image", "list")
    check(isinstance(aliases, list), aliases)


def test_vm_create_boots_and_attests(site):
    key = pathlib.Path(tempfile.mkdtemp(dir=site.home)) / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    site.key = key
    made = site.az("vm", "create", "-g", GROUP, "-n", "vm1", "--image", site.urn, "--security-type", "TrustedLaunch", "--enable-secure-boot", "true",
                   "--enable-vtpm", "true", "--admin-username", "azureuser", "--ssh-key-values", f"{key}.pub")
    check(made["powerState"] == "VM running" and made["privateIpAddress"] == "10.0.0.4" and made["publicIpAddress"], made)
    wait_for_verdict(site, "vm1", "Healthy")


def test_vm_show_list_and_instance_view(site):
    shown = site.az("vm", "show", "-g", GROUP, "-n", "vm1")
    check(shown["securityProfile"]["securityType"] == "TrustedLaunch" and shown["securityProfile"]["uefiSettings"] == {"secureBootEnabled": True, "vTpmEnabled": True}, shown)
    check(shown["storageProfile"]["osDisk"]["osType"] == "Linux" and shown["identity"]["principalId"], shown)
    check([vm["name"] for vm in site.az("vm", "list", "-g", GROUP)] == ["vm1"], "vm list")
    detailed = site.az("vm", "list", "-d")
    check(detailed[0]["powerState"] == "VM running" and detailed[0]["publicIps"], detailed)
    addresses = site.az("vm", "list-ip-addresses", "-g", GROUP, "-n", "vm1")
    check(addresses[0]["virtualMachine"]["network"]["privateIpAddresses"] == ["10.0.0.4"], addresses)
    check(power(site, "vm1") == "PowerState/running", "power")


def test_open_port(site):
    site.az("vm", "open-port", "-g", GROUP, "-n", "vm1", "--port", "8080", "--priority", "900")
    rules = site.az("network", "nsg", "rule", "list", "-g", GROUP, "--nsg-name", "vm1NSG")
    check({rule["name"] for rule in rules} >= {"default-allow-ssh", "open-port-8080"}, rules)


def test_boot_diagnostics(site):
    site.az("vm", "boot-diagnostics", "enable", "-g", GROUP, "-n", "vm1")
    data = site.az("rest", "-m", "post", "-u", f"/subscriptions/{site.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1/retrieveBootDiagnosticsData?api-version=2022-08-01")
    check(data["serialConsoleLogBlobUri"].startswith("https://"), data)
    log = run(["az", "vm", "boot-diagnostics", "get-boot-log", "-g", GROUP, "-n", "vm1"], env=site.az.environment)
    check("Linux" in log or "login" in log or "EFI" in log, log[:500])


def test_vm_update_of_tags_and_secure_boot(site):
    check(site.az("vm", "update", "-g", GROUP, "-n", "vm1", "--set", "tags.stage=test")["tags"]["stage"] == "test", "tags")
    failure = site.az.fails("vm", "update", "-g", GROUP, "-n", "vm1", "--enable-secure-boot", "false")
    check("running" in failure.stderr, failure.stderr)
    site.az("vm", "deallocate", "-g", GROUP, "-n", "vm1")
    check(power(site, "vm1") == "PowerState/deallocated", "power")
    off = site.az("vm", "update", "-g", GROUP, "-n", "vm1", "--enable-secure-boot", "false")
    check(off["securityProfile"]["uefiSettings"] == {"secureBootEnabled": False, "vTpmEnabled": True}, off)
    on = site.az("vm", "update", "-g", GROUP, "-n", "vm1", "--enable-secure-boot", "true")
    check(on["securityProfile"]["uefiSettings"] == {"secureBootEnabled": True, "vTpmEnabled": True}, on)


def test_start_restart_and_stop(site):
    site.az("vm", "start", "-g", GROUP, "-n", "vm1")
    check(power(site, "vm1") == "PowerState/running", "started")
    wait_for_verdict(site, "vm1", "Healthy")
    site.az("vm", "restart", "-g", GROUP, "-n", "vm1")
    check(power(site, "vm1") == "PowerState/running", "restarted")
    wait_for_verdict(site, "vm1", "Healthy")
    site.az("vm", "stop", "-g", GROUP, "-n", "vm1", "--skip-shutdown")
    check(power(site, "vm1") == "PowerState/stopped", "stopped")


def test_template_deployment(site):
    folder = pathlib.Path(tempfile.mkdtemp(dir=site.home))
    (folder / "main.json").write_text(TEMPLATE)
    common = ("-g", GROUP, "-n", "main", "-f", str(folder / "main.json"), "-p", "prefix=tpl")
    check(site.az("deployment", "group", "validate", *common)["properties"]["provisioningState"] == "Succeeded", "validate")
    before = site.az("deployment", "group", "what-if", *common, "--no-pretty-print")
    check(sorted(c["changeType"] for c in before["changes"] if c["changeType"] != "Ignore") == ["Create", "Create"], before)
    made = site.az("deployment", "group", "create", *common)
    check(made["properties"]["outputs"]["subnet"]["value"].endswith("/subnets/default"), made)
    check([c["changeType"] for c in site.az("deployment", "group", "what-if", *common, "--no-pretty-print")["changes"] if c["changeType"] != "Ignore"] == ["NoChange", "NoChange"], "what-if again")
    check(len(site.az("deployment", "operation", "group", "list", "-g", GROUP, "-n", "main")) >= 2, "operations")
    rules = site.az("network", "nsg", "show", "-g", GROUP, "-n", "tpl-nsg")["securityRules"]
    check([rule["priority"] for rule in rules] == [100, 101], rules)
    (folder / "bad.json").write_text(TEMPLATE.replace("variables('network')", "variables('nowhere')"))
    failure = site.az.fails("deployment", "group", "validate", "-g", GROUP, "-f", str(folder / "bad.json"), "-p", "prefix=tpl")
    check("InvalidTemplate" in failure.stderr and "nowhere" in failure.stderr, failure.stderr)


def test_tags_and_locks(site):
    network = site.az("network", "vnet", "show", "-g", GROUP, "-n", "tpl-net")["id"]
    site.az("tag", "create", "--resource-id", network, "--tags", "a=1", "b=2")
    merged = site.az("tag", "update", "--resource-id", network, "--operation", "merge", "--tags", "b=3")
    check(merged["properties"]["tags"] == {"a": "1", "b": "3"}, merged)
    check([r["name"] for r in site.az("resource", "list", "--tag", "b=3")] == ["tpl-net"], "resource list by tag")
    site.az("lock", "create", "-n", "keep", "--lock-type", "CanNotDelete", "-g", GROUP)
    failure = site.az.fails("network", "vnet", "delete", "-g", GROUP, "-n", "tpl-net")
    check("ScopeLocked" in failure.stderr, failure.stderr)
    check([lock["level"] for lock in site.az("lock", "list", "-g", GROUP)] == ["CanNotDelete"], "locks")
    site.az("lock", "delete", "-n", "keep", "-g", GROUP)


def test_a_readers_create_is_refused_as_azure_refuses_it(site):
    made = site.cli_json("identity", "create", "reader")
    role = site.az("rest", "-u", f"/subscriptions/{site.subscription}/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=roleName eq 'Reader'")["value"][0]
    site.az("rest", "-m", "put", "-u", f"/subscriptions/{site.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Authorization/roleAssignments/"
            "55555555-5555-4555-8555-555555555555?api-version=2022-04-01", "-b", json.dumps({"properties": {"principalId": made["id"], "roleDefinitionId": role["id"]}}))
    reader = Az(site)
    reader("login", "--service-principal", "-u", made["appId"], "-p", made["secret"], "--tenant", "adfs")
    check([vm["name"] for vm in reader("vm", "list", "-g", GROUP)] == ["vm1"], "a reader reads")
    failure = reader.fails("network", "vnet", "create", "-g", GROUP, "-n", "mine")
    check("(AuthorizationFailed)" in failure.stderr and "Microsoft.Network/virtualNetworks/write" in failure.stderr, failure.stderr)


def test_delete_leaves_nothing_behind(site):
    vm_id = site.az("vm", "show", "-g", GROUP, "-n", "vm1")["vmId"]
    site.az("vm", "delete", "-g", GROUP, "-n", "vm1", "-y")
    check("ResourceNotFound" in site.az.fails("vm", "show", "-g", GROUP, "-n", "vm1").stderr, "the VM is there")
    site.az("group", "delete", "-n", GROUP, "-y")
    check(site.az("group", "exists", "-n", GROUP) is False, "the group is there")
    check(site.az("resource", "list") == [], "resources")
    left = [path for folder in ("vms", "disks", "hostd/vms") if (site.home / folder).is_dir() for path in (site.home / folder).iterdir()]
    check(not left, left)
    check(not [command for command in site.processes().values() if vm_id in command], "processes")
    keys = site.daemon_call("vaultd", "GET", "/v1/keys")
    check(keys["value"] == [], keys)
