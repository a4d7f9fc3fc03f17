"""A machine that its host updates: the page asks in the command file, and the record tells the rest as always."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.client.command_file import CommandFile, Ticket
from daemon.errors import RefreshdError
from daemon.models import now
from daemon.refs import Ref, RefKind


@dataclass(frozen=True)
class Asked:
    """`problem` is what the host said, when it said no; empty while it says nothing."""

    target: str
    at: datetime
    problem: str = ""


class ByHost:
    """What was asked for is remembered until the host answers or this process ends: after that there is a record."""

    def __init__(self, folder: Path) -> None:
        self._file = CommandFile(folder)
        self._asked: tuple[Ticket, Asked] | None = None

    async def ask(self, ref: Ref) -> None:
        """Raises CommandPendingError when a request waits there already, CommandFolderError."""
        commit, branch = (ref.name, None) if ref.kind is RefKind.COMMIT else (None, ref.name)
        ticket = await self._file.request(branch=branch, commit=commit, turn=0)
        self._asked = ticket, Asked(ref.name, now())

    async def look(self) -> Asked | None:
        """None when there is nothing to say besides the machine's own record."""
        if self._asked is None or self._asked[1].problem:
            return self._asked[1] if self._asked else None
        ticket, asked = self._asked
        try:
            result = await self._file.result(ticket)
        except RefreshdError as error:
            return Asked(asked.target, asked.at, str(error))
        if result is None:
            return asked
        answered = result.status == "success" or result.update_id is not None
        self._asked = None if answered else (ticket, Asked(asked.target, asked.at, result.message))
        return self._asked[1] if self._asked else None
