"""How git is called: the options that keep it from prompting, running hooks, collecting garbage or leaving the path.

Every call of git in the project starts here; what is done with git is elsewhere.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.models import Changes
from daemon.process import Command, Result, run

LISTED = 200  # names in a record; counts are not cut
NAMED = 3  # names in a sentence
LOW_SPEED_LIMIT = 1000  # bytes a second
LOW_SPEED_TIME = 30  # seconds

_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "http.lowSpeedLimit": str(LOW_SPEED_LIMIT),
    "http.lowSpeedTime": str(LOW_SPEED_TIME),
    "advice.detachedHead": "false",
    "submodule.recurse": "false",
    "fetch.writeCommitGraph": "false",
    "transfer.credentialsInUrl": "allow",  # a URL that somebody else configured must not fail here
}
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
}
# of the commits that are ours
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "refreshd"), ("EMAIL", "refreshd@localhost"))
}


@dataclass(frozen=True, kw_only=True)
class Git:
    """git in one folder. `git_dir` and `index` name a repository and an index other than the folder's own."""

    folder: Path
    timeout: float
    git_dir: Path | None = None
    index: Path | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    safe: tuple[Path, ...] = ()
    secrets: Sequence[str] = field(default=(), repr=False)

    async def __call__(self, *words: str | bytes, stdin: bytes = b"", ok_codes: Iterable[int] = (0,)) -> Result:
        """Raises what `process.run` raises."""
        return await run(
            Command(
                argv=("git", *self._options(), *words),
                cwd=self.folder,
                timeout=self.timeout,
                env=self._environment(),
                stdin=stdin,
                pass_fds=self.pass_fds,
                ok_codes=ok_codes,
                secrets=self.secrets,
                shown=f"git {next((w for w in words if isinstance(w, str)), '')}",
            )
        )

    def _options(self) -> list[str]:
        own = [f"{name}={value}" for name, value in self.config.items()]
        return [*fixed_options(self.folder, *self.safe), *(word for pair in own for word in ("-c", pair))]

    def _environment(self) -> dict[str, str]:
        own: dict[str, str] = {}
        if self.git_dir:
            own |= {"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(self.folder)}
        if self.index:
            own |= {"GIT_INDEX_FILE": str(self.index)}
        return ENVIRONMENT | own | dict(self.env)


def fixed_options(*safe: Path) -> list[str]:
    """What every call of git is given; `safe` are folders whose owner may be another user."""
    pairs = [f"safe.directory={path}" for path in safe] + [f"{name}={value}" for name, value in _CONFIG.items()]
    return [word for pair in pairs for word in ("-c", pair)]


def printable(path: bytes) -> str:
    r"""A file's name as text that JSON and a terminal can hold; bytes that are not UTF-8 become \\x escapes."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def some(paths: Collection[bytes]) -> str:
    """The first few of them, for a sentence."""
    named = ", ".join(printable(path) for path in sorted(paths)[:NAMED])
    return f"{named} and {len(paths) - NAMED} more" if len(paths) > NAMED else named


def parse_changes(output: bytes) -> Changes:
    """The output of `--name-status -z`: status, name, and so on; or of `--raw -z`, with more before each status."""
    fields = output.split(b"\0")
    pairs = list(zip(fields[0:-1:2], fields[1::2], strict=False))
    kinds = [{b"A": "A", b"D": "D"}.get(status.rpartition(b" ")[2][:1], "M") for status, _ in pairs]
    return Changes(
        added=kinds.count("A"),
        changed=kinds.count("M"),
        deleted=kinds.count("D"),
        files=tuple(f"{kind} {printable(name)}" for kind, (_, name) in list(zip(kinds, pairs, strict=True))[:LISTED]),
    )
