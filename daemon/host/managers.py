"""The two programs that run services for a user, and how each takes one up and gives it up."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.host.service import LABEL, UNIT, Program, launchd_agent, systemd_unit

ManagerName = Literal["systemd", "launchd"]
Step = tuple[str, ...]


@dataclass(frozen=True)
class Manager:
    """`stops` may fail: there may be nothing to stop."""

    file: Path
    text: str
    stops: Sequence[Step]
    starts: Sequence[Step]
    after_removal: Sequence[Step] = ()
    hint: str = ""


def default_manager() -> ManagerName:
    return "launchd" if sys.platform == "darwin" else "systemd"


def manager(name: ManagerName, program: Program, home: Path, config: Path, uid: int) -> Manager:
    """`config` is the user's configuration folder, which systemd reads; launchd has its own place."""
    if name == "launchd":
        return _launchd(program, home, uid)
    return Manager(
        file=config / "systemd/user" / UNIT,
        text=systemd_unit(program),
        stops=[("systemctl", "--user", "disable", "--now", UNIT)],
        starts=[
            ("systemctl", "--user", "daemon-reload"),
            ("systemctl", "--user", "enable", UNIT),
            ("systemctl", "--user", "restart", UNIT),
        ],
        after_removal=[("systemctl", "--user", "daemon-reload")],
        hint="`loginctl enable-linger` keeps it running while you are not logged in",
    )


def _launchd(program: Program, home: Path, uid: int) -> Manager:
    file = home / "Library/LaunchAgents" / f"{LABEL}.plist"
    return Manager(
        file=file,
        text=launchd_agent(program, home / "Library/Logs/refreshd-listen.log"),
        stops=[("launchctl", "bootout", f"gui/{uid}/{LABEL}")],
        starts=[("launchctl", "bootstrap", f"gui/{uid}", str(file))],
    )
