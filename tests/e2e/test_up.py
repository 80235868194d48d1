"""`bootseal up` says in one sentence why it cannot start, and is quiet when told so."""
import os
import signal
import subprocess

from site_under_test import BIN, Site, check, wait_until


def refused(listen):
    """The exit code and the last lines of an `up` that ends with an error; nothing of the site is left running."""
    other = Site("refused")
    try:
        other.environment["BOOTSEAL_LISTEN"] = listen
        failure = other.cli_fails("up")
        check(not other.processes(), f"left behind: {other.processes()}")
        check(not (other.home / "vaultd").exists(), "a site was made although it cannot be reached")
        return failure.exit_code, failure.stderr
    finally:
        other.remove()


def test_a_busy_port_is_named_with_the_way_out(site):
    port = (site.home / "controld/port").read_text().strip()
    code, text = refused(f"127.0.0.1:{port}")
    check(code == 5, f"exit code {code}: {text}")
    check(text.splitlines()[-1].startswith(f"error: port {port} of 127.0.0.1 is in use by another program"), text)
    check("BOOTSEAL_LISTEN" in text and '{"' not in text, text)


def test_an_address_that_is_none_is_named_with_its_variable(site):
    code, text = refused("localhost:https")
    check(code == 2, f"exit code {code}: {text}")
    check("BOOTSEAL_LISTEN='localhost:https' is not ADDRESS:PORT" in text.splitlines()[-1] and '{"' not in text, text)


def test_quiet_in_the_foreground_means_silent(site):
    other = Site("quiet")
    try:
        process = subprocess.Popen([BIN / "bootseal", "up", "--foreground", "-q"], env=other.environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        wait_until(lambda: (other.home / "cli/endpoint.json").exists() and subprocess.run([BIN / "bootseal", "status"], env=other.environment,
                                                                                          capture_output=True).returncode == 0, 120, "the site is up")
        os.kill(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        check(process.returncode == 0, f"exit code {process.returncode}")
        check(output == b"", f"said {output!r}")
    finally:
        other.remove()
