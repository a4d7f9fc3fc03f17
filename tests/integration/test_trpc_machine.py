"""The machine's own procedures by the unmodified `@trpc/client`, over its real restart under s6."""

from pathlib import Path

import pytest

from tests.support.machine import TOKEN, HostMachine
from tests.support.trpc_node import Call, Client, install, newest, outcomes

FILES = {".gitignore": ".venv/\n__pycache__/\n"}


@pytest.fixture(scope="module")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(newest(), tmp_path_factory.mktemp("trpc-client"))


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
