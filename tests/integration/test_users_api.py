"""Accounts over REST, on real sockets: the rules, the roles, and what the log says of it."""

from pathlib import Path

import pytest
import structlog

from tests.support.running import TOKEN, Served, served
from tests.support.world import git

USERS = "/api/v1/users"


async def add(world: Served, name: str, role: str) -> str:
    answer = await world.post(USERS, {"name": name, "role": role})
    assert answer.status == 201
    token: str = answer.json["token"]
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_user_is_added_used_renewed_disabled_and_removed(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        await add(world, "boss", "update")
        first = await add(world, "ana", "read")
        assert (await world.get("/api/v1/version", tcp=True, **bearer(first))).status == 200
        second = (await world.post(f"{USERS}/ana/token", {})).json["token"]
        assert (await world.get("/api/v1/version", tcp=True, **bearer(first))).status == 401
        assert (await world.get("/api/v1/version", tcp=True, **bearer(second))).status == 200
        disabled = await world.request("PATCH", f"{USERS}/ana", json={"enabled": False})
        assert disabled.json["enabled"] is False
        assert (await world.get("/api/v1/version", tcp=True, **bearer(second))).status == 401
        assert (await world.request("DELETE", f"{USERS}/ana")).status == 200
        assert [user["name"] for user in (await world.get(USERS)).json["users"]] == ["boss"]


async def test_a_reader_reads_and_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        await add(world, "boss", "update")
        reader = bearer(await add(world, "ana", "read"))
        assert (await world.get("/api/v1/updates", tcp=True, **reader)).status == 200
        for refused in (
            await world.post("/api/v1/update", {"branch": "main"}, tcp=True, **reader),
            await world.post("/api/trpc/selfUpdate", {"targetRef": "main"}, tcp=True, **reader),
            await world.post(USERS, {"name": "eve", "role": "update"}, tcp=True, **reader),
            await world.request("PATCH", f"{USERS}/ana", tcp=True, json={"role": "update"}, headers=reader),
            await world.request("DELETE", f"{USERS}/boss", tcp=True, headers=reader),
            await world.get(USERS, tcp=True, **reader),
        ):
            assert refused.status == 403
        assert await world.daemon.journal.history() == []


async def test_the_record_of_an_update_names_who_asked(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as world:
        commit = git(world.repo, "rev-parse", "HEAD")
        boss = bearer(await add(world, "boss", "update"))
        asked = {"commit": commit, "wait": True}
        by_user = await world.post("/api/v1/update", asked, tcp=True, **boss)
        by_token = await world.post("/api/v1/update", asked, tcp=True, **bearer(TOKEN))
        by_socket = await world.post("/api/v1/update", asked)
        trpc = {"targetRef": "missing"}
        assert (await world.post("/api/trpc/selfUpdate", trpc, tcp=True, **boss)).status == 200
        records = [answer.json["request"]["by"] for answer in (by_user, by_token, by_socket)]
        assert records[:2] == ["user boss", "token"]
        assert records[2].startswith("uid ")
        latest = await world.daemon.journal.latest()
        assert latest
        assert latest.request.by == "user boss"


async def test_the_last_user_who_may_update_stays(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        await add(world, "boss", "update")
        for refused in (
            await world.request("DELETE", f"{USERS}/boss"),
            await world.request("PATCH", f"{USERS}/boss", json={"enabled": False}),
            await world.request("PATCH", f"{USERS}/boss", json={"role": "read"}),
        ):
            assert (refused.status, refused.json["code"]) == (409, "last_user")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (("POST", USERS, {"name": "A b", "role": "read"}), (400, "invalid_name")),
        (("POST", USERS, {"name": "ana", "role": "king"}), (400, "bad_request")),
        (("POST", USERS, {"name": "ana", "more": 1}), (400, "bad_request")),
        (("POST", USERS, {"name": "boss", "role": "read"}), (409, "taken")),
        (("PATCH", f"{USERS}/boss", {}), (400, "bad_request")),
        (("PATCH", f"{USERS}/boss", {"enabled": "no"}), (400, "bad_request")),
        (("PATCH", f"{USERS}/ana", {"enabled": True}), (404, "not_found")),
        (("DELETE", f"{USERS}/..%2Fx", None), (400, "invalid_name")),
        (("POST", f"{USERS}/ana/token", {}), (404, "not_found")),
    ],
)
async def test_a_wrong_request_is_refused_in_words(
    tmp_path: Path, asked: tuple[str, str, object], answered: tuple[int, str]
) -> None:
    async with served(tmp_path) as world:
        await add(world, "boss", "update")
        method, path, body = asked
        answer = await world.request(method, path, json=body)
        assert (answer.status, answer.json["code"]) == answered


async def test_each_change_leaves_a_line_that_says_who_where_from_what_and_how_it_ended(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as world:
        with structlog.testing.capture_logs() as logs:
            boss = bearer(await add(world, "boss", "update"))
            await world.post("/api/v1/update", {"branch": ".."}, tcp=True, **boss)
            await world.post("/api/v1/update", {"branch": "main"}, tcp=True, **bearer("wrong"))
            await world.get("/api/v1/version", tcp=True, **boss)
        lines = [line for line in logs if line["event"] == "change requested"]
        assert [(line["peer"], line["what"], line["outcome"]) for line in lines] == [
            ("unix", "POST /api/v1/users", 201),
            ("127.0.0.1", "POST /api/v1/update", 400),
            ("127.0.0.1", "POST /api/v1/update", 401),
        ]
        assert [line["who"] for line in lines[1:]] == ["user boss", "unknown"]
        assert boss["Authorization"].partition(" ")[2] not in str(logs)


async def test_a_token_is_kept_out_of_caches(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        answer = await world.post(USERS, {"name": "ana", "role": "read"})
        assert answer.headers["Cache-Control"] == "no-store"
