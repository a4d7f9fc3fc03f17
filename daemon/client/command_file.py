"""Asking the host for an update, from inside the machine, by way of a folder that both of them see."""

import asyncio
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from daemon.command_file import contract
from daemon.command_file.contract import Progress, Request, Result
from daemon.command_file.errors import CommandFolderError, CommandPendingError, NoResultError, UnacceptableError
from daemon.command_file.folder import Folder

POLL = 0.25  # seconds
TURN = 30.0  # seconds, for a request of somebody else to be taken
LIMIT = 1800.0  # seconds

T = TypeVar("T")
Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Ticket:
    """What to wait with. `before` is the result that was there already, which is not the answer."""

    request_id: str
    before: bytes | None


class CommandFile:
    """One folder. Every method raises CommandFolderError where the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def request(
        self,
        *,
        branch: str | None = None,
        commit: str | None = None,
        request_id: str | None = None,
        turn: float = TURN,
    ) -> Ticket:
        """On disk when it returns. Waits up to `turn` seconds for its turn, then raises CommandPendingError.

        Raises InvalidRefError, UnacceptableError for what no host would accept.
        """
        wanted = Request(
            command=contract.UPDATE, request_id=request_id or uuid.uuid4().hex, branch=branch, commit=commit
        )
        wanted.refuse_nonsense()
        content = wanted.model_dump_json(exclude_none=True).encode()
        deadline = asyncio.get_running_loop().time() + turn
        while True:
            before = await self._in_folder(lambda folder: _content(folder, contract.RESULT))
            if await self._in_folder(lambda folder: _created(folder, content)):
                return Ticket(str(wanted.request_id), before)
            if asyncio.get_running_loop().time() >= deadline:
                raise CommandPendingError(file=str(self.folder / contract.COMMAND))
            await asyncio.sleep(POLL)

    async def wait(
        self, ticket: Ticket, *, limit: float = LIMIT, on_progress: Callable[[Progress], None] | None = None
    ) -> Result:
        """The result of that request, whatever it says. Raises NoResultError after `limit` seconds."""
        told: Progress | None = None
        try:
            async with asyncio.timeout(limit):
                while not (result := await self.result(ticket)):
                    progress = await self._progress(ticket)
                    if on_progress and progress and progress != told:
                        on_progress(progress)
                        told = progress
                    await asyncio.sleep(POLL)
                return result
        except TimeoutError:
            taken = not await self._in_folder(lambda folder: folder.has(contract.COMMAND))
            reason = "it has taken the request and not answered" if taken else "nobody has taken the request"
            raise NoResultError(reason=reason, seconds=limit) from None

    async def result(self, ticket: Ticket) -> Result | None:
        content = await self._in_folder(lambda folder: _content(folder, contract.RESULT))
        if content is None or content == ticket.before:
            return None
        return _named(Result, content, ticket.request_id)

    async def _progress(self, ticket: Ticket) -> Progress | None:
        content = await self._in_folder(lambda folder: _content(folder, contract.PROGRESS))
        return _named(Progress, content, ticket.request_id) if content else None

    async def _in_folder(self, work: Callable[[Folder], T]) -> T:
        return await asyncio.to_thread(self._with_folder, work)

    def _with_folder(self, work: Callable[[Folder], T]) -> T:
        try:
            with Folder.open(self.folder) as folder:
                return work(folder)
        except FileNotFoundError:
            raise CommandFolderError(
                folder=str(self.folder), reason="there is none; mount the host's state folder into the machine"
            ) from None
        except OSError as error:
            raise CommandFolderError(folder=str(self.folder), reason=os.strerror(error.errno or 0)) from None


def _content(folder: Folder, name: str) -> bytes | None:
    try:
        return folder.read(name, contract.MOST_BYTES)
    except (FileNotFoundError, UnacceptableError):
        return None


def _created(folder: Folder, content: bytes) -> bool:
    try:
        folder.create(contract.COMMAND, content)
    except FileExistsError:
        return False
    return True


def _named(shape: type[Document], content: bytes, request_id: str) -> Document | None:
    try:
        document = shape.model_validate_json(content)
    except ValidationError:
        return None
    return document if getattr(document, "request_id", None) == request_id else None
