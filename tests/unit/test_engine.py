"""The engine with a real checkout and an obedient source: each case states the exact chain of events."""

import asyncio
from pathlib import Path

import pytest

from daemon.errors import (
    CheckError,
    CommandFailedError,
    InstallError,
    NoSpaceError,
    NothingToRollBackError,
    RemoteError,
    RestartingError,
    UnsupportedError,
    UpdateRunningError,
    VerifyError,
)
from daemon.models import Update, UpdateRequest
from daemon.refs import parse_ref
from daemon.states import Event, State
from daemon.trees import Tree
from tests.support.world import World, answers, git

FORWARD = ["requested", "begin", "staged", "applied", "installed", "checked"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_an_update_ends_verified_in_the_next_process(world: World) -> None:
    target = world.upstream({"code": "B"})
    update = await world.update(target)
    assert update.state is State.RESTARTING
    assert (update.from_commit, update.to_commit) == (world.first, target)
    assert world.restarts == 1
    await world.restart_well()
    assert await world.chain(update.id) == [*FORWARD, "started", "verified"]
    record = await world.journal.get(update.id)
    assert record.state is State.SUCCEEDED
    assert record.changes
    assert record.changes.files == ("M code",)
    assert not (world.folder / "state" / "undo").exists()


def test_a_process_that_ends_with_its_update_does_not_undo_it_at_the_last_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `recover` and `sync` do it: the line that a reader sees may not be synced yet."""
    advance = world.journal.advance

    async def slowly(update_id: str, event: Event, **facts: object) -> Update:
        update = await advance(update_id, event, **facts)
        await asyncio.sleep(0.3 if event is Event.CHECKED else 0)
        return update

    async def process() -> Update:
        ref = parse_ref(target)
        update = await world.engine.submit(UpdateRequest(target_ref=target, trigger="boot"), ref)
        return await world.engine.finish(update.id)

    monkeypatch.setattr(world.journal, "advance", slowly)
    target = world.upstream({"code": "B"})
    update = asyncio.run(process())
    assert update.state is State.RESTARTING
    assert asyncio.run(world.chain(update.id)) == FORWARD
    assert world.head() == target


async def test_what_is_already_there_is_unchanged_and_does_not_restart(world: World) -> None:
    await world.installer.install((await world.installer.fingerprint(await tree(world))) or "", strict=True)
    update = await world.update(world.first)
    assert await world.chain(update.id) == ["requested", "begin", "nothing_to_do"]
    assert "already at" in update.message
    assert world.restarts == 0


async def test_dependencies_that_never_arrived_are_installed_although_the_code_is_there(world: World) -> None:
    update = await world.update(world.first)
    assert await world.chain(update.id) == FORWARD
    assert len(world.installer.installs) == 1


async def test_a_process_older_than_the_disk_is_restarted(world: World) -> None:
    await world.installer.install((await world.installer.fingerprint(await tree(world))) or "", strict=True)
    target = world.commit({"code": "B"})
    update = await world.update(target)
    assert await world.chain(update.id) == FORWARD
    assert world.restarts == 1


async def test_a_failure_while_staging_touches_nothing(world: World) -> None:
    world.source.stage_error = RemoteError(ref="x", remote="http://host", reason="it does not answer")
    update = await world.update(world.upstream({"code": "B"}))
    assert await world.chain(update.id) == ["requested", "begin", "fail"]
    assert update.error
    assert update.error.code == "remote_failed"
    assert update.message.endswith("nothing was changed")
    assert (world.head(), world.status(), world.restarts) == (world.first, "", 0)


async def test_a_half_applied_checkout_is_put_back(world: World) -> None:
    target = world.upstream({"code": "B"})
    world.source.apply_error = CommandFailedError(command="git checkout", exit_code=1)
    update = await world.update(target)
    assert await world.chain(update.id) == ["requested", "begin", "staged", "undone"]
    assert (world.head(), world.status()) == (world.first, "")
    assert not (world.repo / "half").exists()
    assert git(world.repo, "symbolic-ref", "HEAD") == "refs/heads/main"


async def test_a_failed_install_puts_code_and_dependencies_back(world: World) -> None:
    await world.update(world.first)
    await world.restart_well()
    installed = await world.installer.installed()
    target = world.upstream({"code": "B", "deps": "two"})
    world.installer.errors = [InstallError(installer="fake", reason="no", detail="the tail of the log")]
    update = await world.update(target)
    assert await world.chain(update.id) == ["requested", "begin", "staged", "applied", "undone"]
    assert update.error
    assert update.error.detail == "the tail of the log"
    assert (world.head(), world.status()) == (world.first, "")
    assert await world.installer.installed() == installed


async def test_dependencies_that_somebody_else_installed_are_put_back_too(world: World) -> None:
    target = world.upstream({"code": "B", "deps": "two"})
    world.checker.error = CheckError(reason="no")
    update = await world.update(target)
    assert update.state is State.ROLLED_BACK
    assert await world.installer.installed() == await world.installer.fingerprint(await tree(world))


async def test_foreign_dependencies_that_cannot_be_put_back_are_a_note_and_not_a_disaster(world: World) -> None:
    target = world.upstream({"code": "B", "deps": "two"})
    world.installer.errors = [InstallError(installer="fake", reason=n) for n in ("forward", "backward")]
    update = await world.update(target)
    assert update.state is State.ROLLED_BACK
    assert any("not installed by refreshd" in note for note in update.notes)


async def test_code_that_cannot_be_imported_is_put_back_and_the_old_process_stays(world: World) -> None:
    target = world.upstream({"code": "B"})
    world.checker.error = CheckError(reason="no")
    update = await world.update(target)
    assert await world.chain(update.id) == ["requested", "begin", "staged", "applied", "installed", "undone"]
    assert (world.head(), world.restarts) == (world.first, 0)


async def test_a_way_back_that_fails_is_called_inconsistent(world: World) -> None:
    target = world.upstream({"code": "B", "deps": "two"})
    await world.update(world.first)
    await world.restart_well()
    world.installer.errors = [InstallError(installer="fake", reason=n) for n in ("forward", "backward")]
    update = await world.update(target)
    assert update.state is State.INCONSISTENT
    assert "the way back failed" in update.message


async def test_a_defect_is_undone_and_tells_the_caller_nothing_of_itself(world: World) -> None:
    target = world.upstream({"code": "B"})
    world.source.apply_error = ValueError("secret detail")
    update = await world.update(target)
    assert update.state is State.ROLLED_BACK
    assert update.error
    assert update.error.code == "internal"
    assert "secret detail" not in update.model_dump_json()


async def test_an_end_that_cannot_be_recorded_does_not_block_the_next_update(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = world.upstream({"code": "B"})
    world.checker.error = CheckError(reason="no")

    async def full(_update_id: str, _error: object) -> bool:
        raise NoSpaceError(path="/state")

    with monkeypatch.context() as patch:
        patch.setattr(world.engine._pipeline, "backward", full)
        update = await world.engine.submit(request(target), parse_ref(target))
        assert world.engine._running
        await asyncio.wait({world.engine._running})
    assert (await world.journal.get(update.id)).state is State.CHECKING
    world.checker.error = None
    assert (await world.update(target)).state is State.RESTARTING


async def test_local_edits_are_kept_in_a_snapshot_and_the_record_says_where(world: World) -> None:
    target = world.upstream({"code": "B"})
    (world.repo / "code").write_text("mine")
    (world.repo / "new").write_bytes(b"\xff\0untracked\r\n")
    update = await world.update(target)
    assert update.preserved
    assert set(update.preserved.files) == {"M code", "A new"}
    stored = ("git", "-C", str(world.folder / "state" / "snapshots"), "show")
    commit = update.preserved.snapshot
    assert (await output(*stored, f"{commit}:code"), await output(*stored, f"{commit}:new")) == (
        b"mine",
        b"\xff\0untracked\r\n",
    )


async def test_a_failed_update_gives_local_edits_back_byte_for_byte(world: World) -> None:
    target = world.upstream({"code": "B"})
    (world.repo / ".gitattributes").write_text("* text=auto eol=lf\n")
    (world.repo / "code").write_bytes(b"mine\r\n")
    (world.repo / "staged").write_bytes(b"staged\r\n")
    git(world.repo, "add", "staged")
    before = world.status()
    world.checker.error = CheckError(reason="no")
    update = await world.update(target)
    assert update.state is State.ROLLED_BACK
    assert (world.repo / "code").read_bytes() == b"mine\r\n"
    assert world.status() == before


async def test_a_second_request_meets_a_conflict_that_names_the_first(world: World) -> None:
    world.source.hold = asyncio.Event()
    target = world.upstream({"code": "B"})
    first = await world.engine.submit(request(target), parse_ref(target))
    with pytest.raises(UpdateRunningError) as refused:
        await world.engine.submit(request("other"), parse_ref("other"))
    assert refused.value.running == first.id
    world.source.hold.set()
    await world.engine.wait(first.id)


async def test_the_same_target_and_the_same_key_join_the_running_update(world: World) -> None:
    world.source.hold = asyncio.Event()
    world.source.refs["main"] = world.upstream({"code": "B"})
    first = await world.engine.submit(request("main", "key"), parse_ref("main"))
    joined = await world.engine.submit(request("main"), parse_ref("main"))
    again = await world.engine.submit(request("anything", "key"), parse_ref("anything"))
    assert joined.id == again.id == first.id
    world.source.hold.set()
    await world.engine.wait(first.id)
    repeated = await world.engine.submit(request("main", "key"), parse_ref("main"))
    assert repeated.id == first.id


async def test_a_rollback_that_is_repeated_is_the_first_one_even_when_its_choice_is_gone(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    await world.restart_well()
    first = await world.engine.rollback(update.id, trigger="test", idempotency_key="k")
    await world.engine.wait(first.id)
    await world.restart_well()
    await asyncio.to_thread((world.journal.folder / f"{update.id}.jsonl").unlink)
    again = await world.engine.rollback(update.id, trigger="test", idempotency_key="k")
    assert (again.id, again.state) == (first.id, State.SUCCEEDED)


async def test_what_had_no_commit_before_it_cannot_be_rolled_back(world: World) -> None:
    update = await world.journal.create({"request": request("main").snake(), "source": "git"})
    await world.journal.note(update.id, snapshot="0" * 40)
    with pytest.raises(NothingToRollBackError, match="the checkout had no commit before it"):
        await world.engine.rollback(update.id, trigger="test")


async def test_another_process_of_the_machine_is_respected(world: World) -> None:
    target = world.upstream({"code": "B"})
    world.source.hold = asyncio.Event()
    first = await world.engine.submit(request(target), parse_ref(target))
    ours = world.engine
    world.new_process(world.first)
    with pytest.raises(UpdateRunningError) as refused:
        await world.engine.submit(request("main"), parse_ref("main"))
    assert refused.value.running == first.id
    world.source.hold.set()
    await ours.wait(first.id)


async def test_a_caller_that_leaves_does_not_stop_the_update(world: World) -> None:
    target = world.upstream({"code": "B"})
    world.source.hold = asyncio.Event()
    update = await world.engine.submit(request(target), parse_ref(target))
    caller = asyncio.create_task(world.engine.wait(update.id))
    await asyncio.sleep(0.05)
    caller.cancel()
    world.source.hold.set()
    assert (await world.engine.wait(update.id)).state is State.RESTARTING


async def test_while_leaving_new_updates_are_refused_with_a_time_to_come_back(world: World) -> None:
    await world.update(world.upstream({"code": "B"}))
    with pytest.raises(RestartingError) as refused:
        await world.engine.submit(request("other"), parse_ref("other"))
    assert refused.value.retry_after == 1


async def test_a_dry_run_says_what_would_happen_and_leaves_no_record(world: World) -> None:
    target = world.upstream({"code": "B", "deps": "two"})
    plan = await world.engine.plan(parse_ref(target))
    assert (plan.apply, plan.install, plan.restart, plan.to_commit) == (True, ("fake",), True, target)
    assert await world.journal.history() == []
    assert (world.head(), world.status()) == (world.first, "")


async def test_a_machine_without_a_source_refuses(world: World) -> None:
    object.__setattr__(world.machinery, "source", None)
    with pytest.raises(UnsupportedError):
        await world.engine.submit(request("main"), parse_ref("main"))


async def test_stopping_in_the_middle_goes_back(world: World) -> None:
    target = world.upstream({"code": "B"})
    hold = asyncio.Event()

    async def slow_check(*, new_libraries: bool) -> str:
        assert not new_libraries
        await hold.wait()
        return "1"

    world.checker.check = slow_check  # type: ignore[method-assign]
    update = await world.engine.submit(request(target), parse_ref(target))
    async for entry in world.journal.follow(update.id):
        if entry.state is State.CHECKING:
            break
    await world.engine.stop()
    assert await world.chain(update.id) == ["requested", "begin", "staged", "applied", "installed", "undone"]
    assert world.head() == world.first


@pytest.mark.parametrize(
    ("events", "chain", "restart"),
    [
        ([], ["requested", "fail"], False),
        ([Event.BEGIN], ["requested", "begin", "fail"], False),
    ],
)
async def test_a_process_that_died_before_the_checkout_was_touched_leaves_a_failed_update(
    world: World, events: list[Event], chain: list[str], *, restart: bool
) -> None:
    update = await world.journal.create({"request": request("main").snake()})
    for event in events:
        await world.journal.advance(update.id, event)
    assert await world.recovery.recover() is restart
    assert await world.chain(update.id) == chain


@pytest.mark.parametrize("reached", [3, 4, 5])
async def test_a_process_that_died_half_way_is_undone_at_the_next_start(world: World, reached: int) -> None:
    target = world.upstream({"code": "B"})
    update = await world.update(target)
    journal = world.folder / "state" / "updates" / f"{update.id}.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:reached]))
    (world.folder / "left-over").touch()
    recovery = await world.restart()
    assert await recovery.recover() is True
    assert await world.chain(update.id) == [*FORWARD[:reached], "undone"]
    assert (world.head(), world.status()) == (world.first, "")
    assert not (world.folder / "left-over").exists()


async def test_while_an_update_is_verified_no_other_begins(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    recovery = await world.restart()
    await recovery.recover()
    with pytest.raises(UpdateRunningError) as refused:
        await world.engine.submit(request("main"), parse_ref("main"))
    assert refused.value.running == update.id
    await recovery.verify(answers)
    world.source.refs["main"] = world.first
    assert (await world.update("main")).state is State.RESTARTING


async def test_new_code_that_does_not_answer_itself_is_undone_and_the_machine_restarts(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    recovery = await world.restart()
    await recovery.recover()

    async def silent() -> None:
        raise VerifyError(reason="no answer")

    assert await recovery.verify(silent) is True
    assert await world.chain(update.id) == [*FORWARD, "started", "undone"]
    assert world.head() == world.first


async def test_a_process_that_is_not_what_was_intended_is_undone(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    world.machinery.lock.release()
    world.new_process(world.first)
    await world.recovery.recover()
    assert await world.recovery.verify(answers) is True
    record = await world.journal.get(update.id)
    assert record.state is State.ROLLED_BACK
    assert record.error
    assert "this process runs" in record.error.message


def request(target: str, key: str | None = None) -> UpdateRequest:
    return UpdateRequest(target_ref=target, trigger="test", idempotency_key=key)


async def tree(world: World) -> Tree:
    return (await world.source.stage(parse_ref(world.first))).tree


async def output(*argv: str) -> bytes:
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0]
