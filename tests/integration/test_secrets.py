"""Planted secrets and where they must not turn up: users' tokens, the machine's, and the git token of a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.models import Update
from daemon.states import Event
from tests.support.git_server import GitServer
from tests.support.leaks import arguments_and_environments, files_with
from tests.support.running import Served, served
from tests.support.world import git

MACHINE = "planted-machine-token-8c1d"
CONFIGURED = "planted-configured-git-token-77ab"
GIVEN = "planted-given-git-token-a41e"
UPDATE = "/api/v1/update"
SELF_UPDATE = "/api/trpc/selfUpdate"
ROLLBACK = "/api/v1/updates/{}/rollback"
RESTORE = "/api/v1/snapshots/{}/restore"
PLAN_UPDATE = "/api/trpc/planUpdate"
HEADERS = {"Authorization": f"Bearer {MACHINE}"}


@asynccontextmanager
async def lab(folder: Path, refs: str = "") -> AsyncIterator[tuple[Served, GitServer]]:
    """A machine whose remote lets in the request's token only."""
    async with served(folder, REFRESHD_TOKEN=MACHINE, REFRESHD_GIT_TOKEN=CONFIGURED, REFRESHD_REFS=refs) as world:
        with GitServer(folder, GIVEN) as server:
            git(world.repo, "remote", "set-url", "origin", f"{server.url}/remote.git")
            yield world, server


def bodies(**more: object) -> list[tuple[str, dict[str, Any]]]:
    """The same request in both languages."""
    rest = {"target_ref": "main", "git_token": GIVEN, "wait": True, **more}
    camel = {"targetRef": "main", "gitToken": GIVEN}
    return [(UPDATE, rest), (PLAN_UPDATE if "dry_run" in more else SELF_UPDATE, camel)]


@pytest.mark.parametrize(("path", "body"), [*bodies(), *bodies(dry_run=True)])
async def test_the_remote_is_asked_with_the_token_of_the_request(tmp_path: Path, path: str, body: object) -> None:
    async with lab(tmp_path) as (world, server):
        answer = await world.post(path, body, tcp=True, **HEADERS)
        assert answer.status == 200
        assert server.requests[-1].authorization is not None
        assert server.lets_in(server.requests[-1].authorization)
        refused = await world.post(UPDATE, {"target_ref": "main", "wait": True}, tcp=True, **HEADERS)
        assert refused.json["error"]["code"] == "remote_failed", "the token was for the one request"


def ways_back(update: Update) -> list[tuple[str, dict[str, Any]]]:
    """The ways to the state before it, each in both languages."""
    rest, camel = {"git_token": GIVEN}, {"gitToken": GIVEN}
    return [
        (ROLLBACK.format(update.id), {**rest, "wait": True}),
        ("/api/trpc/rollback", {**camel, "id": update.id}),
        (RESTORE.format(update.snapshot), rest),
        ("/api/trpc/snapshots.restore", {**camel, "id": update.snapshot}),
    ]


async def changed_since(world: Served) -> Update:
    """The record of an update before which the commit was another one, that no ref is known to have led to."""
    old = git(world.repo, "rev-parse", "HEAD")
    snapshot = (await world.daemon.engine._m.snapshots.take("test", head=old)).commit
    git(world.repo, "commit", "--quiet", "--allow-empty", "--message", "here only")
    record = await world.daemon.journal.create({"request": {"target_ref": "main"}, "source": "git"})
    await world.daemon.journal.note(record.id, snapshot=snapshot, from_commit=old)
    return await world.daemon.journal.advance(record.id, Event.FAIL)


@pytest.mark.parametrize("way", range(4))
async def test_the_remote_is_asked_whether_to_go_back_with_the_token_of_the_request(tmp_path: Path, way: int) -> None:
    async with lab(tmp_path, refs="main") as (world, server):
        path, body = ways_back(await changed_since(world))[way]
        without = {name: value for name, value in body.items() if value != GIVEN}
        refused = await world.post(path, without, tcp=True, **HEADERS)
        assert "authentication failed" in refused.text
        answer = await world.post(path, body, tcp=True, **HEADERS)
        assert answer.status == 200
        assert server.lets_in(server.requests[-1].authorization)
        await world.daemon.engine.stop()
        assert files_with(tmp_path, GIVEN) == []


