"""What somebody asks to go back to is held to the rules for what may come from the remote; the machine's own is not."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from daemon.errors import RefNotAllowedError, RemoteError, RestoreNotAllowedError
from daemon.machinery import GUARD
from daemon.models import Update
from daemon.permission import Permission
from daemon.shelf import Shelf
from daemon.snapshots.kept import Kept
from daemon.sources.git import GitSource, RefPolicy
from daemon.states import Event, State
from tests.support.git_lab import GitLab, git_lab
from tests.support.running import served
from tests.support.world import World, git

MAIN_ONLY = RefPolicy(("main",))


@dataclass
class Machine:
    """A world whose code comes from a git server; `lab.publish` gives it something to come."""

    world: World
    lab: GitLab

    async def governed_by(self, policy: RefPolicy) -> None:
        """As the next process finds it, of which somebody has changed the settings."""
        self.world.source = self.lab.source(policy=policy)  # type: ignore[assignment] # the real one
        await self.world.restart_well()

    async def update(self, target: str) -> Update:
        update = await self.world.update(target)
        assert update.state is State.RESTARTING, update.message
        await self.world.restart_well()
        return update

    async def go_back(self, update: Update, *, trigger: str = "test", git_token: str | None = None) -> Update:
        secret = None if git_token is None else SecretStr(git_token)
        back = await self.world.engine.rollback(update.id, trigger=trigger, git_token=secret)
        await self.world.engine.wait(back.id)
        await self.world.restart_well()
        return await self.world.journal.get(back.id)

    @property
    def shelf(self) -> Shelf:
        machinery = self.world.machinery
        return Shelf(
            snapshots=machinery.snapshots,
            kept=Kept(machinery.snapshots, keep=9, max_bytes=1 << 30),
            engine=self.world.engine,
            journal=machinery.journal,
            head=machinery.head,
            permission=Permission(machinery.source, machinery.journal),
        )

    def read(self, name: str = "code") -> str:
        return (self.world.repo / name).read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "lab").mkdir()
    with git_lab(tmp_path / "lab") as lab:
        world = World(tmp_path)
        git(world.repo, "fetch", "--quiet", lab.url, "main")
        git(world.repo, "reset", "--quiet", "--hard", "FETCH_HEAD")
        git(world.repo, "remote", "add", "origin", lab.url)
        lab.checkout = type(lab.checkout)(world.repo)
        yield Machine(world, lab)


async def leave(machine: Machine, other: str) -> Update:
    """An update that takes the machine from the branch `other`, where a local edit was made, to main."""
    await machine.governed_by(RefPolicy())
    machine.lab.publish({"code": "other\n", "mine": "of the commit\n"}, branch=other)
    await machine.update(other)
    (machine.world.repo / "mine").write_text("edited")
    machine.lab.work.git("reset", "--quiet", "--hard", "HEAD~1")
    machine.lab.publish({"code": "main\n"})
    return await machine.update("main")


async def test_a_branch_that_is_allowed_no_more_cannot_be_gone_back_to(machine: Machine) -> None:
    update = await leave(machine, "other")
    await machine.governed_by(MAIN_ONLY)
    back = await machine.go_back(update)
    assert back.error
    assert (back.state, back.error.code) == (State.FAILED, "way_back_not_allowed")
    assert back.error.message.endswith(
        "no allowed ref (main) leads to this commit (REFRESHD_REFS); "
        "ask for a ref that is allowed, or allow this commit first"
    )
    assert machine.read() == "main\n"


async def test_who_wants_it_anyway_allows_it_first(machine: Machine) -> None:
    update = await leave(machine, "other")
    await machine.governed_by(RefPolicy(("main", "oth*")))
    assert (await machine.go_back(update)).state is State.SUCCEEDED
    assert (machine.read(), machine.read("mine")) == ("other\n", "edited")


async def test_what_came_by_a_ref_that_is_allowed_needs_no_remote_to_come_back(machine: Machine) -> None:
    await machine.governed_by(MAIN_ONLY)
    machine.lab.publish({"code": "two\n"})
    await machine.update("main")
    machine.lab.publish({"code": "three\n"})
    last = await machine.update("main")
    machine.lab.server.token = "changed meanwhile"
    machine.lab.server.requests.clear()
    assert (await machine.go_back(last)).state is State.SUCCEEDED
    assert machine.read() == "two\n"
    assert machine.lab.server.paths == []


async def test_the_remote_vouches_for_what_was_there_before_the_first_update(machine: Machine) -> None:
    await machine.governed_by(MAIN_ONLY)
    machine.lab.publish({"code": "two\n"})
    update = await machine.update("main")
    assert (await machine.go_back(update)).state is State.SUCCEEDED
    assert machine.read() == "one\n"
    assert machine.lab.server.paths


async def test_a_token_of_the_request_lets_the_remote_vouch_for_it(machine: Machine) -> None:
    await machine.governed_by(MAIN_ONLY)
    machine.lab.publish({"code": "two\n"})
    update = await machine.update("main")
    machine.lab.server.token = "of the request"
    for token in (None, "another"):
        back = await machine.go_back(update, git_token=token)
        assert back.error
        assert (back.state, back.error.code) == (State.FAILED, "remote_failed")
        assert "authentication failed: check the token" in back.message
    assert (await machine.go_back(update, git_token="of the request")).state is State.SUCCEEDED
    assert machine.read() == "one\n"


async def test_a_token_of_the_request_lets_a_whole_snapshot_be_restored(machine: Machine) -> None:
    await machine.governed_by(MAIN_ONLY)
    machine.lab.publish({"code": "two\n"})
    update = await machine.update("main")
    assert update.snapshot
    machine.lab.server.token = "of the request"
    with pytest.raises(RemoteError):
        await machine.shelf.restore(update.snapshot, None)
    await machine.shelf.restore(update.snapshot, None, SecretStr("of the request"))
    assert machine.read() == "one\n"


async def test_what_a_force_push_took_from_the_remote_can_be_gone_back_to(machine: Machine) -> None:
    await machine.governed_by(MAIN_ONLY)
    machine.lab.publish({"code": "two\n"})
    await machine.update("main")
    machine.lab.work.git("reset", "--quiet", "--hard", "HEAD~1")
    machine.lab.publish({"code": "two, rebased\n"})
    last = await machine.update("main")
    assert (await machine.go_back(last)).state is State.SUCCEEDED
    assert machine.read() == "two\n"


async def test_code_that_keeps_dying_is_left_whatever_is_allowed(machine: Machine) -> None:
    update = await leave(machine, "other")
    await machine.governed_by(MAIN_ONLY)
    assert (await machine.go_back(update, trigger=GUARD)).state is State.SUCCEEDED
    assert machine.read() == "other\n"


async def test_a_commit_without_an_allowed_signature_cannot_be_gone_back_to(machine: Machine, tmp_path: Path) -> None:
    update = await leave(machine, "other")
    (tmp_path / "signers").touch()
    await machine.governed_by(RefPolicy(signers=tmp_path / "signers"))
    back = await machine.go_back(update)
    assert (back.state, "not signed by a key of" in back.message) == (State.FAILED, True)


async def test_a_snapshot_of_a_commit_that_is_not_allowed_gives_back_its_edits_alone(machine: Machine) -> None:
    update = await leave(machine, "other")
    assert update.snapshot
    await machine.governed_by(MAIN_ONLY)
    for paths in (None, ["code"], ["code", "mine"]):
        with pytest.raises(RestoreNotAllowedError, match="name only files that were edited"):
            await machine.shelf.restore(update.snapshot, paths)
    assert machine.read() == "main\n"
    await machine.shelf.restore(update.snapshot, ["mine"])
    assert (machine.read(), machine.read("mine")) == ("main\n", "edited")


async def test_a_snapshot_of_an_allowed_commit_gives_back_everything(machine: Machine) -> None:
    update = await leave(machine, "other")
    assert update.snapshot
    await machine.governed_by(RefPolicy(("main", "other")))
    await machine.shelf.restore(update.snapshot, None)
    assert (machine.read(), machine.read("mine")) == ("other\n", "edited")


async def test_a_commit_that_is_here_no_more_is_not_allowed(machine: Machine) -> None:
    await machine.governed_by(MAIN_ONLY)
    assert isinstance(machine.world.source, GitSource)
    with pytest.raises(RefNotAllowedError, match="has it no more"):
        await machine.world.source.vouch("0" * 40, ["refs/heads/main"])


async def test_the_daemon_that_is_told_by_its_settings_says_no_over_rest(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_REFS="main") as running:
        head = git(running.repo, "rev-parse", "HEAD")
        (running.repo / "file").write_text("other")
        git(running.repo, "commit", "--quiet", "--all", "--message", "never pushed")
        other = git(running.repo, "rev-parse", "HEAD")
        snapshot = (await running.daemon.engine._m.snapshots.take("test", head=other)).commit
        git(running.repo, "reset", "--quiet", "--hard", head)
        restored = await running.post(f"/api/v1/snapshots/{snapshot}/restore", {})
        assert (restored.status, restored.json["code"]) == (403, "restore_not_allowed")
        journal = running.daemon.journal
        record = await journal.create({"request": {"target_ref": "main"}, "source": "git"})
        await journal.note(record.id, snapshot=snapshot, from_commit=other)
        await journal.advance(record.id, Event.FAIL)
        back = await running.post(f"/api/v1/updates/{record.id}/rollback", {"wait": True})
        assert (back.json["state"], back.json["error"]["code"]) == ("failed", "way_back_not_allowed")
        assert (git(running.repo, "rev-parse", "HEAD"), git(running.repo, "status", "--porcelain")) == (head, "")


async def test_edits_made_while_the_remote_is_asked_are_in_the_snapshot(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.governed_by(MAIN_ONLY)
    machine.lab.publish({"code": "two\n"})
    update = await machine.update("main")
    vouch = GitSource.vouch

    async def slow(source: GitSource, commit: str, came_as: list[str]) -> None:
        await vouch(source, commit, came_as)
        await asyncio.to_thread((machine.world.repo / "code").write_text, "an hour of work\n")

    monkeypatch.setattr(GitSource, "vouch", slow)
    back = await machine.go_back(update)
    assert back.state is State.SUCCEEDED
    assert git(machine.world.machinery.snapshots.folder, "show", f"{back.snapshot}:code") == "an hour of work"


async def test_own_edits_are_taken_out_without_a_remote(machine: Machine) -> None:
    update = await leave(machine, "other")
    await machine.governed_by(MAIN_ONLY)
    machine.lab.server.token = "changed meanwhile"
    assert update.snapshot
    await machine.shelf.restore(update.snapshot, ["mine"])
