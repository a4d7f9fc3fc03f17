"""The judge: the unmodified `@trpc/client`, in the oldest and the newest version 11, against the real router."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.triggers.trpc import MAX_BODY
from daemon.triggers.trpc_wire import MAX_BATCH
from tests.support.trpc_lab import BASE, SECRET, SHA, TOKEN, Lab, served
from tests.support.trpc_node import Call, Client, install, newest, outcomes, program

OLDEST = "11.0.0"
LINKS = ("httpLink", "httpBatchLink", "httpBatchStreamLink")

AWKWARD = {"a": 'é&=+ %,#?/\\"\u2028😀', "n": 1.5, "deep": [{"x": None}, [], {}, True]}
VERSION = {"undefined": False, "data": {"sha": SHA}}


@pytest.fixture(scope="session", params=[OLDEST, newest()])
def client_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(request.param, tmp_path_factory.mktemp("trpc-client"))


@pytest.fixture
def is_oldest(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.callspec.params["client_folder"] == OLDEST)


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
async def url(lab: Lab) -> AsyncIterator[str]:
    async with served(lab) as port:
        yield f"http://127.0.0.1:{port}{BASE}"


def code(outcome: dict[str, Any]) -> str:
    assert outcome["error"]["name"] == "TRPCClientError"
    name: str = outcome["error"]["data"]["code"]
    return name


@pytest.mark.parametrize("link", LINKS)
class TestEveryLink:
    async def test_queries_and_mutations_answer(self, client_folder: Path, url: str, lab: Lab, link: str) -> None:
        queries = [Call("getVersion"), Call("lab.echo", input=AWKWARD), Call("lab.list"), Call("lab.nothing")]
        mutations = [Call("selfUpdate", "mutation", {"targetRef": "v1"}), Call("lab.touch", "mutation")]
        [answers] = await outcomes(client_folder, Client(link=link, url=url, token=TOKEN, calls=[*queries, *mutations]))

        assert answers == [
            VERSION,
            {"undefined": False, "data": AWKWARD},
            {"undefined": False, "data": {"limit": 10}},
            {"undefined": True},
            {"undefined": False, "data": {"success": True, "targetRef": "v1"}},
            {"undefined": False, "data": {"success": True}},
        ]
        assert sorted(lab.ran) == ["lab.touch", "selfUpdate"]

    async def test_one_call_alone_answers(self, client_folder: Path, url: str, link: str) -> None:
        [answers] = await outcomes(
            client_folder, Client(link=link, url=f"{url}/?k=v", token=TOKEN, calls=[Call("getVersion")])
        )

        assert answers == [VERSION]

    async def test_errors_have_their_code_beside_calls_that_answer(
        self, client_folder: Path, url: str, link: str
    ) -> None:
        queries = [Call("getVersion"), Call("doesNotExist"), Call("lab.boom"), Call("lab.nan")]
        mutations = [
            Call("selfUpdate", "mutation", {"targetRef": 1}),
            Call("lab.conflict", "mutation"),
            Call("lab.restarting", "mutation"),
            Call("lab.boomMut", "mutation"),
        ]
        [asked, told] = await outcomes(
            client_folder,
            Client(link=link, url=url, token=TOKEN, calls=queries),
            Client(link=link, url=url, token=TOKEN, calls=mutations),
        )

        assert asked[0] == VERSION
        assert [code(answer) for answer in asked[1:]] == ["NOT_FOUND", *["INTERNAL_SERVER_ERROR"] * 2]
        assert [code(answer) for answer in told] == [
            "BAD_REQUEST",
            "CONFLICT",
            "SERVICE_UNAVAILABLE",
            "INTERNAL_SERVER_ERROR",
        ]
        assert told[1]["error"]["data"] == {
            "code": "CONFLICT",
            "httpStatus": 409,
            "path": "lab.conflict",
            "refreshdCode": "update_running",
        }
        assert told[1]["error"]["message"].startswith("cannot start an update to 'v2'")
        assert SECRET not in str([asked, told])

    async def test_errors_shared_by_all_calls_have_their_code(
        self, client_folder: Path, url: str, lab: Lab, link: str
    ) -> None:
        oversize = {"targetRef": "v" * MAX_BODY}
        [strangers, large, wrong_kind, lost] = await outcomes(
            client_folder,
            Client(link=link, url=url, calls=[Call("getVersion"), Call("lab.echo", input=1)]),
            Client(link=link, url=url, token=TOKEN, calls=[Call("selfUpdate", "mutation", oversize)] * 2),
            Client(link=link, url=url, token=TOKEN, calls=[Call("getVersion", "mutation")]),
            Client(link=link, url=url, token=TOKEN, calls=[Call("doesNotExist"), Call("getversion")]),
        )

        assert [code(answer) for answer in strangers] == ["UNAUTHORIZED"] * 2
        assert [code(answer) for answer in large] == ["PAYLOAD_TOO_LARGE"] * 2
        assert [code(answer) for answer in wrong_kind] == ["METHOD_NOT_SUPPORTED"]
        assert [code(answer) for answer in lost] == ["NOT_FOUND"] * 2
        assert not lab.ran

    async def test_method_override_is_refused(self, client_folder: Path, url: str, link: str) -> None:
        [answers] = await outcomes(
            client_folder,
            Client(link=link, url=url, token=TOKEN, options={"methodOverride": "POST"}, calls=[Call("getVersion")]),
        )

        assert [code(answer) for answer in answers] == ["METHOD_NOT_SUPPORTED"]
        assert answers[0]["error"]["data"]["httpStatus"] == 405


@pytest.mark.parametrize("link", LINKS[1:])
async def test_calls_of_a_batch_run_at_once(client_folder: Path, url: str, link: str) -> None:
    """Each of the two waits for the other."""
    [answers] = await outcomes(
        client_folder, Client(link=link, url=url, token=TOKEN, calls=[Call("lab.meet"), Call("lab.meet")])
    )

    assert answers == [VERSION, VERSION]


async def test_a_batch_that_is_too_large_fails_each_of_its_calls(
    client_folder: Path, url: str, *, is_oldest: bool
) -> None:
    calls = [Call("getVersion")] * (MAX_BATCH + 1)
    [batch, stream] = await outcomes(
        client_folder,
        *(Client(link=link, url=url, token=TOKEN, calls=calls) for link in LINKS[1:]),
    )

    assert [code(answer) for answer in batch] == ["BAD_REQUEST"] * len(calls)
    if is_oldest:  # it looks for lines in every answer, whatever the status
        assert {answer["error"]["name"] for answer in stream} == {"TRPCClientError"}
    else:
        assert [code(answer) for answer in stream] == ["BAD_REQUEST"] * len(calls)


async def test_lines_may_be_asked_for_by_the_general_header(client_folder: Path, url: str) -> None:
    options = {"streamHeader": "accept"}
    [answers] = await outcomes(
        client_folder,
        Client(link=LINKS[2], url=url, token=TOKEN, options=options, calls=[Call("getVersion"), Call("nowhere")]),
    )

    assert answers[0] == VERSION
    assert code(answers[1]) == "NOT_FOUND"


async def told(folder: Path, url: str, *calls: Call, token: str | None = TOKEN) -> list[dict[str, Any]]:
    """What subscriptions came to that were opened at once."""
    [answers] = await outcomes(folder, Client(link="httpSubscriptionLink", url=url, token=token, calls=calls))
    return answers


def numbers(outcome: dict[str, Any]) -> list[int]:
    assert [event["id"] for event in outcome["events"]] == [str(event["data"]["number"]) for event in outcome["events"]]
    return [event["data"]["number"] for event in outcome["events"]]


class TestSubscriptions:
    async def test_every_event_arrives_once_and_the_end_is_an_end(self, client_folder: Path, url: str) -> None:
        [whole, resumed] = await told(
            client_folder,
            url,
            Call("lab.count", "subscription"),
            Call("lab.count", "subscription", {"to": 5, "lastEventId": "2"}),
        )

        assert (numbers(whole), whole["complete"], whole["started"]) == ([1, 2, 3], True, 1)
        assert (numbers(resumed), resumed["complete"]) == ([3, 4, 5], True)

    async def test_errors_have_their_code_and_end_it(self, client_folder: Path, url: str) -> None:
        conflict, invalid, unknown = await told(
            client_folder,
            url,
            Call("lab.subConflict", "subscription"),
            Call("lab.count", "subscription", {"to": "x"}),
            Call("doesNotExist", "subscription"),
        )
        [stranger] = await told(client_folder, url, Call("lab.count", "subscription"), token=None)

        assert (numbers(conflict), code(conflict)) == ([1], "CONFLICT")
        assert conflict["error"]["data"]["refreshdCode"] == "update_running"
        assert (invalid["events"], code(invalid)) == ([], "BAD_REQUEST")
        assert unknown["error"]["message"].startswith("Non-200 status code (404)")
        assert (stranger["events"], code(stranger)) == ([], "UNAUTHORIZED")

    async def test_a_stream_that_is_cut_is_resumed_after_the_last_event(
        self, client_folder: Path, url: str, lab: Lab
    ) -> None:
        """As by a restart: the reader is still there, and the daemon leaves and comes back."""
        opened = asyncio.create_task(
            told(client_folder, url, Call("lab.count", "subscription", {"to": 4, "forever": True}, until=4))
        )
        lab.pause_after = 2
        await lab.paused.wait()
        lab.leaving.set()
        await lab.cut.wait()
        lab.leaving.clear()
        [outcome] = await opened

        assert (numbers(outcome), outcome["started"]) == ([1, 2, 3, 4], 2)

    @pytest.mark.parametrize("link", LINKS[1:])
    async def test_they_cannot_be_batched(self, client_folder: Path, url: str, link: str) -> None:
        [answers] = await outcomes(client_folder, Client(link=link, url=url, token=TOKEN, calls=[Call("lab.count")]))

        assert [code(answer) for answer in answers] == ["BAD_REQUEST"]


class TestTheJudgeIsNotLeftOut:
    def test_ci_without_node_fails(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("CI", "true")

        with pytest.raises(pytest.fail.Exception, match="node is missing"):
            program("node")

    def test_a_laptop_without_node_skips(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CI", raising=False)

        with pytest.raises(pytest.skip.Exception, match="node is missing"):
            program("node")

    def test_a_program_that_is_there_is_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "node").touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

        assert program("node") == shutil.which("node")
