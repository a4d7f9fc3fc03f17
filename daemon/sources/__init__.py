"""Where code comes from. A source stages (network, nothing touched) and then applies (in place).

The engine owns the order, the snapshot and the undo: a source that raises from `apply` leaves the checkout in any
state, and the engine puts it back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pydantic import SecretStr

from daemon.difference import Difference
from daemon.errors import BadRequestError
from daemon.models import Changes
from daemon.refs import Ref
from daemon.trees import Tree

Paths = frozenset[bytes]


class EditedSinceError(Exception):
    """The checkout is not pristine any more, and was not touched."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What is ready to be applied, as a value.

    `commit` is the id that HEAD will name, None where the source knows none (a mount without git).
    `current` says that the checkout holds exactly this already: applying it would change nothing.
    `step` is what is committed between HEAD and `commit`, where the source knows of nothing else that it changes.
    `coming` are the names that applying writes or removes and that the commit before does not have.
    `submodules` are the paths of those that applying will check out.
    `notes` are sentences for the caller: what could not be known, what differs from what was asked.
    """

    commit: str | None
    ref: str | None
    tree: Tree
    current: bool
    changes: Changes | None = None
    coming: Paths = frozenset()
    step: Difference | None = None
    submodules: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


class Source(Protocol):
    name: str

    async def prepare(self) -> None:
        """Makes an empty or missing checkout one that can be staged into. Raises CheckoutError."""

    async def stage(self, ref: Ref) -> Staged:
        """All network work; the checkout's files, HEAD and index stay as they are.

        Raises RemoteError, RefNotFoundError, MountError, CheckoutError, CommandTimeoutError.
        """

    async def apply(self, staged: Staged, *, pristine: bool = False) -> Paths | None:
        """Makes files, HEAD and index those of `staged`. Local edits are overwritten: the engine has them safe.

        `pristine`: a moment ago there were none. Edits that came since are kept where the update does not change the
        file; where it does, EditedSinceError may be raised.

        Returns the names of all files that it may have written or removed, apart from those edits; None if there is
        no telling.
        """


@runtime_checkable
class TakesToken(Protocol):
    """A source whose remote may be asked with somebody's own token."""

    def with_token(self, token: SecretStr) -> Source:
        """Another one like it, which has the token in memory only."""


def with_token(source: Source | None, token: SecretStr) -> Source:
    """Raises BadRequestError where it would be of no use."""
    if not isinstance(source, TakesToken):
        raise BadRequestError(reason="a git token is of no use here: the code does not come from a git remote")
    return source.with_token(token)


class Listener(Protocol):
    """Is told how far a source has come. Neither call may fail or take long."""

    def asking(self) -> None:
        """Now a remote is waited for."""

    def found(self) -> None:
        """The commit is here, and is another than HEAD's."""


@runtime_checkable
class StagesInSteps(Protocol):
    """A source that may have to wait for a remote."""

    def telling(self, listener: Listener) -> Source:
        """Another one like it, which tells how far it has come."""


@runtime_checkable
class Vouches(Protocol):
    """A source that does not let every commit come."""

    name: str

    @property
    def narrowed(self) -> bool:
        """Whether there is any that it would refuse."""

    async def vouch(self, commit: str, came_as: Iterable[str]) -> None:
        """For a commit that is here. `came_as`: the full names of refs that led to it when it came, here and then.

        Raises RefNotAllowedError, and what `stage` raises.
        """
