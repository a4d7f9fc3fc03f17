"""A machine without an image: the project's machine files below a temporary root, and a daemon that tells on itself."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.s6 import S6

PROJECT = Path(__file__).parents[2]

FAKE_DAEMON = '''\
"""Reports how it was started, then does what behaviour.json says."""

import json
import os
import signal
import subprocess
import sys
import time

folder = os.environ["FAKE_DAEMON"]


def report(**facts):
    line = json.dumps({"command": sys.argv[1], "pid": os.getpid(), **facts}) + "\\n"
    with open(os.path.join(folder, "reports.jsonl"), "a") as file:
        file.write(line)


def end(signum, frame):
    report(end=signal.Signals(signum).name)
    try:  # an end that was meant: the guard counts no failed start
        os.unlink(os.path.join(os.environ["REFRESHD_STATE_DIR"], "starts"))
    except FileNotFoundError:
        pass
    sys.exit(0)


try:
    with open(os.path.join(folder, "behaviour.json")) as file:
        behaviour = json.load(file).get(sys.argv[1], {})
except FileNotFoundError:
    behaviour = {}
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, end)
environment = {name: value for name, value in os.environ.items() if name.startswith(("REFRESHD_", "ITERATE_"))}
report(file=__file__, executable=sys.executable, cwd=os.getcwd(), arguments=sys.argv[1:], environment=environment)
print(behaviour.get("say", "fake daemon: " + sys.argv[1]), flush=True)
if "orphan" in behaviour:
    subprocess.Popen(["sleep", str(behaviour["orphan"])], start_new_session=True)
if behaviour.get("ready", True) and "REFRESHD_NOTIFICATION_FD" in os.environ:
    descriptor = int(os.environ["REFRESHD_NOTIFICATION_FD"])
    os.write(descriptor, b"\\n")
    os.close(descriptor)
if "exit" in behaviour or sys.argv[1] != "serve" and not behaviour.get("hang"):
    sys.exit(behaviour.get("exit", 0))
while True:
    time.sleep(60)
'''


class MachineRoot:
    """What `COPY s6-overlay/ /` gives, below `folder`/root, with a checkout that holds a fake daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.repo = folder / "repo"
        self.mount = folder / "mount"
        self.run_dir = folder / "run"
        self.log_dir = folder / "log"
        self.scan = self.run_dir / "service"
        self.definitions = self.root / "etc/s6-overlay/s6-rc.d"
        self.libexec = self.root / "usr/libexec/refreshd"
        shutil.copytree(PROJECT / "s6-overlay", self.root)
        self.repo.mkdir()
        write_fake_daemon(self.repo)
        self.link_interpreter(self.root / "opt/refreshd")

    @property
    def env(self) -> dict[str, str]:
        """Everything that the machine's programs see: nothing of the surroundings but the path."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "MACHINE_ROOT": str(self.root),
            "FAKE_DAEMON": str(self.folder),
            "ITERATE_REPO": str(self.repo),
            "ITERATE_REPO_LOCAL_DOCKER_MOUNT": str(self.mount),
            "REFRESHD_RUN_DIR": str(self.run_dir),
            "REFRESHD_STATE_DIR": str(self.folder / "state"),
            "REFRESHD_LOG_DIR": str(self.log_dir),
        }

    def link_interpreter(self, owner: Path) -> Path:
        """Gives `owner` a .venv that is this test run's."""
        owner.mkdir(parents=True, exist_ok=True)
        (owner / ".venv").symlink_to(sys.prefix)
        return owner / ".venv/bin/python"

    def start(self, **extra: str) -> S6:
        """The machine by its entry point."""
        return S6(
            self.scan,
            env=self.env | extra,
            output=self.folder / "container.log",
            argv=(PROJECT / "entry.sh",),
        )

    def entry(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the entry point where it is expected to end by itself."""
        return subprocess.run(
            [PROJECT / "entry.sh", *arguments],
            env=self.env | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def launch(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.libexec / "launch", *arguments],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def behave(self, **commands: Mapping[str, Any]) -> None:
        """Tells the next starts of the fake daemon, by command: ready, exit, hang, say, orphan."""
        aside = self.folder / "behaviour.tmp"
        aside.write_text(json.dumps(commands))
        aside.replace(self.folder / "behaviour.json")

    def reports(self, command: str | None = None) -> list[dict[str, Any]]:
        """What the fake daemon's processes told, oldest first."""
        path = self.folder / "reports.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [report for report in found if command in {None, report["command"]}]

    def starts(self, command: str | None = None) -> list[dict[str, Any]]:
        return [report for report in self.reports(command) if "file" in report]

    def log(self) -> str:
        """All lines that the logger keeps, oldest first."""
        kept = [*sorted(self.log_dir.glob("@*")), self.log_dir / "current"]
        return "".join(path.read_text() for path in kept if path.exists())

    def define(self, name: str, **files: str) -> Path:
        """A service of the user; a dash in a file's name is written as an underscore."""
        folder = self.definitions / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file.replace("_", "-")).write_text(content)
        return folder


def write_fake_daemon(code: Path) -> Path:
    package = code / "daemon"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    main = package / "__main__.py"
    main.write_text(FAKE_DAEMON)
    return main
