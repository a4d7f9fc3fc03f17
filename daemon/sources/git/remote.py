"""Fetching: one remote, asked for exactly what is needed, into a ref of our own.

The user's branches, tags, remote-tracking branches and FETCH_HEAD stay as they are, whatever the configuration says.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from daemon.errors import (
    CheckoutError,
    CommandFailedError,
    CommandTimeoutError,
    NoSpaceError,
    RefNotFoundError,
    RefreshdError,
    RemoteError,
)
from daemon.process import Result
from daemon.sources import Listener
from daemon.sources.checkout import Repository
from daemon.sources.git.complaints import Fault, understand
from daemon.sources.git.credentials import Answer, Credentials
from daemon.sources.git.urls import has_userinfo, shown

FETCHED = "refs/refreshd/fetched"

_FETCH = (
    "fetch",
    "--verbose",  # says what was stored, also if that was there before
    "--no-tags",
    "--no-prune",
    "--no-prune-tags",
    "--refmap=",  # else the refspecs of the configuration apply as well, a mirror's to the user's own branches
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--no-auto-maintenance",
    "--no-show-forced-updates",  # a rewritten history is nothing special here
)
# a name that the remote does not have would else be looked for as refs/heads/refs/heads/… and the like
_NO_GUESSES = ("^refs/refs/*", "^refs/heads/refs/*", "^refs/tags/refs/*", "^refs/remotes/refs/*")
_STORED = re.compile(rf"^ .* -> {FETCHED}\b", re.MULTILINE)
_SHORTEST = 0.1  # seconds


@dataclass(frozen=True)
class Deadline:
    """A limit for several commands together, in seconds."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return max(_SHORTEST, self.began + self.seconds - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Remote:
    """`name` is that of the repository's configuration, where it has one; `asked` is what the caller asked for.

    `listener` is told before each question to it.
    """

    repository: Repository
    url: str
    name: str | None = None
    credentials: Credentials
    deadline: Deadline
    asked: str
    listener: Listener | None = None

    async def fetch(self, source: str, *, depth: int | None = None) -> None:
        """Leaves the commit, tag or ref `source`, a full name or a full id, in FETCHED.

        Raises RefNotFoundError, RemoteError, CheckoutError, NoSpaceError.
        """
        # in a partial clone everything is wanted now: nothing may be fetched later, in the middle of the checkout
        whole = ("--no-filter",) if self.repository.partial else ()
        limit = (f"--depth={depth}",) if depth else ()
        by_name = _NO_GUESSES if source.startswith("refs/") else ()
        done = await self._ask(
            (*_FETCH, *whole, *limit), f"+{source}:{FETCHED}", *by_name, config={"fetch.output": "full"}
        )
        if not _STORED.search(os.fsdecode(done.stderr)):
            raise self._no_such_ref(done.tail)

    async def fetch_refs(self, names: Iterable[str], into: str) -> None:
        """Each full name into `into` and the digest of the name, whatever was there. Raises as `fetch` does."""
        pairs = "".join(f"+{name}:{into}{digest(name)}\n" for name in names)
        await self._ask((*_FETCH, "--stdin"), stdin=pairs.encode())

    async def list_refs(self) -> dict[str, str]:
        """Branches and tags by their full names, each with the id of its commit. Raises as `fetch` does."""
        answer = await self._ask(("ls-remote", "--quiet", "--heads", "--tags"))
        pairs = (line.partition("\t") for line in answer.text.split("\n") if line)
        ids = {name: commit for commit, _, name in pairs}
        return {name: ids.get(f"{name}^{{}}", commit) for name, commit in ids.items() if not name.endswith("^{}")}

    async def fetch_objects(self, ids: frozenset[str]) -> None:
        """Single objects, such as a partial clone has left out. Raises as `fetch` does."""
        wanted = "".join(f"{wanted}\n" for wanted in sorted(ids)).encode()
        # what the commits here imply about objects here is what does not hold in a partial clone
        without_haves = {"fetch.negotiationAlgorithm": "noop"}
        await self._ask((*_FETCH, "--no-filter", "--stdin"), stdin=wanted, config=without_haves)

    async def find(self, names: Sequence[str]) -> tuple[str, str] | None:
        """The first of the full names that the remote has, and the id it stands for, of a tag that of its commit."""
        answer = await self._ask(("ls-remote", "--quiet"), *names, *(f"{name}^{{}}" for name in names))
        pairs = (line.partition("\t") for line in answer.text.split("\n") if line)
        ids = {name: commit for commit, _, name in pairs}  # of other refs too, whose names only end like ours
        return next(((name, ids.get(f"{name}^{{}}", ids[name])) for name in names if name in ids), None)

    async def _ask(
        self, words: Sequence[str], *arguments: str, stdin: bytes = b"", config: Mapping[str, str] | None = None
    ) -> Result:
        async with self.credentials.answer(self.url) as answer:
            target, rewriting = self._target(answer)
            git = replace(
                self.repository.git,
                timeout=self.deadline.left,
                config={**(config or {}), **answer.config, **rewriting},
                env={**answer.env, **self._ssh()},
                pass_fds=answer.pass_fds,
                secrets=answer.secrets,
            )
            if self.listener:
                self.listener.asking()
            try:
                return await self.repository.locks.guarded(
                    lambda: git(*words, "--end-of-options", target, *arguments, stdin=stdin)
                )
            except (CommandFailedError, CommandTimeoutError) as error:
                raise self._understood(error) from error

    def _target(self, answer: Answer) -> tuple[str, dict[str, str]]:
        """The remote by its name, for it may have a proxy or the like; by URL if an older token has to be kept out."""
        if not (answer and has_userinfo(self.url)):
            return self.name or self.url, {}
        clean = shown(self.url)
        # the longest match wins: no `insteadOf` of the user can put an older token into this very URL
        return clean, {f"url.{clean}.insteadOf": clean}

    def _ssh(self) -> dict[str, str]:
        """The user's own command, with its key perhaps, which the variable that every git gets would override."""
        command = self.repository.config.get("core.sshcommand")
        return {"GIT_SSH_COMMAND": command} if command else {}

    def _understood(self, error: CommandFailedError | CommandTimeoutError) -> RefreshdError:
        if isinstance(error, CommandTimeoutError):
            return self._failed(f"no answer within {self.deadline.seconds:g} s", error.detail)
        complaint = understand(error.detail)
        match complaint.fault:
            case Fault.NO_SUCH_REF:
                return self._no_such_ref(error.detail)
            case Fault.DISK_FULL:
                return NoSpaceError(path=str(self.repository.folder), detail=error.detail)
            case Fault.CHECKOUT:
                folder = str(self.repository.folder)
                return CheckoutError(path=folder, reason=complaint.reason, detail=error.detail)
            case Fault.REMOTE:
                return self._failed(complaint.reason, error.detail)

    def _no_such_ref(self, detail: str) -> RefNotFoundError:
        return RefNotFoundError(ref=self.asked, remote=shown(self.url), detail=detail)

    def _failed(self, reason: str, detail: str) -> RemoteError:
        return RemoteError(ref=self.asked, remote=shown(self.url), reason=reason, detail=detail)


def digest(name: str) -> str:
    """One part of a ref's name for any: of the names of others, one may be the folder of another."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:20]