@pytest.mark.parametrize("token", ["", "two words", "two\nlines", "x" * 5000, 7])
async def test_a_token_that_is_none_is_refused_without_being_quoted(tmp_path: Path, token: object) -> None:
    async with served(tmp_path) as world:
        asked = [(UPDATE, {"target_ref": "main"}), (SELF_UPDATE, {"targetRef": "main"})]
        asked += [(path, {}) for path in (ROLLBACK.format("last"), RESTORE.format("f" * 40), "/api/trpc/rollback")]
        for path, body in asked:
            name = "git_token" if "/v1/" in path else "gitToken"
            answer = await world.post(path, {**body, name: token})
            assert answer.status == 400
            assert not token or str(token) not in answer.text
        assert await world.daemon.journal.history() == []


async def test_a_machine_whose_code_comes_from_a_mount_has_no_use_for_one(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    async with served(tmp_path, ITERATE_REPO_LOCAL_DOCKER_MOUNT=str(tmp_path / "mount")) as world:
        for path in (UPDATE, ROLLBACK.format("last"), RESTORE.format("f" * 40)):
            body = {"target_ref": "main"} if path == UPDATE else {}
            answer = await world.post(path, {**body, "git_token": GIVEN})
            assert (answer.status, answer.json["code"]) == (400, "bad_request")
            assert "does not come from a git remote" in answer.json["detail"]


async def test_no_secret_is_on_disk_in_the_log_or_in_an_answer(tmp_path: Path) -> None:
    answers = []
    with structlog.testing.capture_logs() as logs:
        async with lab(tmp_path) as (world, server):
            (world.repo / "local edit").write_text("kept")
            user = (await world.post("/api/v1/users", {"name": "ana", "role": "update"})).json["token"]
            for path, body in bodies():
                server.fault, server.says = "forbidden", f"your token is {GIVEN}\n"
                answers.append(await world.post(path, body, tcp=True, Authorization=f"Bearer {user}"))
                server.fault = ""
            answers.append(await world.post(UPDATE, bodies()[0][1], tcp=True, **HEADERS))
            answers.append(await world.get("/api/v1/updates", tcp=True, **HEADERS))
            answers.append(await world.get("/api/v1/users", tcp=True, **HEADERS))
            config = (world.repo / ".git" / "config").read_text()
    secrets = (MACHINE, CONFIGURED, GIVEN, user)
    assert [answer.status for answer in answers] == [200] * 5
    assert answers[2].json["state"] in {"unchanged", "restarting"}
    for secret in secrets:
        assert files_with(tmp_path, secret) == []
        assert secret not in config
        assert secret not in str(logs)
        assert not any(secret in answer.text for answer in answers)


async def test_no_process_is_started_with_a_secret(tmp_path: Path) -> None:
    async with lab(tmp_path) as (world, server):
        server.fault = "hang"
        asking = asyncio.create_task(world.post(UPDATE, bodies()[0][1], tcp=True, **HEADERS))
        assert await asyncio.to_thread(server.holding.wait, 10)
        seen = await asyncio.to_thread(lambda: list(arguments_and_environments()))
        await world.daemon.engine.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    assert any(b"remote-http" in said for said in seen), "a child that knows the token by another way was there"
    assert not any(secret.encode() in said for secret in (MACHINE, CONFIGURED, GIVEN) for said in seen)


async def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """Else the tests above would say yes to everything."""
    async with served(tmp_path) as world:
        git(world.repo, "commit", "--quiet", "--allow-empty", "--message", f"holds {GIVEN}")
        assert files_with(tmp_path, GIVEN)
    (tmp_path / "file").write_text(MACHINE)
    assert files_with(tmp_path, MACHINE) == [tmp_path / "file"]
