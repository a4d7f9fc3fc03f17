"""What the control plane knows of machines, in the shapes that cross its boundary."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from daemon.models import Changes, Moment, Shape, Step, Version
from daemon.states import State

MachineKind = Literal["local-docker", "daytona", "local", "local-vanilla"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("give up to 40 of a-z, 0-9 and inner dashes")
    return text


MachineName = Annotated[str, AfterValidator(check_name)]


class MachineState(StrEnum):
    """What the provider says, never what we hope for: it is looked at, not written down."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ARCHIVED = "archived"
    FAILED = "failed"
    UNKNOWN = "unknown"


class FoundMachine(Shape):
    """A machine as its provider knows it. `ref` is the provider's own name for it."""

    ref: str
    name: str
    kind: MachineKind
    state: MachineState
    detail: str = Field("", description="The provider's own words for the state.")


class Fact(Shape):
    """One line of what a person wants to know about a machine."""

    label: str
    value: str


class ShellCommand(Shape):
    """Something to copy into a terminal. It holds no secret."""

    label: str
    command: str


class RefreshResult(Shape):
    """The answer of `refresh_code`. `success` was confirmed by a new process that runs the commit."""

    success: bool
    message: str
    outcome: str = Field(description="An update's outcome, or unsupported, refused, unreachable, timed_out, stopped.")
    from_commit: str | None = Field(None, alias="from")
    to_commit: str | None = Field(None, alias="to")
    update_id: str | None = None
    log: str = ""
    changes: Changes | None = None
    steps: tuple[Step, ...] = ()


class Activity(StrEnum):
    REFRESH = "refresh"
    ROLLBACK = "rollback"
    RESTART = "restart"
    START = "start"
    STOP = "stop"
    ARCHIVE = "archive"
    DELETE = "delete"


class Operation(Shape):
    """One thing that was done to a machine, or is being done: there is at most one of those."""

    id: str
    machine: str
    activity: Activity
    target_ref: str = ""
    asked_by: str
    asked_at: Moment
    step: State | None = Field(None, description="How far the update in the machine is.")
    finished_at: Moment | None = None
    result: RefreshResult | None = None

    @property
    def running(self) -> bool:
        return self.finished_at is None


class MachineView(Shape):
    """Everything that is shown of one machine: what the provider says, what its daemon says, what we do to it."""

    id: str
    name: str
    kind: MachineKind
    state: MachineState
    detail: str = ""
    supports: tuple[Activity, ...] = ()
    reachable: bool = Field(default=False, description="The daemon answered when it was last asked.")
    problem: str = Field("", description="Why it did not, in words.")
    version: Version | None = Field(None, description="The last answer, which may be old where it is not reachable.")
    seen_at: Moment | None = None
    update_available: bool | None = None
    operation: Operation | None = Field(None, description="What is being done to it.")
    last_operation: Operation | None = None

    @property
    def busy(self) -> bool:
        return self.operation is not None

    def supports_activity(self, activity: Activity) -> bool:
        return activity in self.supports


class MachineChange(Shape):
    """What is told of a machine that has changed."""

    id: str
    machine: MachineView | None = Field(description="Null for one that is not there any more.")
