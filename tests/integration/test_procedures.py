"""What the machine's tRPC procedures do, by requests as the client sends them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.running import Answer, Served, served
from tests.support.world import git

TRPC = "/api/trpc"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as world:
        yield world


async def query(machine: Served, name: str, given: object = None) -> Answer:
    return await machine.request("GET", f"{TRPC}/{name}", params={"input": json.dumps(given)} if given else {})


async def data(machine: Served, name: str, given: object = None) -> Any:
    return (await query(machine, name, given)).json["result"]["data"]


async def failed_update(machine: Served) -> str:
    answer = await machine.post(f"{TRPC}/selfUpdate", {"targetRef": "missing"})
    update_id: str = answer.json["result"]["data"]["updateId"]
    return update_id


async def events(machine: Served, given: object) -> list[dict[str, str]]:
    text = (await query(machine, "onUpdate", given)).text
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]


async def test_an_update_is_told_as_it_is_recorded(machine: Served) -> None:
    update_id = await failed_update(machine)
    update = await data(machine, "getUpdate", {"id": update_id})
    assert (update["id"], update["state"], update["error"]["code"]) == (update_id, "failed", "ref_not_found")
    assert update == (await machine.daemon.journal.get(update_id)).camel()


async def test_updates_are_listed_page_by_page(machine: Served) -> None:
    ids = [await failed_update(machine) for _ in range(3)]
    first = await data(machine, "listUpdates", {"limit": 2})
    assert [update["id"] for update in first["updates"]] == [ids[2], ids[1]]
    last = await data(machine, "listUpdates", {"limit": 2, "cursor": first["nextCursor"]})
    assert ([update["id"] for update in last["updates"]], last["nextCursor"]) == ([ids[0]], None)


async def test_a_plan_is_no_update(machine: Served) -> None:
    answer = await machine.post(f"{TRPC}/planUpdate", {"targetRef": "main"})
    head = git(machine.repo, "rev-parse", "HEAD")
    assert (answer.json["result"]["data"]["toCommit"], answer.json["result"]["data"]["apply"]) == (head, False)
    assert (await data(machine, "listUpdates"))["updates"] == []


async def test_snapshots_are_behind_nested_names(machine: Served) -> None:
    taken = await machine.daemon.engine._m.snapshots.take("test", head=git(machine.repo, "rev-parse", "HEAD"))
    (machine.repo / "file").write_text("changed")
    assert [one["id"] for one in (await data(machine, "snapshots.list"))["snapshots"]] == [taken.commit]
    assert (await data(machine, "snapshots.show", {"id": taken.commit}))["edits"]["files"] == []
    assert (await data(machine, "snapshots.diff", {"a": taken.commit}))["changes"]["files"] == ["M file"]
    restored = await machine.post(f"{TRPC}/snapshots.restore", {"id": taken.commit})
    assert restored.json["result"]["data"]["changes"]["files"] == ["M file"]
    assert (machine.repo / "file").read_text() == "one"


async def test_a_subscription_tells_each_entry_and_ends_with_the_update(machine: Served) -> None:
    update_id = await failed_update(machine)
    connected, *told, end = await events(machine, {"id": update_id})
    assert (connected["event"], end["event"]) == ("connected", "return")
    assert [event["id"] for event in told] == [f"{update_id}:{n}" for n in (1, 2, 3)]
    assert [json.loads(event["data"])["state"] for event in told] == ["requested", "staging", "failed"]


async def test_the_last_event_id_alone_names_the_update(machine: Served) -> None:
    update_id = await failed_update(machine)
    _, *told, _ = await events(machine, {"lastEventId": f"{update_id}:2"})
    assert [event["id"] for event in told] == [f"{update_id}:3"]


async def test_who_waits_for_an_update_is_told_where_the_next_one_begins(machine: Served) -> None:
    async def position() -> str:
        url = f"{TRPC}/onUpdate"
        async with aiohttp.ClientSession() as session, session.get(f"{machine.tcp_url}{url}") as response:
            text = await response.content.readuntil(b"position\n")
        return text.decode()

    assert "id: after:\n" in await position()
    update_id = await failed_update(machine)
    assert f"id: after:{update_id}\n" in await position()


async def test_what_began_and_ended_meanwhile_is_told_first_the_oldest_first(machine: Served) -> None:
    first, second, third = [await failed_update(machine) for _ in range(3)]
    for before, after in (("", first), (first, second), (second, third)):
        _, position, *told, end = await events(machine, {"lastEventId": f"after:{before}"})
        assert (position["event"], position["id"], end["event"]) == ("position", f"after:{before}", "return")
        assert [event["id"] for event in told] == [f"{after}:{n}" for n in (1, 2, 3)]


async def test_a_position_of_an_update_that_is_not_on_record_is_an_error_event(machine: Served) -> None:
    _, _, error = await events(machine, {"lastEventId": "after:000009-abcdef"})
    assert (error["event"], json.loads(error["data"])["data"]["code"]) == ("serialized-error", "NOT_FOUND")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"id": "000009-abcdef"}, "NOT_FOUND"),
        ({"id": "../../etc/passwd"}, "NOT_FOUND"),
        ({"lastEventId": "000009-abcdef:1"}, "NOT_FOUND"),
        ({"id": "000009-abcdef", "lastEventId": "000008-abcdef:1"}, "BAD_REQUEST"),
        ({"lastEventId": "000009-abcdef"}, "BAD_REQUEST"),
        ({"lastEventId": "000009-abcdef:1\n"}, "BAD_REQUEST"),
        ({"lastEventId": "\u0660\u0660\u0660\u0660\u0660\u0661-abcdef:1"}, "BAD_REQUEST"),
        ({"lastEventId": 1}, "BAD_REQUEST"),
        ({"lastEventId": "after:000009"}, "BAD_REQUEST"),
    ],
)
async def test_what_names_no_update_is_an_error_event(machine: Served, given: object, code: str) -> None:
    _, error = await events(machine, given)
    assert (error["event"], json.loads(error["data"])["data"]["code"]) == ("serialized-error", code)


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("getUpdate", {"id": "x"}, "NOT_FOUND"),
        ("getUpdate", {}, "BAD_REQUEST"),
        ("listUpdates", {"limit": 0}, "BAD_REQUEST"),
        ("listUpdates", {"limit": "1"}, "BAD_REQUEST"),
        ("listUpdates", {"cursor": "x"}, "BAD_REQUEST"),
        ("snapshots.list", {"cursor": "x"}, "BAD_REQUEST"),
        ("snapshots.show", {"id": "0" * 40}, "NOT_FOUND"),
        ("snapshots", {}, "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_answered_has_its_code(machine: Served, name: str, given: object, code: str) -> None:
    answer = await machine.request("GET", f"{TRPC}/{name}", params={"input": json.dumps(given)})
    assert answer.json["error"]["data"]["code"] == code
