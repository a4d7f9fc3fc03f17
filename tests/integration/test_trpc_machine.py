"""The machine's own procedures by the unmodified `@trpc/client`, over its real restart under s6."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from daemon.journal import Journal
from daemon.models import UpdateRequest
from daemon.states import Event
from tests.support.machine import TOKEN, HostMachine
from tests.support.running import served
from tests.support.trpc_node import Call, Client, install, newest, outcomes

FILES = {".gitignore": ".venv/\n__pycache__/\n"}


@pytest.fixture(scope="module")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(newest(), tmp_path_factory.mktemp("trpc-client"))


async def test_an_update_that_begins_and_ends_while_its_reader_is_away_is_told(
    client_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as machine:
        journal, leaving, waiting = machine.daemon.journal, machine.daemon.supervisor.leaving, asyncio.Event()
        before = await failed(journal)

        async def next_after(
            update_id: str | None, wait: Callable[[str | None], Awaitable[str]] = journal.next_after
        ) -> str:
            waiting.set()
            return await wait(update_id)

        monkeypatch.setattr(journal, "next_after", next_after)
        url = f"{machine.tcp_url}/api/trpc"
        call = Call("onUpdate", "subscription")
        reader = asyncio.create_task(
            outcomes(client_folder, Client(link="httpSubscriptionLink", url=url, calls=[call]))
        )
        await waiting.wait()
        # as by a restart, which its readers outlive
        leaving.set()
        first, second = await failed(journal), await failed(journal)
        leaving.clear()
        [[told]] = await reader
    assert len({before, first, second}) == 3
    assert [event["id"] for event in told["events"]] == [f"{first}:{n}" for n in (1, 2)]
    assert (told["complete"], told["started"]) == (True, 2)


async def failed(journal: Journal) -> str:
    request = UpdateRequest(target_ref="missing")
    update = await journal.create({"request": request.snake(), "source": "git"})
    return (await journal.advance(update.id, Event.FAIL)).id


async def test_a_subscription_goes_on_over_the_restart_without_a_gap_or_a_repeat(client_folder: Path) -> None:
    async with HostMachine(files=FILES) as machine:
        await machine.service.wait_ready()
        target = machine.upstream.release("1.2.3")
        update = Call("selfUpdate", "mutation", {"targetRef": target})
        url = f"{machine.url}/api/trpc"
        [[told]] = await outcomes(
            client_folder,
            Client(
                link="httpSubscriptionLink",
                url=url,
                token=TOKEN,
                calls=[Call("onUpdate", "subscription", once_open=update)],
            ),
        )
        [[version, record, page]] = await outcomes(
            client_folder,
            Client(
                link="httpBatchLink",
                url=url,
                token=TOKEN,
                calls=[
                    Call("getVersion"),
                    Call("getUpdate", input={"id": told["answer"]["data"]["updateId"]}),
                    Call("listUpdates", input={"limit": 1}),
                ],
            ),
        )
    answer = told["answer"]["data"]
    events = told["events"]
    assert (answer["success"], answer["outcome"], answer["to"]) == (True, "restarting", target)
    assert [event["id"] for event in events] == [f"{answer['updateId']}:{n + 1}" for n in range(len(events))]
    assert [event["data"]["lastSeq"] for event in events] == list(range(1, len(events) + 1))
    assert (told["complete"], told["started"], events[-1]["data"]["state"]) == (True, 2, "succeeded")
    assert {"requested", "restarting", "verifying"} <= {event["data"]["state"] for event in events}
    assert (version["data"]["sha"], version["data"]["running"]["version"]) == (target, "1.2.3")
    assert record["data"] == events[-1]["data"] == page["data"]["updates"][0]
