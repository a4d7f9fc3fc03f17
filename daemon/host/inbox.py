"""The listener's end of one command folder: commands are taken out of it, results are put into it.

A command is claimed by renaming it to a name with a new id, before anything else is done about it. So it is done
under that id or not at all: what a listener that was killed has claimed is found again, under the same id.
Every method blocks, for as long as the file system takes.
"""

import contextlib
import uuid
from pathlib import Path

from daemon.command_file import contract
from daemon.command_file.errors import CommandFolderError, UnacceptableError
from daemon.command_file.folder import Folder


class Inbox:
    """Raises CommandFolderError where the folder cannot be used, OSError where it turns out later."""

    def __init__(self, base: Path, *inside: str) -> None:
        self._base = base
        self._inside = inside
        self._folder: Folder | None = None
        self._claims: list[str] = []

    @property
    def path(self) -> Path:
        return self._base.joinpath(*self._inside)

    def close(self) -> None:
        if self._folder:
            self._folder.close()
            self._folder = None

    def next(self) -> str | None:
        """The id of a command that was claimed and is not done yet."""
        self._look_again()
        return self._claims[0] if self._claims else None

    def claim(self) -> str | None:
        """Takes the next command; its id, or None when there is none. The result of the last one is gone then."""
        folder = self._opened()
        if not folder.has(contract.COMMAND):
            return None
        claim = uuid.uuid4().hex
        folder.remove(contract.RESULT)
        try:
            folder.rename(contract.COMMAND, contract.claim_name(claim))
        except FileNotFoundError:
            return None  # whoever wrote it has taken it back
        self._claims.append(claim)
        return claim

    def content(self, claim: str) -> bytes:
        """Raises UnacceptableError for what is no readable file; FileNotFoundError when the command was taken back."""
        return self._opened().read(contract.claim_name(claim), contract.MOST_BYTES)

    def has_result(self, claim: str) -> bool:
        """The command was done, and whoever did it did not come to forget the claim."""
        try:
            content = self._opened().read(contract.RESULT, contract.MOST_BYTES)
            return contract.Result.model_validate_json(content).claim == claim
        except (FileNotFoundError, ValueError, UnacceptableError):
            return False

    def report(self, result: contract.Result) -> None:
        """On disk when it returns."""
        self._opened().replace(contract.RESULT, result.to_json())

    def tell(self, progress: contract.Progress) -> None:
        self._opened().replace(contract.PROGRESS, progress.to_json(), durable=False)

    def forget(self, claim: str) -> None:
        folder = self._opened()
        folder.remove(contract.PROGRESS)
        try:
            folder.remove(contract.claim_name(claim))
        except OSError:
            # a folder with something in it: it is nobody's command any more
            folder.rename(contract.claim_name(claim), f"update-command.{claim}.refused")
        self._claims.remove(claim)

    def _opened(self) -> Folder:
        if self._folder is None:
            raise self._unusable("it is not open")
        return self._folder

    def _look_again(self) -> None:
        """A mount that came or went, or a folder that was replaced, is another folder under the same name."""
        folder = self._open()
        if self._folder is not None and self._folder.identity == folder.identity:
            folder.close()
            return
        self.close()
        with contextlib.ExitStack() as stack:
            stack.callback(folder.close)
            if not folder.lock():
                raise self._unusable("another listener has it")
            self._probe(folder)
            self._claims = sorted(claim for name in folder.names() if (claim := contract.claim_in(name)))
            stack.pop_all()
        self._folder = folder

    def _open(self) -> Folder:
        try:
            return Folder.make(self._base, *self._inside)
        except FileNotFoundError:
            self.close()
            raise self._unusable(f"there is no {self._base}") from None
        except OSError as error:
            self.close()
            raise self._unusable(f"{error.strerror} ({error.filename})") from None

    def _probe(self, folder: Folder) -> None:
        try:
            folder.replace(contract.PROGRESS, b"{}\n", durable=False)
            folder.remove(contract.PROGRESS)
        except OSError as error:
            raise self._unusable(f"it cannot be written ({error.strerror})") from None

    def _unusable(self, reason: str) -> CommandFolderError:
        return CommandFolderError(folder=str(self.path), reason=reason)
