"""The AWS SDK for Java 2, unmodified: its tests are in src/sdk and run by JUnit; here they get a server."""

import re
import subprocess

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
