"""What the page says of an update, as values. No I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from daemon.models import Update, Version, now
from daemon.states import State

_LABELS = {
    State.REQUESTED: "Asked",
    State.STAGING: "Fetching",
    State.APPLYING: "Replacing the code",
    State.INSTALLING: "Installing dependencies",
    State.CHECKING: "Checking the new code",
    State.RESTARTING: "Restarting",
    State.VERIFYING: "Verifying",
}
_ENDS = {
    State.SUCCEEDED: "The update succeeded.",
    State.UNCHANGED: "The machine was up to date already.",
    State.FAILED: "The update failed, and nothing was touched.",
    State.ROLLED_BACK: "The update failed and was rolled back: the machine runs what it ran before.",
    State.INCONSISTENT: "The update failed, and so did the way back.",
}
_REFUSED_BEFORE = "bad_target"


@dataclass(frozen=True)
class StepView:
    """`tone` is empty for a step that is still to come."""

    label: str
    tone: Literal["", "good", "busy"] = ""
    mark: str = "·"
    word: str = "to come"
    seconds: float | None = None

    @property
    def current(self) -> bool:
        return self.tone == "busy"


@dataclass(frozen=True)
class UpdateView:
    """Of the newest update, where there is one."""

    current: Update | None

    @property
    def running(self) -> bool:
        return self.current is not None and not self.current.state.final

    @property
    def steps(self) -> tuple[StepView, ...]:
        return tuple(_steps(self.current)) if self.current else ()

    @property
    def end(self) -> str:
        return _ENDS.get(self.current.state, "") if self.current else ""

    @property
    def stopped_at(self) -> str:
        """Which step an update that failed did not get through."""
        reached = [step.state for step in self.current.steps if step.state in _LABELS] if self.current else []
        return _LABELS[reached[-1]].lower() if reached else ""

    @property
    def announcement(self) -> str:
        """For a screen reader, whenever it changes."""
        if self.current is None:
            return ""
        return self.end or f"Update: {_LABELS[self.current.state].lower()}."

    @property
    def needs_force(self) -> bool:
        """It did not run when it was tried before, and was refused for that."""
        return bool(self.current and self.current.error and self.current.error.code == _REFUSED_BEFORE)


def _steps(update: Update) -> Iterator[StepView]:
    seen = {step.state: step for step in update.steps}
    for state, label in _LABELS.items():
        step = seen.get(state)
        if step is None:
            yield StepView(label)
        elif state is update.state:
            lasted = max(0.0, (now() - step.started_at).total_seconds())
            yield StepView(label, "busy", "", "under way", round(lasted, 1))
        else:
            yield StepView(label, "good", "✓", "done", step.seconds)


def suggested_target(version: Version, updates: Sequence[Update]) -> str:
    """The control plane's commit where it is another, else what was asked for last, else what everybody has."""
    if version.update_available and version.os_sha:
        return version.os_sha
    asked = (update.request.target_ref for update in updates if not update.request.rollback_of)
    return next(asked, "HEAD" if version.environment == "local-docker" else "main")
