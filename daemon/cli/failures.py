"""An error as an exit code, as words that say what to do next, and as a document."""

from typing import Any

from daemon.cli.exit_codes import ExitCode
from daemon.cli.terminal import indented, printable
from daemon.client import (
    FailedError,
    InconsistentError,
    OutcomeError,
    RefusedError,
    RolledBackError,
    TimedOutError,
    UnreachableError,
)
from daemon.errors import RefreshdError

_ADVICE_ON_REFUSAL = {
    "invalid_ref": "correct the ref and ask again",
    "unauthorized": "name the token's file with --token-file or REFRESHD_TOKEN_FILE",
    "forbidden": "use the Unix socket in the machine, or a token that may do this",
    "ref_not_allowed": "ask for a ref that is allowed, or change REFRESHD_REFS",
    "update_running": "see how far it is with `refreshd history -n 1`, and ask again when it has ended",
    "machine_busy": "see how far it is with `refreshd history -n 1`, and ask again when it has ended",
    "unsupported": "refresh the code where it comes from; this machine only runs it",
    "unreadable_answer": "check --url or --socket",
}
_KINDS: tuple[tuple[type[RefreshdError], ExitCode, str], ...] = (
    (
        FailedError,
        ExitCode.FAILED,
        "nothing was touched, the machine runs what it ran before: remove the cause and ask again",
    ),
    (
        RolledBackError,
        ExitCode.FAILED,
        "the machine is back where it was and runs that: remove the cause and ask again",
    ),
    (
        InconsistentError,
        ExitCode.INCONSISTENT,
        "do not rely on this machine: look at `refreshd status`, then refresh it again or replace it",
    ),
    (
        UnreachableError,
        ExitCode.UNREACHABLE,
        "check that the daemon runs, and name it with --machine, --socket or --url",
    ),
    (TimedOutError, ExitCode.TIMED_OUT, "an update that was accepted goes on: see `refreshd history -n 1`"),
    (RefusedError, ExitCode.REFUSED, ""),
)


def exit_code(error: RefreshdError) -> ExitCode:
    return next((code for kind, code, _ in _KINDS if isinstance(error, kind)), ExitCode.FAILED)


def in_words(error: RefreshdError) -> str:
    """The sentence, the tail of the log, and what to do next."""
    advice = _advice(error)
    return "\n".join([printable(str(error)), *indented(error.detail), *([advice] if advice else [])])


def document(error: RefreshdError) -> dict[str, Any]:
    """The update, where there is one; else the error with the fields that a script would branch on."""
    if isinstance(error, OutcomeError):
        return error.update.snake()
    fields: dict[str, Any] = {"code": error.code, "message": str(error), "detail": error.detail}
    if isinstance(error, RefusedError):
        fields |= {"code": error.refusal, "status": error.http_status}
        fields |= {"update": error.running} if error.running else {}
    return {"error": fields}


def _advice(error: RefreshdError) -> str:
    if isinstance(error, RefusedError):
        return _ADVICE_ON_REFUSAL.get(error.refusal, "")
    return next((advice for kind, _, advice in _KINDS if isinstance(error, kind)), "")
