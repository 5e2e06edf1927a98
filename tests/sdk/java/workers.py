"""Starts Java workers, each a process of its own, and reads what they write down."""

import os
import pathlib
import signal
import subprocess
import sys

from judge import EventFile

# Small and quick to start: several run at once beside other tests.
JVM = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.showDateTime=true"]

# What Flink's own start scripts open on this version of Java, as far as the job needs it.
FLINK_JVM = ["-Xmx512m", *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "time", "nio"))]


def java_folder():
    """Where `xtask/src/java.rs` has put the class paths."""
    folder = os.environ.get("HEADWATER_JAVA")
    if not folder:
        sys.exit("HEADWATER_JAVA is not set: run `cargo xtask ci` or `cargo xtask matrix`")
    return pathlib.Path(folder)


def java(module, main, *arguments, jvm=()):
    """The command line of a class among the module's."""
    folder = java_folder() / module
    path = f"{folder / 'classes'}{os.pathsep}{folder / 'lib'}/*"
    return ["java", *JVM, *jvm, "-cp", path, main, *arguments]


class Worker:
    """One worker: a JVM whose events go to `{name}.events`, and what it logs to `{name}.log`."""

    def __init__(self, folder, name, command, environment=None):
        """`command` gets the worker's name and file where it has `{worker}` and `{file}`."""
        self.name = name
        self.events_path, self.log_path = folder / f"{name}.events", folder / f"{name}.log"
        self.file = EventFile(self.events_path, name)
        command = [part.format(worker=name, file=self.events_path) for part in command]
        environment = {key: value.format(file=self.events_path) for key, value in (environment or {}).items()}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )

    def events(self):
        return self.file.read()

    def has_begun(self):
        """Whether it was ever given a shard to read."""
        return any(event.kind == "init" for event in self.events())

    def records(self):
        return sum(event.kind == "record" for event in self.events())

    def ahead(self):
        """Whether it has delivered records of a shard since it last checkpointed there, or tried to."""
        last = {}
        for event in self.events():
            if event.kind in ("record", "trying", "checkpoint", "lost", "ended"):
                last[event.stint] = event.kind
        return "record" in last.values()

    def stopped_ahead(self):
        """The same of one that stands still: it cannot checkpoint any more before it is killed. If not, it goes on."""
        if not self.ahead():
            return False
        self.process.send_signal(signal.SIGSTOP)
        if self.ahead():
            return True
        self.process.send_signal(signal.SIGCONT)
        return False

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """SIGKILL: nothing is said to anybody."""
        assert self.alive(), f"{self.name} ended by itself:\n{self.tail()}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, within_s=60):
        """SIGTERM: a graceful end."""
        assert self.alive(), f"{self.name} ended by itself:\n{self.tail()}"
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=within_s)

    def close(self):
        if self.alive():
            self.process.kill()
            self.process.wait()

    def tail(self, lines=40):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
