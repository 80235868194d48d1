"""The real az signs in to a site in each of its ways, and is held to its roles."""
import json
import os
import pathlib
import re
import subprocess
import tempfile

from site_under_test import ROOT, CommandFailed, check, run

AZ = "az"
PASSWORD_LINE = re.compile(r"^Password: (\S+)$", re.MULTILINE)


class Az:
    """One az with a configuration of its own, in which the site is the cloud."""

    def __init__(self, site):
        cloud = site.cli_json("cloud", "show")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="az-", dir=site.home))
        self.environment = dict(os.environ, AZURE_CONFIG_DIR=str(self.folder), REQUESTS_CA_BUNDLE=cloud["caFile"], AZURE_CORE_COLLECT_TELEMETRY="false",
                                AZURE_CORE_NO_COLOR="true", PYTHONPATH=str(ROOT / "tests/azure"), HOME=str(self.folder))
        for command in ("register", "set"):
            run(["sh", "-c", cloud["az"][command]], env=self.environment)

    def __call__(self, *arguments):
        text = run([AZ, *arguments, "-o", "json"], env=self.environment)
        return json.loads(text) if text.strip() else None

    def fails(self, *arguments):
        try:
            answer = self(*arguments)
        except CommandFailed as failure:
            return failure
        raise AssertionError(f"az {' '.join(map(str, arguments))} should have failed and answered {answer}")

    def can_read(self):
        names = [group["name"] for group in self("group", "list")]
        check("az-login" in names, f"groups: {names}")


def signed_in(accounts, kind):
    check(len(accounts) == 1 and accounts[0]["state"] == "Enabled", f"accounts: {accounts}")
    check(accounts[0]["user"]["type"] == kind, f"user: {accounts[0]['user']}")
    return accounts[0]


def test_the_first_administrator_signs_in_as_cloud_show_says(site):
    az = Az(site)
    run(["sh", "-c", site.cli_json("cloud", "show")["az"]["login"]], env=az.environment)
    group = az("group", "create", "-n", "az-login", "-l", "local", "--tags", "a=b")
    check(group["properties"]["provisioningState"] == "Succeeded" and group["tags"] == {"a": "b"}, f"group: {group}")
    az.can_read()
    check(az("network", "vnet", "list") == [] and az("vm", "list") == [], "these need sitecustomize.py, and there are none")


def test_a_service_principal_signs_in_with_its_secret_and_has_its_role_only(site):
    made = site.cli_json("identity", "create", "secret-reader", "--role", "Reader")
    az = Az(site)
    signed_in(az("login", "--service-principal", "-u", made["appId"], "-p", made["secret"], "--tenant", "adfs"), "servicePrincipal")
    az.can_read()
    failure = az.fails("group", "create", "-n", "other", "-l", "local")
    check("(AuthorizationFailed)" in failure.stderr and "secret-reader" in failure.stderr, failure.stderr)


def test_a_wrong_secret_is_refused_with_the_reason(site):
    made = site.cli_json("identity", "create", "wrong-secret")
    failure = Az(site).fails("login", "--service-principal", "-u", made["appId"], "-p", "wrong", "--tenant", "adfs")
    check("AADSTS7000215" in failure.stderr, failure.stderr)
    log = (site.home / "log/controld.log").read_text()
    check(any('"login.refused"' in line and made["appId"] in line for line in log.splitlines()), "the log has no line about it")


def test_a_service_principal_signs_in_with_a_certificate_of_openssl(site):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pem-", dir=site.home))
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=pem", "-keyout", folder / "key", "-out", folder / "cert"])
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    made = site.cli_json("identity", "create", "pem", "--certificate", str(both), "--role", "Reader")
    check("secret" not in made, f"made: {made}")
    az = Az(site)
    signed_in(az("login", "--service-principal", "-u", made["appId"], "-p", both, "--tenant", "adfs"), "servicePrincipal")
    az.can_read()


def test_a_user_signs_in_with_a_password_and_gets_further_tokens(site):
    text = site.cli("identity", "create", "alice@local", "--password", "--role", "Contributor")
    password = PASSWORD_LINE.search(text).group(1)
    az = Az(site)
    account = signed_in(az("login", "-u", "alice@local", "-p", password), "user")
    check(account["user"]["name"] == "alice@local", f"account: {account}")
    az.can_read()
    token = az("account", "get-access-token", "--resource", "https://vault.local")
    check(token["accessToken"].count(".") == 2, "no token for the vault")
    failure = Az(site).fails("login", "-u", "alice@local", "-p", "wrong")
    check("AADSTS50126" in failure.stderr, failure.stderr)


def test_a_device_code_is_approved_on_the_server(site):
    site.cli("identity", "create", "bob@local", "--password", "--role", "Reader")
    az = Az(site)
    process = subprocess.Popen([AZ, "login", "--use-device-code", "-o", "json"], env=az.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, text=True)
    try:
        said = ""
        while not (code := re.search(r"enter the code (\S+),", said)):
            line = process.stderr.readline()
            check(line, f"az ended: {said}")
            said += line
        site.cli("identity", "approve", code.group(1), "--as", "bob@local")
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    check(process.returncode == 0, errors)
    check(signed_in(json.loads(output), "user")["user"]["name"] == "bob@local", output)
    az.can_read()


def test_roles_are_given_and_taken_with_az_rest(site):
    owner, reader = Az(site), Az(site)
    run(["sh", "-c", site.cli_json("cloud", "show")["az"]["login"]], env=owner.environment)
    made = site.cli_json("identity", "create", "group-reader")
    failure = reader.fails("login", "--service-principal", "-u", made["appId"], "-p", made["secret"], "--tenant", "adfs")
    check("No subscriptions found" in failure.stderr, failure.stderr)
    group = owner("group", "show", "-n", "az-login")["id"]
    role = owner("rest", "-u", f"{group}/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=roleName eq 'Reader'")["value"][0]
    url = f"{group}/providers/Microsoft.Authorization/roleAssignments/33333333-3333-4333-8333-333333333333?api-version=2022-04-01"
    body = json.dumps({"properties": {"principalId": made["id"], "roleDefinitionId": role["id"]}})
    owner("rest", "-m", "put", "-u", url, "-b", body)
    signed_in(reader("login", "--service-principal", "-u", made["appId"], "-p", made["secret"], "--tenant", "adfs"), "servicePrincipal")
    check(reader("group", "show", "-n", "az-login")["name"] == "az-login", "the group is not shown")
    owner("rest", "-m", "delete", "-u", url)
    check("(AuthorizationFailed)" in reader.fails("group", "show", "-n", "az-login").stderr, "the role was not taken away")
