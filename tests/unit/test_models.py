"""The shapes that cross a boundary."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.models import (
    Changes,
    Health,
    LastUpdate,
    OnDisk,
    Plan,
    Preserved,
    Problem,
    Running,
    Shape,
    Step,
    Update,
    UpdateRequest,
    Version,
    now,
)
from daemon.states import State

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SHA, OTHER_SHA = "ab" * 20, "cd" * 20
UPDATE = Update(
    id="000001-abcdef",
    request=UpdateRequest(target_ref="refs/heads/main", trigger="cli", idempotency_key="k"),
    state=State.ROLLED_BACK,
    source="git",
    from_commit=SHA,
    to_commit=OTHER_SHA,
    ref="refs/heads/main",
    message="back",
    notes=("one", "two"),
    error=Problem(code="install_failed", message="cannot install", detail="tail"),
    changes=Changes(added=1, changed=2, deleted=3, files=("A x",)),
    preserved=Preserved(snapshot=SHA, files=("y",), total=1),
    steps=(Step(state=State.REQUESTED, started_at=AT, seconds=0.5), Step(state=State.STAGING, started_at=AT)),
    started_at=AT,
    finished_at=AT,
    last_seq=9,
)
VERSION = Version(
    sha=SHA,
    running=Running(sha=SHA, version="0.1.0"),
    on_disk=OnDisk(sha=SHA, dirty=True, dirty_at=AT),
    dirty=True,
    environment="daytona",
    boot_id="b",
    started_at=AT,
    os_sha=None,
    update_available=None,
    last_update=LastUpdate(
        id="000001-abcdef",
        state=State.SUCCEEDED,
        target_ref="main",
        from_commit=None,
        to_commit=SHA,
        finished_at=AT,
    ),
)
PLAN = Plan(
    target_ref="main",
    source="mount",
    from_commit=SHA,
    to_commit=None,
    apply=True,
    install=("pnpm",),
    restart=True,
    changes=Changes(),
)
HEALTH = Health(status="ok", version="0.1.0", sha=None, boot_id="b")
SHAPES: list[Shape] = [UPDATE, VERSION, PLAN, HEALTH]


def keys(value: Any) -> set[str]:
    match value:
        case dict():
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        case list():
            return {key for inner in value for key in keys(inner)}
        case _:
            return set()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_a_shape_survives_both_spellings(shape: Shape) -> None:
    for spelled in (shape.snake(), shape.camel()):
        assert type(shape).model_validate_json(json.dumps(spelled)).snake() == shape.snake()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_each_spelling_goes_all_the_way_down(shape: Shape) -> None:
    assert all(key == key.lower() for key in keys(shape.snake()))
    assert all("_" not in key for key in keys(shape.camel()))


def test_the_names_that_the_wire_promises() -> None:
    assert set(VERSION.camel()) == {
        "sha",
        "running",
        "onDisk",
        "dirty",
        "treeId",
        "environment",
        "bootId",
        "startedAt",
        "osSha",
        "updateAvailable",
        "lastUpdate",
    }
    assert UPDATE.camel()["request"] == {
        "targetRef": "refs/heads/main",
        "trigger": "cli",
        "idempotencyKey": "k",
        "force": False,
        "by": None,
        "rollbackOf": None,
    }
    assert UPDATE.snake()["request"]["target_ref"] == "refs/heads/main"


def test_moments_are_utc_with_milliseconds() -> None:
    here = datetime(2026, 1, 2, 5, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    step = Step(state=State.STAGING, started_at=here)
    assert step.snake()["started_at"] == "2026-01-02T03:04:05.678Z"
    assert step.camel()["startedAt"] == "2026-01-02T03:04:05.678Z"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Step(state=State.STAGING, started_at=datetime(2026, 1, 2))  # noqa: DTZ001 - that is the point


def test_now_is_what_is_read_again_after_it_was_written() -> None:
    step = Step(state=State.STAGING, started_at=now())
    assert Step.model_validate_json(json.dumps(step.snake())) == step
    assert step.started_at.tzinfo is UTC


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        UpdateRequest.model_validate({"target_ref": "main", "forced": True})


def test_shapes_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        UPDATE.message = "other"  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "a\x00b", "\x1b[2J"])
def test_an_idempotency_key_is_short_and_printable(key: str) -> None:
    with pytest.raises(ValidationError):
        UpdateRequest(target_ref="main", idempotency_key=key)


@pytest.mark.parametrize("key", ["x", "x" * 200, "order 66/ü"])
def test_an_idempotency_key_is_kept_as_it_is(key: str) -> None:
    assert UpdateRequest(target_ref="main", idempotency_key=key).idempotency_key == key


def test_changes_add_up() -> None:
    assert Changes(added=1, changed=2, deleted=4, files=("A x",)).total == 7


@pytest.mark.parametrize(
    ("difference", "nothing"),
    [({}, True), ({"apply": True}, False), ({"install": ("uv",)}, False), ({"restart": True}, False)],
)
def test_a_plan_knows_when_there_is_nothing_to_do(difference: dict[str, object], nothing: bool) -> None:  # noqa: FBT001 - a case
    idle = PLAN.model_copy(update={"apply": False, "install": (), "restart": False})
    assert idle.model_copy(update=difference).nothing_to_do is nothing


@pytest.mark.parametrize("shape", [Version, Update, Plan])
def test_every_field_is_always_sent(shape: type[Shape]) -> None:
    """A caller need not know which fields are left out when they are empty."""
    example = next(s for s in SHAPES if isinstance(s, shape))
    assert set(example.snake()) == set(shape.model_fields)
