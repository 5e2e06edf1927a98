"""The AWS SDK for Java 2, unmodified: its tests are in src/sdk and run by JUnit; here they get a server."""

import re
import subprocess

from headwater import Server, binary
from workers import java

LAUNCHER = "org.junit.platform.console.ConsoleLauncher"


def junit(endpoint, *jvm):
    """Runs all of JUnit's tests; shows what they print, and how many there were."""
    command = java(
        "kcl3",
        LAUNCHER,
        "execute",
        "--select-package=headwater",
        "--disable-banner",
        "--disable-ansi-colors",
        "--details=summary",
        jvm=[f"-Dheadwater.endpoint={endpoint}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", *jvm],
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    print("\n" + "\n".join(line for line in done.stdout.splitlines() if line.startswith(("kinesis:", "dynamodb:"))))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return int(re.search(r"(\d+) tests successful", done.stdout).group(1))


def test_every_way_in_the_clear(server):
    count = junit(server.endpoint)
    print(f"Java SDK 2, in the clear: {count} tests")
    assert count == 4 * 5 + 2 + 5


def test_every_way_in_tls(tmp_path):
    """With ALPN and without: the client's default for HTTP/2 speaks it without asking."""
    certs, trust = tmp_path / "certs", tmp_path / "trust.p12"
    subprocess.run([binary(), "certs", str(certs)], check=True, capture_output=True, timeout=60)
    keytool = ["keytool", "-importcert", "-noprompt", "-alias", "headwater", "-file", str(certs / "ca.pem")]
    keytool += ["-keystore", str(trust), "-storetype", "PKCS12", "-storepass", "trusted"]
    subprocess.run(keytool, check=True, capture_output=True, timeout=60)
    server = Server("--tls-certificate", str(certs / "server.pem"), "--tls-key", str(certs / "server-key.pem"))
    try:
        store = [f"-Djavax.net.ssl.trustStore={trust}", "-Djavax.net.ssl.trustStorePassword=trusted"]
        count = junit(server.endpoint, *store)
        print(f"Java SDK 2, in TLS: {count} tests")
        assert count == 6 * 5 + 4 + 5
    finally:
        server.close()
