"""Faults that strike a machine once, at an exact place: in front of its programs, and inside its daemon.

Programs (git, rsync, pnpm, uv, sync) are met through shims that come first on its PATH; the daemon's own steps
through `matrix_hooks`. A rule is a file; what has struck is moved to `fired`, so a test can tell that its fault did
happen.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Moment = Literal["before", "during", "after", "torn"]
Action = Literal["kill", "group", "term", "enospc", "hang", "fill"]

PYTHON = "python"
PROGRAMS = ("git", "rsync", "pnpm", "uv", "sync")


@dataclass(frozen=True)
class Fault:
    """`place` is a shell pattern for a program's arguments, or the name of a step of the daemon.

    `during` begins when the path `sign` appears, or a moment after the start; of several calls the `nth` is meant.
    `enospc` makes the step say that the disk is full; `fill` fills it, and the step goes on to meet that.
    """

    program: str
    place: str
    moment: Moment
    action: Action
    nth: int = 1
    sign: str = "-"

    @property
    def ends_daemon(self) -> bool:
        return self.action in {"kill", "group", "term"}

    def __str__(self) -> str:
        return f"{self.action} {self.moment} {self.program} {self.place}".replace("*", "~").replace("/", "|")


class Faults:
    """Those of one machine, in its folder."""

    def __init__(self, folder: Path) -> None:
        self._rules = folder / "faults"
        self._shims = folder / "shims"
        self._ballast = folder / "ballast"

    @property
    def path(self) -> Path:
        """What comes first on the machine's PATH."""
        return self._shims

    def lay_out(self) -> None:
        (self._rules / "fired").mkdir(parents=True)
        self._shims.mkdir()
        for program in PROGRAMS:
            real = shutil.which(program)
            assert real, f"{program} is not installed"
            shim = self._shims / program
            named = _SHIM.replace("@PROGRAM@", program).replace("@REAL@", real)
            shim.write_text(named.replace("@RULES@", str(self._rules)))
            shim.chmod(0o755)

    def arm(self, *faults: Fault) -> None:
        self.disarm()
        for number, fault in enumerate(faults):
            rule = self._rules / f"{fault.program}.{number}"
            aside = self._rules / f".{rule.name}"
            aside.write_text(_rule(fault))
            aside.rename(rule)

    def waiting(self) -> list[str]:
        """The rules that have not struck."""
        return [rule.name for rule in self._rules.glob("[!.]*.*")]

    def disarm(self) -> None:
        for rule in [*self._rules.glob("*.*"), *(self._rules / "fired").iterdir()]:
            rule.unlink()
        self._ballast.unlink(missing_ok=True)


def _rule(fault: Fault) -> str:
    if fault.program == PYTHON:
        return json.dumps({"place": fault.place, "moment": fault.moment, "action": fault.action, "nth": fault.nth})
    return f"{fault.nth}\n{fault.moment}\n{fault.action}\n{fault.sign}\n{fault.place}\n"


_SHIM = r"""#!/bin/sh
# The real @PROGRAM@, unless a rule says otherwise.
real=@REAL@
rules=@RULES@

find_rule() {
  for rule in "$rules"/@PROGRAM@.*; do
    [ -e "$rule" ] || return 1
    { read -r nth && read -r moment && read -r action && read -r sign && read -r pattern; } <"$rule" || continue
    case " $* " in *$pattern*) ;; *) continue ;; esac
    if [ "$nth" -gt 1 ]; then
      sed "1s/.*/$((nth - 1))/" "$rule" >"$rules/.less" && mv "$rules/.less" "$rule"
      return 1
    fi
    # only one of several calls gets it
    ! mv "$rule" "$rules/fired/" 2>/dev/null || return 0
  done
  return 1
}

# The daemon that started this, or the program that the guard runs.
daemon=${STARTED_BY_REFRESHD%%-*}

strike() {
  case $action in
    kill) kill -KILL "$daemon" ;;
    group)
      read -r _ _ _ _ group _ <"/proc/$daemon/stat"
      kill -s KILL -- "-$group"
      ;;
    # to be ended by the daemon
    term) kill -TERM "$daemon"; exec sleep 600 ;;
    hang) exec sleep 600 ;;
    enospc)
      case @PROGRAM@ in
        git) echo 'fatal: write error: No space left on device' >&2; exit 128 ;;
        rsync) echo 'rsync: [receiver] write failed on "file": No space left on device (28)' >&2; exit 11 ;;
        pnpm) echo ' ERR_PNPM_ENOSPC  ENOSPC: no space left on device, write' >&2; exit 1 ;;
        uv) echo 'error: failed to write to file: No space left on device (os error 28)' >&2; exit 2 ;;
        sync) echo 'sync: error syncing: No space left on device' >&2; exit 1 ;;
      esac
      ;;
  esac
}

during() {
  exec 9<&0
  "$real" "$@" <&9 &
  child=$!
  if [ "$sign" = - ]; then
    sleep 0.02
  else
    while [ ! -e "$sign" ] && kill -0 "$child" 2>/dev/null; do :; done
  fi
  # SIGKILL of the daemon alone leaves its children running
  case $action in
    kill) strike; wait "$child" ;;
    *) kill -KILL "$child" 2>/dev/null; wait "$child" 2>/dev/null; strike ;;
  esac
}

find_rule "$@" || exec "$real" "$@"
if [ "$action" = fill ]; then
  cat /dev/zero >"$rules/../ballast" 2>/dev/null
  exec "$real" "$@"
fi
case $moment in
  before) strike; exit 1 ;;
  during) during "$@" ;;
  after) "$real" "$@"; strike ;;
esac
"""
