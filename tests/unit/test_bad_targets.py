"""Commits that did not run are refused until somebody insists."""

import json
from pathlib import Path

import pytest

from daemon.bad_targets import KEPT, BadTargets
from daemon.errors import (
    CheckError,
    CrashLoopError,
    InstallError,
    InterruptedUpdateError,
    NoSpaceError,
    RefreshdError,
    RemoteError,
    VerifyError,
)
from daemon.models import UpdateRequest
from daemon.refs import parse_ref
from daemon.states import State
from tests.support.world import World

COMMIT = "a" * 40


@pytest.fixture
def targets(tmp_path: Path) -> BadTargets:
    return BadTargets(tmp_path / "bad-targets.json")


@pytest.mark.parametrize("error", [CheckError(reason="no"), VerifyError(reason="no"), CrashLoopError(starts=4)])
async def test_what_the_commit_is_to_blame_for_is_remembered(targets: BadTargets, error: RefreshdError) -> None:
    await targets.remember(COMMIT, error)
    assert await targets.reason(COMMIT) == str(error)
    assert await targets.reason("b" * 40) is None


@pytest.mark.parametrize(
    "error",
    [
        RemoteError(ref="x", remote="http://host", reason="no"),
        InstallError(installer="pnpm", reason="no"),
        NoSpaceError(path="/"),
        InterruptedUpdateError(state="applying"),
    ],
)
async def test_what_it_is_not_to_blame_for_is_not_held_against_it(targets: BadTargets, error: RefreshdError) -> None:
    await targets.remember(COMMIT, error)
    assert await targets.reason(COMMIT) is None


async def test_a_target_without_a_commit_is_never_bad(targets: BadTargets) -> None:
    await targets.remember(None, CheckError(reason="no"))
    await targets.forget(None)
    assert await targets.reason(None) is None


async def test_a_commit_that_ran_after_all_is_forgotten(targets: BadTargets) -> None:
    await targets.remember(COMMIT, CheckError(reason="no"))
    await targets.forget(COMMIT)
    assert await targets.reason(COMMIT) is None


async def test_it_is_known_to_the_next_process(targets: BadTargets, tmp_path: Path) -> None:
    await targets.remember(COMMIT, CheckError(reason="no"))
    assert await BadTargets(tmp_path / "bad-targets.json").reason(COMMIT)


async def test_the_oldest_are_forgotten_at_the_bound(targets: BadTargets, tmp_path: Path) -> None:
    known = {f"{number:040}": "no" for number in range(KEPT)}
    (tmp_path / "bad-targets.json").write_text(json.dumps(known))
    await targets.remember(COMMIT, CheckError(reason="no"))
    assert await targets.reason(f"{0:040}") is None
    assert await targets.reason(f"{1:040}") == "no"
    assert await targets.reason(COMMIT)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000])
async def test_a_file_that_cannot_be_read_refuses_nothing_and_is_replaced(
    targets: BadTargets, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad-targets.json").write_bytes(content)
    assert await targets.reason(COMMIT) is None
    await targets.remember(COMMIT, CheckError(reason="no"))
    assert await targets.reason(COMMIT)


async def test_an_update_to_a_bad_target_is_refused_and_forced_on_request(tmp_path: Path) -> None:
    world = World(tmp_path)
    target = world.upstream({"code": "B"})
    world.checker.error = CheckError(reason="it does not import")
    assert (await world.update(target)).state is State.ROLLED_BACK
    world.checker.error = None
    refused = await world.update(target)
    assert refused.error
    assert (refused.state, refused.error.code) == (State.FAILED, "bad_target")
    assert "it does not import" in refused.error.message
    assert world.head() == world.first
    forced = await world.engine.submit(UpdateRequest(target_ref=target, force=True), parse_ref(target))
    assert (await world.engine.wait(forced.id)).state is State.RESTARTING
    await world.restart_well()
    assert await world.machinery.bad_targets.reason(target) is None
