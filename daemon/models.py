"""The shapes that cross a boundary: requests in, records out. Python and REST say snake_case, tRPC camelCase."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from daemon.errors import RefreshdError
from daemon.states import Event, State


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(_iso, return_type=str)]


def now() -> datetime:
    """To the millisecond: what is kept in memory equals what is read again."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a control character")
    return text


IdempotencyKey = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]


class Shape(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        json_schema_serialization_defaults_required=True,
    )

    def snake(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=False)

    def camel(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


class UpdateRequest(Shape):
    """What was asked for. `target_ref` has passed `refs.parse_*`; a branch is kept as `refs/heads/…`."""

    target_ref: str
    trigger: str = Field("unknown", description="Who asked: trpc, rest, page, command_file, guard, boot.")
    idempotency_key: IdempotencyKey | None = None
    force: bool = Field(default=False, description="Also to a commit that did not run when it was tried before.")
    by: str | None = Field(None, description="Who asked, as the audit lines of the log name them.")
    rollback_of: str | None = Field(None, description="The update whose state before it is to be restored.")


class Problem(Shape):
    """An error as it is recorded and shown: a code to branch on, a sentence, and the tail of a child's output."""

    code: str
    message: str
    detail: str = ""


def problem_of(error: RefreshdError) -> Problem:
    return Problem(code=error.code, message=str(error), detail=error.detail)


class Changes(Shape):
    """What an update changed on disk, by content; the lists are cut at a bound, the counts are not."""

    added: int = 0
    changed: int = 0
    deleted: int = 0
    files: tuple[str, ...] = Field((), description="`A path`, `M path`, `D path`; at most 200 of them.")

    @property
    def total(self) -> int:
        return self.added + self.changed + self.deleted


class Preserved(Shape):
    """Where the local edits are that the update found."""

    snapshot: str
    files: tuple[str, ...] = Field((), description="At most 200 of them.")
    total: int = 0


class KeptSnapshot(Shape):
    """What the checkout held at some moment. `update` is the one that it was taken before."""

    id: str
    taken_at: Moment
    label: str
    update: str | None = None
    head: str | None = Field(None, description="The commit that HEAD named then.")


class SnapshotPage(Shape):
    """As UpdatePage."""

    snapshots: tuple[KeptSnapshot, ...]
    next_cursor: str | None = None


class SnapshotReport(KeptSnapshot):
    """`edits`: what differs from the commit of then; None where that is not in the checkout any more."""

    edits: Changes | None = None


class SnapshotDiff(Shape):
    """What one has to do to `a` to get `b`; `b` is `now` for the checkout as it is."""

    a: str
    b: str
    changes: Changes


class Restored(Shape):
    """`before` is the snapshot of what the restored files replaced."""

    id: str
    before: str
    changes: Changes


class Step(Shape):
    """One state that the update was in; `seconds` is None while it lasts."""

    state: State
    started_at: Moment
    seconds: float | None = None


class Entry(Shape):
    """One line of an update's journal; `facts` are fields of Update.

    `event` is None for the first line and for progress inside a state.
    """

    seq: int
    at: Moment
    state: State
    event: Event | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


class Update(Shape):
    """The record of one refresh, folded from its journal."""

    id: str
    request: UpdateRequest
    state: State
    source: str | None = None
    from_commit: str | None = None
    to_commit: str | None = None
    ref: str | None = Field(None, description="The full name that the target resolved to, where it was a name.")
    message: str = ""
    notes: tuple[str, ...] = Field((), description="What the caller should know although nothing failed.")
    error: Problem | None = None
    undo_error: Problem | None = Field(None, description="Why the way back failed, too.")
    changes: Changes | None = None
    snapshot: str | None = Field(None, description="What the checkout held before; a rollback goes back to it.")
    tree: str | None = Field(None, description="Content id of the checkout as the update left it.")
    installed: dict[str, str] = Field(
        default_factory=dict, description="The input of the dependencies that belong to it, by installer."
    )
    preserved: Preserved | None = None
    steps: tuple[Step, ...] = ()
    started_at: Moment
    finished_at: Moment | None = None
    last_seq: int = 0


class UpdateResult(Shape):
    """What tRPC's callers get for an update. `success` says that the new code is in place, or that it was there."""

    success: bool
    message: str
    update_id: str
    from_commit: str | None = Field(alias="from")
    to_commit: str | None = Field(alias="to")
    outcome: State
    notes: tuple[str, ...] = ()
    log: str = Field("", description="The tail of what a child printed, where the update failed.")


class UpdatePage(Shape):
    """`next_cursor` asks for the page after it; None at the end of the list."""

    updates: tuple[Update, ...]
    next_cursor: str | None = None


class Plan(Shape):
    """What an update would do; `nothing to do` is one of its ordinary answers."""

    target_ref: str
    source: str
    from_commit: str | None
    to_commit: str | None
    ref: str | None = None
    apply: bool = Field(description="The checkout would be changed.")
    install: tuple[str, ...] = Field(description="Installers that would run.")
    restart: bool = Field(description="The daemon would restart.")
    changes: Changes | None = Field(None, description="Committed changes from here to there, where git knows them.")
    notes: tuple[str, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        return not (self.apply or self.install or self.restart)


class Running(Shape):
    """What the process started from."""

    sha: str | None
    version: str


class OnDisk(Shape):
    """What the checkout holds now. `dirty` was true or false at `dirty_at`; None when git could not tell."""

    sha: str | None
    dirty: bool | None
    dirty_at: Moment | None


class LastUpdate(Shape):
    id: str
    state: State
    target_ref: str
    from_commit: str | None
    to_commit: str | None
    finished_at: Moment | None


class Version(Shape):
    """`sha` is what `git rev-parse HEAD` says now; the rest tells the truth around it."""

    sha: str | None
    running: Running
    on_disk: OnDisk
    dirty: bool | None
    tree_id: str | None = Field(
        None, description="Equal ids mean equal files, edits included. The tree of the commit while nothing differs."
    )
    environment: str
    boot_id: str
    started_at: Moment
    os_sha: str | None
    update_available: bool | None = Field(description="The control plane's commit differs; None when it is unknown.")
    last_update: LastUpdate | None


class ProblemDocument(Shape):
    """An error (RFC 9457). Branch on `code`: sentences may change."""

    # what is empty is left out
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str = Field(
        "about:blank", description="`urn:refreshd:error:<code>`, or `about:blank` for what HTTP itself refuses."
    )
    title: str = ""
    status: int
    detail: str = Field(description="What could not be done, why, and what to do about it.")
    code: str
    log: str = Field("", description="The tail of what a child printed.")
    update: str = Field("", description="The id of the update that is in the way.")


class Health(Shape):
    status: str
    version: str
    sha: str | None
    boot_id: str


class LogLine(Shape):
    """`at`: when the logger read it, in the machine's local time. `cursor`: from which to read on behind it."""

    at: str
    text: str
    cursor: str


class Role(StrEnum):
    """What a user may do: look, or also change the machine."""

    READ = "read"
    UPDATE = "update"


class User(Shape):
    name: str
    role: Role
    enabled: bool = True
    created_at: Moment
    token_set_at: Moment


class UserList(Shape):
    users: tuple[User, ...]


class Issued(Shape):
    """The only time that a token is shown."""

    user: User
    token: str = Field(repr=False)
