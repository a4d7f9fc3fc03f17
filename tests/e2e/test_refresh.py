"""Machines of the real image, refreshed: what answers afterwards is new code, and what is refused changes nothing."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from daemon.client import Client, FailedError, RefusedError, RolledBackError
from daemon.models import Update, Version
from daemon.states import State
from tests.e2e.conftest import StartMachine
from tests.support.docker import Machine, docker
from tests.support.git_server import GitServer
from tests.support.machine import GIT_TOKEN, PROJECT, TOKEN, Upstream, git

REPO = "/home/iterate/repo"
PATIENCE = 180.0  # seconds: the first start of a machine fetches all packages


@pytest.fixture
def folder() -> Iterator[Path]:
    """The containers' user reads it, which is not the one of the tests."""
    path = Path(tempfile.mkdtemp(prefix="refreshd-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def upstream(folder: Path) -> Upstream:
    made = Upstream(folder)
    made.tree.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(PROJECT / name, made.tree)
    made.create()
    return made


@dataclass
class Refreshed:
    """A machine with a client of its TCP listener."""

    machine: Machine
    client: Client
    upstream: Upstream

    async def version(self) -> Version:
        return await self.client.version()

    async def refresh_inside(self, target: str) -> Update:
        done = await self.machine.exec("refreshd", "update", target, "--json")
        return Update.model_validate_json(done.stdout)

    async def answers(self, commit: str, version: str, *, after: str) -> str:
        """Checks that another process runs exactly that code; returns its boot id."""
        found = await self.version()
        assert (found.sha, found.running.sha, found.running.version) == (commit, commit, version)
        assert found.boot_id != after
        assert found.dirty is False
        return found.boot_id

    async def dependencies_load(self) -> bool:
        script = "console.log(require('@demo/library')(7))"
        done = await self.machine.exec("sh", "-c", f'cd {REPO} && node -e "{script}"', check=False)
        return done.stdout.strip() == "true"


async def ready(machine: Machine, client: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if await client.ready():
                    return
            except Exception:  # noqa: BLE001, S110 - whatever stands in the way, the time limit decides
                pass
            assert (await machine.inspect())["State"]["Running"], await machine.logs()
            await asyncio.sleep(0.2)


@pytest.fixture
async def daytona(
    image: str, folder: Path, upstream: Upstream, start_machine: StartMachine
) -> AsyncIterator[Refreshed]:
    """A sandbox made of a snapshot: the checkout is in its image, its `origin` wants a token."""
    with GitServer(upstream.bare.parent, token=GIT_TOKEN, host="0.0.0.0") as server:  # noqa: S104 - containers call it
        remote = f"http://host.docker.internal:{urlsplit(server.url).port}/monorepo.git"
        tag = await snapshot(image, folder, upstream, remote)
        try:
            machine = await start_machine(
                variant=tag, env={"REFRESHD_TOKEN": TOKEN, "REFRESHD_GIT_TOKEN": GIT_TOKEN, "ITERATE_GIT_SHA": "f" * 40}
            )
            async with Client(url=machine.url, token=TOKEN) as client:
                await ready(machine, client)
                yield Refreshed(machine, client, upstream)
        finally:
            # the machine is removed after this fixture; its image only loses its name here
            await docker("image", "rm", "--force", tag, check=False)


async def snapshot(image: str, folder: Path, upstream: Upstream, remote: str) -> str:
    context = folder / "snapshot"
    git(folder, "clone", "--quiet", upstream.bare, context / "repo")
    git(context / "repo", "remote", "set-url", "origin", remote)
    (context / "Dockerfile").write_text(f"FROM {image}\nCOPY --chown=iterate:iterate repo {REPO}\n")
    tag = f"refreshd-test-snapshot:{folder.name.rpartition('-')[2].lower()}"
    await docker("build", "--tag", tag, str(context), timeout=PATIENCE)
    return tag


@pytest.fixture
async def local_docker(upstream: Upstream, start_machine: StartMachine) -> AsyncIterator[Refreshed]:
    """A container with the host's repository mounted, which belongs to another user."""
    machine = await start_machine(env={"REFRESHD_TOKEN": TOKEN}, mounts={upstream.tree: "/local-iterate-repo:ro"})
    async with Client(url=machine.url, token=TOKEN) as client:
        await ready(machine, client)
        yield Refreshed(machine, client, upstream)


async def test_a_daytona_machine_is_refreshed_over_http_and_from_inside(daytona: Refreshed) -> None:
    before = await daytona.version()
    assert (before.environment, before.update_available, before.running.version) == ("daytona", True, "0.1.0")
    first = daytona.upstream.release("1.0.0")
    update = await daytona.client.refresh(first)
    assert update.changes
    assert "M daemon/__init__.py" in update.changes.files
    boot = await daytona.answers(first, "1.0.0", after=before.boot_id)
    assert await daytona.dependencies_load()
    second = daytona.upstream.release("2.0.0")
    inside = await daytona.refresh_inside("main")
    assert (inside.state, inside.to_commit) == (State.SUCCEEDED, second)
    boot = await daytona.answers(second, "2.0.0", after=boot)
    again = await daytona.client.refresh("main")
    assert again.state is State.UNCHANGED
    assert (await daytona.version()).boot_id == boot


async def test_a_local_docker_machine_gets_the_hosts_code_at_boot_and_on_request(local_docker: Refreshed) -> None:
    before = await local_docker.version()
    assert (before.environment, before.sha) == ("local-docker", git(local_docker.upstream.tree, "rev-parse", "HEAD"))
    assert await local_docker.dependencies_load()
    first = local_docker.upstream.release("1.0.0")
    assert (await local_docker.client.refresh(first)).state is State.SUCCEEDED
    boot = await local_docker.answers(first, "1.0.0", after=before.boot_id)
    second = local_docker.upstream.release("2.0.0")
    assert (await local_docker.refresh_inside(second)).state is State.SUCCEEDED
    boot = await local_docker.answers(second, "2.0.0", after=boot)
    assert (await local_docker.client.refresh(second)).state is State.UNCHANGED
    assert (await local_docker.version()).boot_id == boot


async def test_curl_and_status_work_from_inside_for_who_debugs(daytona: Refreshed) -> None:
    inside = await daytona.machine.exec(
        "curl", "-s", "--unix-socket", "/run/refreshd/refreshd.sock", "http://x/healthz"
    )
    assert json.loads(inside.stdout)["boot_id"] == (await daytona.version()).boot_id
    status = await daytona.machine.exec("refreshd", "status")
    assert "healthy" in status.stdout
    assert (await daytona.machine.inspect())["Config"]["User"] == "iterate"


async def test_what_is_refused_or_fails_changes_nothing(daytona: Refreshed) -> None:
    before = await daytona.version()
    for ref in ("--upload-pack=x", "../x", "", "a" * 41, "x\x01y"):
        with pytest.raises(RefusedError) as refused:
            await daytona.client.update(ref)
        assert refused.value.refusal == "invalid_ref"
    assert await daytona.client.updates() == ()
    await no_token_no_update(daytona)
    with pytest.raises(FailedError) as unknown:
        await daytona.client.refresh("no-such-branch")
    assert problem_code(unknown.value) == "ref_not_found"
    await daytona.machine.exec("git", "-C", REPO, "remote", "set-url", "origin", "http://host.docker.internal:1/x.git")
    with pytest.raises(FailedError) as dead:
        await daytona.client.refresh("e" * 40)
    assert problem_code(dead.value) == "remote_failed"
    await unchanged(daytona, before)


async def no_token_no_update(daytona: Refreshed) -> None:
    for token in (None, "wrong"):
        async with Client(url=daytona.machine.url, token=token) as stranger:
            with pytest.raises(RefusedError) as refused:
                await stranger.update("main")
            assert refused.value.http_status == 401
            assert (await stranger.health()).boot_id


async def test_a_failing_post_install_script_is_undone_and_its_log_is_shown(daytona: Refreshed) -> None:
    good = await daytona.client.refresh("main")
    before = await daytona.version()
    script = {"postinstall": "echo the-reason-why >&2; exit 3"}
    broken = daytona.upstream.depend(".", {"is-odd": "3.0.1"}, scripts=script)
    with pytest.raises(RolledBackError) as refused:
        await daytona.client.refresh(broken)
    assert problem_code(refused.value) == "install_failed"
    assert refused.value.update.error
    assert "the-reason-why" in refused.value.update.error.detail
    assert before.sha == good.to_commit
    await unchanged(daytona, before)
    assert await daytona.dependencies_load()


async def test_a_second_request_at_the_same_time_meets_a_conflict(daytona: Refreshed) -> None:
    first = await daytona.client.update(daytona.upstream.release("1.0.0"))
    with pytest.raises(RefusedError) as refused:
        await daytona.client.update("other")
    assert (refused.value.http_status, refused.value.refusal) == (409, "update_running")
    assert first.id in str(refused.value)
    last = [entry async for entry in daytona.client.follow(first.id)][-1]
    assert last.state is State.SUCCEEDED


async def test_a_full_disk_is_named_and_space_made_later_is_enough(
    upstream: Upstream, image: str, folder: Path
) -> None:
    """The state folder is a disk of 8 MB here, which is filled."""
    machine = Machine(image, env={"REFRESHD_TOKEN": TOKEN}, mounts={upstream.tree: "/local-iterate-repo:ro"})
    machine._options.append("--tmpfs=/var/lib/refreshd:rw,size=64m,uid=1000,gid=1000")
    try:
        await machine.start()
        async with Client(url=machine.url, token=TOKEN) as client:
            await ready(machine, client)
            world = Refreshed(machine, client, upstream)
            before = await world.version()
            target = upstream.release("1.0.0")
            await machine.exec("sh", "-c", "cat /dev/zero >/var/lib/refreshd/fill", check=False)
            with pytest.raises((RefusedError, FailedError)) as refused:
                await client.refresh(target)
            assert "disk is full" in str(refused.value)
            await unchanged(world, before)
            await machine.exec("rm", "/var/lib/refreshd/fill")
            assert (await client.refresh(target)).state is State.SUCCEEDED
    finally:
        await machine.remove()
    assert folder.exists()


def problem_code(error: FailedError | RolledBackError) -> str:
    assert error.update.error
    return error.update.error.code


async def unchanged(world: Refreshed, before: Version) -> None:
    after = await world.version()
    assert (after.boot_id, after.sha, after.running) == (before.boot_id, before.sha, before.running)
    assert (await world.machine.exec("git", "-C", REPO, "status", "--porcelain")).stdout == ""
