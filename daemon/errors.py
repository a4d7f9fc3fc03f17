"""Every error that a caller can meet. Each knows its code, its HTTP status and its sentence.

A sentence begins with "cannot", names what it is about and, where there is something to do, says what.
`detail` holds the tail of a child's output; it is shown to callers, so it must have been cleaned of secrets.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ValidationError


@dataclass(kw_only=True, eq=False)
class RefreshdError(Exception):
    """The base of all; an instance of it is never raised."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    template: ClassVar[str] = "cannot go on"

    detail: str = ""

    def __str__(self) -> str:
        return self.template.format(**vars(self))

    @property
    def headers(self) -> dict[str, str]:
        """What an HTTP answer says beside the sentence; `retry_after` is in seconds."""
        later = getattr(self, "retry_after", None)
        return {} if later is None else {"Retry-After": str(later)}


def in_words(error: ValidationError) -> str:
    """What is wrong with a body, field by field, without quoting it."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'the body'}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors(include_url=False, include_input=False, include_context=False)
    )


# The edge: nothing was recorded.


@dataclass(kw_only=True, eq=False)
class BadRequestError(RefreshdError):
    code = "bad_request"
    status = 400
    template = "cannot read the request: {reason}"
    reason: str


@dataclass(kw_only=True, eq=False)
class InvalidRefError(RefreshdError):
    code = "invalid_ref"
    status = 400
    template = "cannot accept {ref!r} as a ref: {reason}; give a branch, a tag or all 40 digits of a commit id"
    ref: str
    reason: str


@dataclass(kw_only=True, eq=False)
class UnauthorizedError(RefreshdError):
    code = "unauthorized"
    status = 401
    template = "cannot answer without a valid token: send `Authorization: Bearer …`, or use the Unix socket"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


@dataclass(kw_only=True, eq=False)
class ForbiddenError(RefreshdError):
    code = "forbidden"
    status = 403
    template = "cannot allow this: {reason}"
    reason: str


@dataclass(kw_only=True, eq=False)
class ThrottledError(RefreshdError):
    code = "throttled"
    status = 429
    template = "cannot check another token from this address now: too many were wrong; try again in {retry_after} s"
    retry_after: int


@dataclass(kw_only=True, eq=False)
class MisdirectedError(RefreshdError):
    code = "unknown_host"
    status = 421
    template = "cannot answer for the host {host!r} without a token: name it in REFRESHD_HOSTS"
    host: str


@dataclass(kw_only=True, eq=False)
class UserNameError(RefreshdError):
    code = "invalid_name"
    status = 400
    template = (
        "cannot accept {name!r} as a user's name: give up to 32 of a-z, 0-9, dot, dash and underscore, a letter first"
    )
    name: str


@dataclass(kw_only=True, eq=False)
class TakenError(RefreshdError):
    code = "taken"
    status = 409
    template = "cannot add the user {name}: there is one already; give another name, or `passwd` for a new token"
    name: str


@dataclass(kw_only=True, eq=False)
class LastUserError(RefreshdError):
    code = "last_user"
    status = 409
    template = "cannot {what} {name}: nobody else with the role update is enabled; add or enable another one first"
    what: str
    name: str


@dataclass(kw_only=True, eq=False)
class NotFoundError(RefreshdError):
    code = "not_found"
    status = 404
    template = "cannot find {what}"
    what: str


@dataclass(kw_only=True, eq=False)
class UnsupportedMediaTypeError(RefreshdError):
    code = "unsupported_media_type"
    status = 415
    template = "cannot read a body of type {given!r}: send application/json"
    given: str


@dataclass(kw_only=True, eq=False)
class UpdateRunningError(RefreshdError):
    code = "update_running"
    status = 409
    template = "cannot start an update to {ref!r}: update {running} to {running_ref!r} is {state}; wait for it to end"
    ref: str
    running: str
    running_ref: str
    state: str


@dataclass(kw_only=True, eq=False)
class BusyError(RefreshdError):
    """Something other than an update wanted the machine to itself."""

    code = "machine_busy"
    status = 409
    template = "cannot {what} now: update {running} to {running_ref!r} is {state}; wait for it to end"
    what: str
    running: str
    running_ref: str
    state: str


@dataclass(kw_only=True, eq=False)
class RestartingError(RefreshdError):
    code = "restarting"
    status = 503
    template = "cannot start an update now: the daemon is restarting; try again in {retry_after} s"
    retry_after: int = 1


@dataclass(kw_only=True, eq=False)
class UnsupportedError(RefreshdError):
    code = "unsupported"
    status = 422
    template = "cannot refresh this machine: {reason}"
    reason: str


# The way of an update: recorded with the update.


@dataclass(kw_only=True, eq=False)
class CheckoutError(RefreshdError):
    code = "checkout_unusable"
    status = 422
    template = "cannot use the checkout {path}: {reason}"
    path: str
    reason: str


@dataclass(kw_only=True, eq=False)
class UnreadableFilesError(RefreshdError):
    code = "unreadable_files"
    status = 422
    template = (
        "cannot keep what is in {names}: the user that the daemon runs as may not read it; "
        "let it (chmod, chown), or let git ignore it (.git/info/exclude)"
    )
    names: str


@dataclass(kw_only=True, eq=False)
class RepositoryInTheWayError(RefreshdError):
    code = "repository_in_the_way"
    status = 422
    template = (
        "cannot put files into {path}: it is a git repository of its own, of which nothing is kept; "
        "move it elsewhere and ask again"
    )
    path: str


@dataclass(kw_only=True, eq=False)
class RemoteError(RefreshdError):
    """The remote did not answer or did not let us in. `remote` carries no credentials."""

    code = "remote_failed"
    status = 502
    template = "cannot fetch {ref!r} from {remote}: {reason}"
    ref: str
    remote: str
    reason: str


@dataclass(kw_only=True, eq=False)
class RefNotFoundError(RefreshdError):
    code = "ref_not_found"
    status = 422
    template = "cannot find {ref!r} at {remote}: {hint}"
    ref: str
    remote: str
    hint: str = "check the name"


@dataclass(kw_only=True, eq=False)
class RefNotAllowedError(RefreshdError):
    code = "ref_not_allowed"
    status = 403
    template = "cannot update to {ref!r}: {reason}"
    ref: str
    reason: str


@dataclass(kw_only=True, eq=False)
class WayBackNotAllowedError(RefNotAllowedError):
    code = "way_back_not_allowed"
    template = "cannot go back to {ref}: {reason}; ask for a ref that is allowed, or allow this commit first"


@dataclass(kw_only=True, eq=False)
class RestoreNotAllowedError(RefNotAllowedError):
    code = "restore_not_allowed"
    template = (
        "cannot restore files of the commit {ref}: {reason}; name only files that were edited then, as shown for the "
        "snapshot, or allow this commit first"
    )


@dataclass(kw_only=True, eq=False)
class MountError(RefreshdError):
    code = "mount_unusable"
    status = 422
    template = "cannot refresh from the mount {path}: {reason}"
    path: str
    reason: str


@dataclass(kw_only=True, eq=False)
class InstallError(RefreshdError):
    code = "install_failed"
    status = 422
    template = "cannot install dependencies with {installer}: {reason}"
    installer: str
    reason: str


@dataclass(kw_only=True, eq=False)
class CheckError(RefreshdError):
    code = "check_failed"
    status = 422
    template = "cannot run the new code: {reason}"
    reason: str


@dataclass(kw_only=True, eq=False)
class VerifyError(RefreshdError):
    code = "verify_failed"
    status = 422
    template = "cannot confirm the update: {reason}"
    reason: str


@dataclass(kw_only=True, eq=False)
class CrashLoopError(RefreshdError):
    code = "crash_loop"
    status = 422
    template = "cannot keep the new code running: it died {starts} times before it was stable"
    starts: int


@dataclass(kw_only=True, eq=False)
class BadTargetError(RefreshdError):
    code = "bad_target"
    status = 422
    template = "cannot update to {commit} again: {reason}; ask with force to try all the same"
    commit: str
    reason: str


@dataclass(kw_only=True, eq=False)
class NothingToRollBackError(RefreshdError):
    code = "nothing_to_roll_back"
    status = 422
    template = "cannot roll back update {update}: {reason}"
    update: str
    reason: str


@dataclass(kw_only=True, eq=False)
class DamagedSnapshotError(RefreshdError):
    code = "snapshot_damaged"
    status = 422
    template = "cannot go back to snapshot {snapshot}: not all of it can be read; see `refreshd snapshots list`"
    snapshot: str


@dataclass(kw_only=True, eq=False)
class NoSpaceError(RefreshdError):
    code = "no_space"
    status = 507
    template = "cannot write to {path}: the disk is full; free some space and try again"
    path: str


@dataclass(kw_only=True, eq=False)
class SystemCallError(RefreshdError):
    code = "system_call_failed"
    status = 500
    template = "cannot use {path}: {reason}; make it usable for the user that the daemon runs as"
    path: str
    reason: str


@dataclass(kw_only=True, eq=False)
class InterruptedUpdateError(RefreshdError):
    code = "interrupted"
    status = 500
    template = "cannot finish the update: the daemon died while {state}"
    state: str


@dataclass(kw_only=True, eq=False)
class StateLoopError(RefreshdError):
    code = "state_loop"
    status = 500
    template = "cannot go on with update {update}: it has {entries} entries and did not end"
    update: str
    entries: int


@dataclass(kw_only=True, eq=False)
class InternalError(RefreshdError):
    """A defect of ours; the log has the traceback, the caller only this."""

    code = "internal"
    status = 500
    template = "cannot finish because of a defect in refreshd; see its log"


# Children: wrapped by the step that ran them.


@dataclass(kw_only=True, eq=False)
class CommandFailedError(RefreshdError):
    code = "command_failed"
    template = "cannot complete `{command}`: exit code {exit_code}"
    command: str
    exit_code: int


@dataclass(kw_only=True, eq=False)
class CommandTimeoutError(RefreshdError):
    code = "command_timeout"
    status = 504
    template = "cannot complete `{command}`: no end after {seconds:g} s"
    command: str
    seconds: float


@dataclass(kw_only=True, eq=False)
class ToolMissingError(RefreshdError):
    code = "tool_missing"
    template = "cannot find the program {tool!r}: install it in the image"
    tool: str


# The process itself.


@dataclass(kw_only=True, eq=False)
class ConfigurationError(RefreshdError):
    """Ends the process with 100: starting again would not help."""

    code = "misconfigured"
    template = "cannot start: {problems}"
    problems: str
