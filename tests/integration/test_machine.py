"""The whole way on this host: real s6, a real git server with a token, rsync from a mount, pnpm from the registry."""

import asyncio
import subprocess

import pytest

from daemon.client import Client, FailedError, RolledBackError
from daemon.models import Version
from daemon.states import State
from tests.support.machine import GIT_TOKEN, TOKEN, HostMachine, git


async def answer(machine: HostMachine, *, after: str = "") -> Version:
    """The version as soon as another process than `after` answers."""
    async with asyncio.timeout(60), machine.client() as client:
        while True:
            try:
                version = await client.version()
            except Exception:  # noqa: BLE001 - whatever stands in the way, the time limit decides
                version = None
            if version and version.boot_id != after:
                return version
            await asyncio.sleep(0.05)


def dependencies_load(machine: HostMachine) -> bool:
    script = "console.log(require('@demo/library')(7))"
    found = subprocess.run(("node", "-e", script), cwd=machine.repo, capture_output=True, text=True, check=False)
    return found.stdout.strip() == "true"


@pytest.mark.parametrize("mounted", [False, True], ids=["git", "mount"])
async def test_new_code_answers_after_one_request(*, mounted: bool) -> None:
    async with HostMachine(mounted=mounted) as machine:
        before = await answer(machine)
        target = machine.upstream.release("1.2.3")
        async with machine.client() as client:
            update = await client.refresh(target)
            after = await client.version()
        assert update.state is State.SUCCEEDED
        assert after.boot_id != before.boot_id
        assert (after.sha, after.running.sha, after.running.version) == (target, target, "1.2.3")
        assert update.changes
        assert update.changes.files == ("M daemon/__init__.py",)
        assert dependencies_load(machine)
        assert git(machine.repo, "status", "--porcelain") == ""
        async with machine.client() as client:
            again = await client.refresh(target)
            assert again.state is State.UNCHANGED
            assert (await client.version()).boot_id == after.boot_id


async def test_a_branch_a_tag_and_a_way_back_in_a_row() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        feature = machine.upstream.commit({"daemon/extra.txt": "x"}, branch="feature/x")
        git(machine.upstream.tree, "tag", "--annotate", "--message", "one", "v1")
        git(machine.upstream.tree, "push", "--quiet", "origin", "v1")
        main = machine.upstream.release("2.0.0")
        async with machine.client() as client:
            for target, commit in (
                ("v1", feature),
                ("main", main),
                (machine.first, machine.first),
                ("feature/x", feature),
            ):
                assert (await client.refresh(target)).to_commit == commit
                assert (await client.version()).sha == commit


async def test_changed_dependencies_arrive_with_the_code() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        async with machine.client() as client:
            await client.refresh("main")
            target = machine.upstream.depend("packages/library", {"is-odd": "3.0.1"})
            assert (await client.refresh(target)).state is State.SUCCEEDED
        assert (machine.repo / "packages/library/node_modules/is-odd/package.json").exists()


async def test_code_that_cannot_be_imported_never_runs() -> None:
    async with HostMachine() as machine:
        before = await answer(machine)
        broken = machine.upstream.commit({"daemon/engine.py": "import nothing_of_the_kind\n"})
        async with machine.client() as client:
            with pytest.raises(RolledBackError) as refused:
                await client.refresh(broken)
            after = await client.version()
        assert "nothing_of_the_kind" in str(refused.value.update.error)
        assert (after.boot_id, after.sha) == (before.boot_id, machine.first)
        assert git(machine.repo, "status", "--porcelain") == ""
        assert git(machine.repo, "symbolic-ref", "HEAD") == "refs/heads/main"


async def test_a_failing_post_install_script_is_told_with_its_log_and_undone() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        async with machine.client() as client:
            await client.refresh("main")
            first = machine.first
            # pnpm runs the root's own scripts only when it has something to install
            script = {"postinstall": "echo the-reason-why >&2; exit 3"}
            broken = machine.upstream.depend(".", {"is-odd": "3.0.1"}, scripts=script)
            with pytest.raises(RolledBackError) as refused:
                await client.refresh(broken)
            version = await client.version()
        problem = refused.value.update.error
        assert problem
        assert problem.code == "install_failed"
        assert "the-reason-why" in problem.detail
        assert version.sha == first
        assert dependencies_load(machine)


async def test_a_dead_remote_and_an_unknown_branch_change_nothing() -> None:
    async with HostMachine() as machine:
        before = await answer(machine)
        async with machine.client() as client:
            with pytest.raises(FailedError) as unknown:
                await client.refresh("no-such-branch")
            assert unknown.value.update.error
            assert unknown.value.update.error.code == "ref_not_found"
            git(machine.repo, "remote", "set-url", "origin", "http://127.0.0.1:1/monorepo.git")
            with pytest.raises(FailedError) as dead:
                await client.refresh("f" * 40)
            assert dead.value.update.error
            assert dead.value.update.error.code == "remote_failed"
            after = await client.version()
        assert (after.boot_id, after.sha) == (before.boot_id, machine.first)


async def test_the_wrong_git_token_is_told_and_the_right_one_is_found_without_a_restart() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        token = machine.folder / "git-token"
        token.write_text("expired")
        target = machine.upstream.release("3.0.0")
        async with machine.client() as client:
            with pytest.raises(FailedError) as refused:
                await client.refresh(target)
            assert "expired" not in refused.value.update.model_dump_json()
            token.write_text(GIT_TOKEN)
            assert (await client.refresh(target)).state is State.SUCCEEDED


async def test_no_secret_reaches_a_file_a_log_or_a_child() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        async with machine.client() as client:
            await client.refresh(machine.upstream.release("4.0.0"))
        holders = [
            path
            for folder in (machine.repo, machine.state_dir, machine.run_dir)
            for path in folder.rglob("*")
            if path.is_file()
            and not path.is_symlink()
            and (GIT_TOKEN.encode() in path.read_bytes() or TOKEN.encode() in path.read_bytes())
        ]
        assert holders == []
        assert GIT_TOKEN not in machine.log()
        assert TOKEN not in machine.log()


async def test_events_resume_across_the_restart_without_a_gap_or_a_repeat() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        target = machine.upstream.release("5.0.0")
        async with machine.client() as client:
            update = await client.update(target)
            entries = [entry async for entry in client.follow(update.id)]
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.state for entry in entries if entry.event] == [
            State.STAGING,
            State.APPLYING,
            State.INSTALLING,
            State.CHECKING,
            State.RESTARTING,
            State.VERIFYING,
            State.SUCCEEDED,
        ]


async def test_tcp_wants_the_token_and_then_updates_too() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        target = machine.upstream.release("6.0.0")
        async with Client(url=machine.url, token=TOKEN) as client:
            assert (await client.refresh(target)).state is State.SUCCEEDED


async def test_the_machine_stops_cleanly_on_term() -> None:
    async with HostMachine() as machine:
        await answer(machine)
        assert await machine.s6.stop() == 0
        assert "daemon leaves" in machine.log()
