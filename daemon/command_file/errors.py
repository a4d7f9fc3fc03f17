"""What can be wrong with a command, its folder, or the one who should take it."""

from dataclasses import dataclass

from daemon.errors import RefreshdError


@dataclass(kw_only=True, eq=False)
class UnacceptableError(RefreshdError):
    """`request_id` is what could be found of it, for a caller who waits for a result that names it."""

    code = "bad_request"
    status = 400
    template = "cannot accept the command: {reason}"
    reason: str
    request_id: str | int | float | None = None


@dataclass(kw_only=True, eq=False)
class UnfinishedError(UnacceptableError):
    """It may still be being written."""


@dataclass(kw_only=True, eq=False)
class CommandFolderError(RefreshdError):
    code = "command_folder_unusable"
    status = 503
    template = "cannot use the command folder {folder}: {reason}"
    folder: str
    reason: str


@dataclass(kw_only=True, eq=False)
class CommandPendingError(RefreshdError):
    code = "command_pending"
    status = 409
    template = (
        "cannot write {file}: a request is in it that nobody has taken; check that `refreshd listen` runs on the host"
    )
    file: str


@dataclass(kw_only=True, eq=False)
class NoResultError(RefreshdError):
    code = "no_result"
    status = 504
    template = "cannot wait any longer for the host: {reason}; {seconds:g} s have passed"
    reason: str
    seconds: float
