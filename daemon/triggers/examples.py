"""What requests and answers look like: for people who read the API's document. Made of the shapes, so they are true."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.models import (
    Changes,
    Health,
    KeptSnapshot,
    LastUpdate,
    OnDisk,
    Plan,
    Restored,
    Running,
    Shape,
    SnapshotDiff,
    SnapshotPage,
    SnapshotReport,
    Step,
    Update,
    UpdatePage,
    UpdateRequest,
    Version,
)
from daemon.states import State

_OLD, _NEW, _SNAPSHOT, _LATER = ("1f2e" * 10, "9c0d" * 10, "5ab3" * 10, "77e1" * 10)
_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_ID = "000012-3f9a1c"

Examples = Mapping[str, Any]


def examples_of(shape: object) -> Examples:
    """By name; empty for what needs none."""
    bodies: dict[str, Examples] = {
        "UpdateBody": {
            "a branch": {"branch": "main"},
            "a commit, and wait": {"commit": _NEW, "wait": True},
            "only look": {"target_ref": "v1.4.0", "dry_run": True},
        },
        "RollbackBody": {"at once": {}, "and wait": {"wait": True}},
        "RestoreBody": {"everything": {}, "one file": {"paths": ["src/main.py"]}},
    }
    name = getattr(shape, "__name__", "")
    return bodies.get(name) or {made.__class__.__name__: made.snake() for made in _answers() if _fits(made, shape)}


def _fits(made: Shape, shape: object) -> bool:
    return type(made) in (getattr(shape, "__args__", None) or (shape,))


def _answers() -> tuple[Shape, ...]:
    changes = Changes(changed=1, files=("M src/main.py",))
    update = _update(changes)
    kept = KeptSnapshot(id=_SNAPSHOT, taken_at=_AT, label=f"before update {_ID}", update=_ID, head=_OLD)
    return (
        Health(status="alive", version="1.0.0", sha=_NEW, boot_id="b5e2" * 8),
        _version(update),
        update,
        UpdatePage(updates=(update,), next_cursor=_ID),
        Plan(
            target_ref="main",
            source="git",
            from_commit=_OLD,
            to_commit=_NEW,
            ref="refs/heads/main",
            apply=True,
            install=("pnpm",),
            restart=True,
            changes=changes,
        ),
        SnapshotPage(snapshots=(kept,)),
        SnapshotReport(**dict(kept), edits=changes),
        SnapshotDiff(a=_SNAPSHOT, b="now", changes=changes),
        Restored(id=_SNAPSHOT, before=_LATER, changes=changes),
    )


def _update(changes: Changes) -> Update:
    way = (
        State.REQUESTED,
        State.STAGING,
        State.APPLYING,
        State.INSTALLING,
        State.CHECKING,
        State.RESTARTING,
        State.VERIFYING,
        State.SUCCEEDED,
    )
    steps = tuple(
        Step(state=state, started_at=_AT + timedelta(seconds=0.1 * n), seconds=0.1) for n, state in enumerate(way)
    )
    return Update(
        id=_ID,
        request=UpdateRequest(target_ref="main", trigger="rest"),
        state=State.SUCCEEDED,
        source="git",
        from_commit=_OLD,
        to_commit=_NEW,
        ref="refs/heads/main",
        message="updated",
        changes=changes,
        snapshot=_SNAPSHOT,
        steps=steps,
        started_at=_AT,
        finished_at=steps[-1].started_at,
        last_seq=len(steps),
    )


def _version(update: Update) -> Version:
    return Version(
        sha=_NEW,
        running=Running(sha=_NEW, version="1.0.0"),
        on_disk=OnDisk(sha=_NEW, dirty=False, dirty_at=_AT),
        dirty=False,
        tree_id="c4d8" * 10,
        environment="daytona",
        boot_id="b5e2" * 8,
        started_at=_AT,
        os_sha=_NEW,
        update_available=False,
        last_update=LastUpdate(
            id=update.id,
            state=update.state,
            target_ref=update.request.target_ref,
            from_commit=_OLD,
            to_commit=_NEW,
            finished_at=update.finished_at,
        ),
    )
