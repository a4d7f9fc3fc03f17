"""What makes a machine's own Python steps fail. Runs inside the daemon of a machine under test, never in the product.

A copy of this file is committed to the upstream of such a machine as `daemon/matrix_hooks.py` and imported first. Each
place asks for a rule when it is reached; a rule strikes once and is then moved to `fired`.
"""

import asyncio
import errno
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RULES = Path(os.environ.get("HOME", "/")) / "faults"
HELD = 0.3  # seconds in which a daemon that was sent TERM takes notice


def install() -> None:
    """Wraps the places by name: where one of them is gone, the daemon does not start and every case fails."""
    from daemon import journal, undo
    from daemon.check import Checker
    from daemon.installers.pnpm import PnpmInstaller
    from daemon.recovery import Recovery
    from daemon.snapshots import Snapshots
    from daemon.sources.git.source import GitSource
    from daemon.sources.mount.source import MountSource
    from daemon.starts import Starts
    from daemon.supervisor import Supervisor
    from daemon.undo import Undo

    _wrap(journal, "_append_line", lambda _, entry: f"journal {entry.event or 'created'}")
    _wrap(undo, "write_atomically", lambda path, *_: f"undo-file {path.name}")
    for owner, name in (
        (Checker, "check"),
        (GitSource, "stage"),
        (GitSource, "apply"),
        (MountSource, "stage"),
        (MountSource, "apply"),
        (PnpmInstaller, "stage"),
        (PnpmInstaller, "install"),
        (Recovery, "verify"),
        (Snapshots, "take"),
        (Starts, "clear"),
        (Supervisor, "leave"),
        (Supervisor, "ready"),
        (Undo, "prepare"),
        (Undo, "run"),
        (Undo, "_drop"),
    ):
        _wrap(owner, name, functools.partial(_named, f"{owner.__name__}.{name}"))


def _named(place: str, *_: object) -> str:
    return place


def _wrap(owner: Any, name: str, place: Callable[..., str]) -> None:
    original = getattr(owner, name)

    def sync(*args: Any, **more: Any) -> Any:
        rule = _claimed(place(*args))
        if not rule:
            return original(*args, **more)
        if rule["moment"] == "before":
            _strike(rule["action"])
        if rule["moment"] == "during":
            _strike_at_sync(rule["action"])
        if rule["moment"] == "torn":
            _tear(*args)
        result = original(*args, **more)
        if rule["moment"] == "after":
            _strike(rule["action"])
        return result

    async def coroutine(*args: Any, **more: Any) -> Any:
        rule = _claimed(place(*args))
        if rule and rule["moment"] == "before":
            await _strike_and_hold(rule["action"])
        result = await original(*args, **more)
        if rule and rule["moment"] == "after":
            await _strike_and_hold(rule["action"])
        return result

    setattr(owner, name, coroutine if asyncio.iscoroutinefunction(original) else sync)


def _claimed(place: str) -> dict[str, Any] | None:
    for path in sorted(RULES.glob("python.*")):
        rule: dict[str, Any] = json.loads(path.read_text())
        if rule["place"] != place:
            continue
        if rule["nth"] > 1:
            path.write_text(json.dumps({**rule, "nth": rule["nth"] - 1}))
            return None
        path.rename(RULES / "fired" / path.name)
        return rule
    return None


def _strike(action: str) -> None:
    if action == "fill":
        _fill()
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(HELD)
    else:
        _end(action)


async def _strike_and_hold(action: str) -> None:
    if action == "fill":
        await asyncio.to_thread(_fill)
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(HELD)
    else:
        _end(action)


def _fill() -> None:
    """The disk, to the last byte."""
    with (RULES.parent / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(1 << 16)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _end(action: str) -> None:
    if action == "group":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError(f"{action} is not for this place")


def _strike_at_sync(action: str) -> None:
    """The next time that a file is synced: what was written is there, and nothing is promised yet."""
    sync = os.fsync

    def striking(_: int) -> None:
        os.fsync = sync
        if action == "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _strike(action)

    os.fsync = striking  # type: ignore[assignment] # the one of the standard library is positional only


def _tear(path: Path, entry: Any) -> None:
    """Half of the line is on disk when the process dies."""
    line = json.dumps(entry.snake()).encode()
    with path.open("ab") as file:
        file.write(line[: len(line) // 2])
    _end("kill")


if "serve" in sys.argv:
    install()
