"""What a caller of a daemon can meet, told apart: no answer, an answer that is no, an update that did not succeed."""

from dataclasses import dataclass

from daemon.errors import RefreshdError
from daemon.models import Update
from daemon.states import State


@dataclass(kw_only=True, eq=False)
class NoAnswerError(RefreshdError):
    """The base of the two below. `sent`: the request may have arrived, so its effect is unknown.

    `retry_after` is how many seconds the other side asked us to wait.
    """

    sent: bool = True
    retry_after: float = 0


@dataclass(kw_only=True, eq=False)
class UnreachableError(NoAnswerError):
    code = "unreachable"
    status = 503
    template = "cannot reach the daemon at {where}: {reason}"
    where: str
    reason: str


@dataclass(kw_only=True, eq=False)
class TimedOutError(NoAnswerError):
    code = "timed_out"
    status = 504
    template = "cannot wait any longer for {what}: {seconds:g} s have passed"
    what: str
    seconds: float


@dataclass(kw_only=True, eq=False)
class RefusedError(RefreshdError):
    """The daemon answered, and the answer is no or cannot be read. `detail` is the log that came with it.

    `refusal` is the daemon's error code, `http_status` the status of its answer, `running` the update in the way.
    """

    code = "refused"
    status = 502
    template = "{sentence}"
    sentence: str
    refusal: str
    http_status: int
    running: str = ""


@dataclass(kw_only=True, eq=False)
class OutcomeError(RefreshdError):
    """The base of the three below: the update has ended, and the machine does not run what was asked for."""

    status = 422
    template = "{sentence}"
    sentence: str
    update: Update


@dataclass(kw_only=True, eq=False)
class FailedError(OutcomeError):
    """Nothing was touched."""

    code = "failed"


@dataclass(kw_only=True, eq=False)
class RolledBackError(OutcomeError):
    """The machine was put back to where it was."""

    code = "rolled_back"


@dataclass(kw_only=True, eq=False)
class InconsistentError(OutcomeError):
    """Putting it back failed too, or the process that runs is not the one that the record tells of."""

    code = "inconsistent"
    status = 500


_BY_STATE: dict[State, type[OutcomeError]] = {
    State.FAILED: FailedError,
    State.ROLLED_BACK: RolledBackError,
    State.INCONSISTENT: InconsistentError,
}


def raise_unless_good(update: Update) -> None:
    """Raises the OutcomeError that fits the end of the update; returns for `succeeded` and `unchanged`."""
    kind = _BY_STATE.get(update.state)
    if kind is None:
        return
    ended = f"cannot say more about update {update.id} than that it ended as {update.state}"
    # where the way back failed too, the message tells of both
    told = update.error.message if update.error and update.state is not State.INCONSISTENT else update.message
    raise kind(sentence=told or ended, update=update, detail=update.error.detail if update.error else "")
