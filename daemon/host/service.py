"""The listener as a service of the user: a unit for systemd, an agent for launchd. Texts, no I/O."""

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UNIT = "refreshd-listen.service"
LABEL = "dev.refreshd.listen"
PAUSE = 5  # seconds between an end, of whatever kind, and the next start


@dataclass(frozen=True)
class Program:
    """What the service runs. `environ` goes with it: a service has next to none of its user's."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


def systemd_unit(program: Program) -> str:
    """`Restart=always`: also after an exit with 0, and however often."""
    lines = [
        "[Unit]",
        "Description=refreshd: updates machines that ask for it",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(word, '$$') for word in program.argv)}",
        *(f"Environment={_quoted(f'{name}={value}', '$')}" for name, value in sorted(program.environ.items())),
        "Restart=always",
        f"RestartSec={PAUSE}",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def launchd_agent(program: Program, log: Path) -> str:
    """`KeepAlive`: started again after an end of whatever kind."""
    agent = {
        "Label": LABEL,
        "ProgramArguments": list(program.argv),
        "EnvironmentVariables": dict(program.environ),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": PAUSE,
        "StandardErrorPath": str(log),
        "StandardOutPath": str(log),
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def _quoted(word: str, dollar: str) -> str:
    """One word to systemd, whatever is in it; variables are replaced in commands only."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return f'"{escaped}"'
