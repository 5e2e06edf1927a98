"""Pages of the guide as a reader would do them: every command runs, every output is compared with the page."""

import os
import pathlib
import re
import subprocess
import sys

from headwater import Server, binary

GUIDE = pathlib.Path(__file__).parents[3] / "docs/guide"
# Blocks that are for the reader's own program, not for the shell.
OTHER_LANGUAGES = ("java", "xml")
FENCE = re.compile(r"^```(\w+) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The page's own addresses; the test's server takes free ports.
DYNAMODB, ADMIN = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
MARK = "=== step"
# For a shell that hangs: dozens of commands, each an interpreter that starts, take minutes on a busy machine.
SHELL_MAX_S = 1_800


class Step:
    """A block of commands and the output that the page shows below it."""

    def __init__(self, number, kind, commands):
        self.number, self.kind, self.commands, self.shown = number, kind, commands, None


def steps(page):
    """Blocks of ```sh, each with the ```text that follows it, if any."""
    found = []
    for language, kind, body in FENCE.findall(page):
        if language == "sh":
            assert kind in ("", "server", "fails"), f"what is ```sh {kind}?"
            found.append(Step(len(found), kind, body))
        elif language not in OTHER_LANGUAGES:
            assert language == "text" and found and found[-1].shown is None, f"a block of {language} after no commands"
            found[-1].shown = body
    return found


def pattern(shown):
    """What the page shows, as an expression: a line of `…` is any lines, an `…` inside a line is anything in that line."""
    parts = []
    for line in shown.splitlines(keepends=True):
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(part) for part in line.split("…")))
    return re.compile("".join(parts))


def differs(step, output):
    """Why the output is not what the page shows; None when it is."""
    if step.shown is None:
        return None if not output.strip() else f"the page shows no output, but there is:\n{output}"
    if pattern(step.shown).fullmatch(output):
        return None
    return f"the page shows:\n{step.shown}\nbut there is:\n{output}"


def run(script, folder, endpoint, admin):
    """Runs all steps in one shell; output and exit status of each."""
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_PAGER": "",
        "LC_ALL": "C.UTF-8",
    }
    (folder / "headwater").symlink_to(binary())
    (folder / "aws").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m awscli "$@"\n')
    (folder / "aws").chmod(0o755)
    lines = "".join(f'{step.commands}echo "{MARK} {step.number} $?"\n' for step in script)
    lines = lines.replace(DYNAMODB, endpoint).replace(ADMIN, admin)
    done = subprocess.run(
        ["bash"], input=lines, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=SHELL_MAX_S,
    )  # fmt: skip
    found = re.findall(rf"(.*?){MARK} (\d+) (\d+)\n", done.stdout, re.DOTALL)
    output = {int(number): (text, int(status)) for text, number, status in found}
    assert len(output) == len(script), f"the shell ended early:\n{done.stdout}"
    return output


def follow(page, folder):
    """Runs a page's commands in one shell, against a server as its first block starts it.

    Returns how many blocks of commands ran and how many outputs were compared.
    """
    first, *rest = steps((GUIDE / page).read_text(encoding="utf-8"))
    assert first.kind == "server" and all(step.kind != "server" for step in rest)
    program, *flags = first.commands.split()
    assert program == "headwater"
    server = Server(*flags)
    try:
        # The page starts on the ports that the server takes unless it is told otherwise.
        printed = "".join(server.output).replace(server.endpoint, DYNAMODB)
        admin = server.admin.removesuffix("/metrics")
        printed = printed.replace(admin, ADMIN)
        wrong = [differs(first, printed)]
        done = run(rest, folder, server.endpoint, admin)
        for step in rest:
            output, status = done[step.number]
            because = differs(step, output)
            if because is None and (status != 0) != (step.kind == "fails"):
                because = f"exit status {status}"
            wrong.append(because and f"{step.commands}\n{because}")
        wrong = [because for because in wrong if because]
        assert not wrong, f"{len(wrong)} of {len(rest) + 1} steps differ:\n\n" + "\n\n".join(wrong)
        server.stop()
    finally:
        server.close()
    commands = sum(len(step.commands.splitlines()) for step in rest)
    shown = sum(step.shown is not None for step in rest)
    print(f"{page}: {len(rest) + 1} steps, {commands} lines of commands, {shown} outputs compared")
    return len(rest), shown
