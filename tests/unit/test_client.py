"""The typed client, against a small machine on real sockets that goes away, comes back and lies."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from daemon.client import (
    Client,
    FailedError,
    InconsistentError,
    RefusedError,
    RolledBackError,
    Target,
    TimedOutError,
    UnreachableError,
    Watcher,
    connection,
    server_url,
)
from daemon.client.absence import FIRST_PAUSE, LONGEST_PAUSE, Absence
from daemon.client.wire import EventParser, ServerEvent
from daemon.models import Entry, Plan, Update
from daemon.states import State
from tests.support.fake_machine import (
    NEW,
    OLD,
    CutStreams,
    FakeMachine,
    Pause,
    Restart,
    Step,
    begins,
    ends_inconsistent,
    fails,
    finds_nothing_to_do,
    problem,
    rolls_back,
    succeeds,
)

WHOLE_WAY = [
    State.REQUESTED,
    State.STAGING,
    State.APPLYING,
    State.INSTALLING,
    State.CHECKING,
    State.RESTARTING,
    State.VERIFYING,
    State.SUCCEEDED,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "refreshd.sock"


@pytest.fixture
async def machine(path: Path) -> AsyncIterator[FakeMachine]:
    async with FakeMachine(path) as machine:
        yield machine


@pytest.fixture
async def client(machine: FakeMachine) -> AsyncIterator[Client]:
    async with Client(machine.socket_path, timeout=5, patience=20) as client:
        yield client


@pytest.fixture
async def tcp_machine() -> AsyncIterator[FakeMachine]:
    async with FakeMachine(token="secret") as machine:
        yield machine


class Recorder(Watcher):
    def __init__(self) -> None:
        self.ids: list[str] = []
        self.entries: list[Entry] = []
        self.absences: list[str] = []

    def accepted(self, update: Update) -> None:
        self.ids.append(update.id)

    def entry(self, entry: Entry) -> None:
        self.entries.append(entry)

    def away(self, reason: str) -> None:
        self.absences.append(reason)

    @property
    def states(self) -> list[State]:
        return [entry.state for entry in self.entries]


# Where the daemon is


async def test_a_daemon_is_asked_over_its_unix_socket(client: Client) -> None:
    assert (await client.version()).running.sha == OLD
    assert (await client.health()).boot_id == "boot-1"


async def test_a_daemon_is_asked_over_tcp_with_the_token(tcp_machine: FakeMachine) -> None:
    async with Client(url=f"{tcp_machine.url}/", token="secret") as client:
        assert (await client.version()).running.sha == OLD
    assert tcp_machine.seen[0].headers["Authorization"] == "Bearer secret"
    assert tcp_machine.seen[0].path == "/api/v1/version"


async def test_headers_of_a_proxy_go_with_every_request_beside_the_token(tcp_machine: FakeMachine) -> None:
    async with Client(url=tcp_machine.url, token=tcp_machine.token, headers={"X-Preview-Token": "p"}) as client:
        await client.refresh("main")
    assert len(tcp_machine.seen) > 3
    assert {seen.headers.get("X-Preview-Token") for seen in tcp_machine.seen} == {"p"}


async def test_a_socket_that_does_not_exist_is_unreachable_and_nothing_was_sent(path: Path) -> None:
    async with Client(path) as client:
        with pytest.raises(UnreachableError, match="there is no such socket") as caught:
            await client.version()
    assert not caught.value.sent


async def test_a_socket_that_nobody_listens_on_is_unreachable(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with Client(path) as client:
        with pytest.raises(UnreachableError, match="nobody listens there"):
            await client.version()


async def test_a_daemon_that_does_not_answer_is_a_time_out_and_not_unreachable(machine: FakeMachine) -> None:
    machine.mute = True
    async with Client(machine.socket_path, timeout=0.1) as client:
        with pytest.raises(TimedOutError, match=r"0\.1 s have passed") as caught:
            await client.version()
    assert caught.value.sent


async def test_a_connection_that_breaks_leaves_the_fate_of_the_request_unknown(machine: FakeMachine) -> None:
    machine.lost_answers = 1000
    async with Client(machine.socket_path) as client:
        with pytest.raises(UnreachableError, match="the connection broke") as caught:
            await client._submit("main", "key", wait=False, limit=1)
    assert caught.value.sent


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1:3000", "ftp://host", "http://", "http://user:word@host", "http://host/?q=1", "http://host:99999"],
)
def test_what_is_no_address_of_a_server_is_not_accepted(text: str) -> None:
    with pytest.raises(ValueError):
        server_url(text)


def test_a_socket_and_a_url_together_are_not_accepted(path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        Client(path, "http://localhost")


def test_a_token_that_would_break_out_of_its_header_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="one line"):
        Client(url="http://localhost", token="a\r\nX: y")


async def test_a_client_that_was_not_entered_says_so(path: Path) -> None:
    with pytest.raises(RuntimeError, match="entered"):
        await Client(path).version()


# Answers


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_no_token_or_a_wrong_one_is_refused(tcp_machine: FakeMachine, token: str | None) -> None:
    async with Client(url=tcp_machine.url, token=token) as client:
        with pytest.raises(RefusedError, match="cannot answer without a valid token") as caught:
            await client.version()
    assert (caught.value.refusal, caught.value.http_status) == ("unauthorized", 401)


async def test_liveness_needs_no_token(tcp_machine: FakeMachine) -> None:
    async with Client(url=tcp_machine.url) as client:
        assert (await client.health()).boot_id == "boot-1"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=404, text="<h1>Not Found</h1>", content_type="text/html"),
        lambda: web.Response(text="hello"),
        lambda: web.json_response(["a", "list"]),
        lambda: web.json_response({"sha": None}),
        lambda: web.Response(text="[" * 100_000, content_type="application/json"),
        lambda: web.Response(body=b"\xff\xfe", content_type="application/json"),
        lambda: web.Response(status=400, text="{}", content_type="application/problem+json"),
    ],
)
async def test_an_answer_of_something_else_is_refused_as_unreadable(
    client: Client, machine: FakeMachine, answer: Any
) -> None:
    machine.replace = lambda _request: answer()
    with pytest.raises(RefusedError, match="does a refreshd listen there") as caught:
        await client.version()
    assert caught.value.refusal == "unreadable_answer"


async def test_a_redirect_is_not_followed_so_the_token_stays_here(tcp_machine: FakeMachine) -> None:
    async with FakeMachine() as elsewhere:
        tcp_machine.replace = lambda _request: web.Response(status=302, headers={"Location": f"{elsewhere.url}/x"})
        async with Client(url=tcp_machine.url, token="secret") as client:
            with pytest.raises(RefusedError):
                await client.version()
        assert elsewhere.seen == []


async def test_fields_of_a_newer_daemon_are_left_out(client: Client, machine: FakeMachine) -> None:
    machine.extra = {"from_the_future": True}
    assert (await client.version()).running.sha == OLD
    assert (await client.refresh("main")).state is State.SUCCEEDED


async def test_a_proxy_without_a_daemon_behind_it_is_unreachable(client: Client, machine: FakeMachine) -> None:
    machine.gateway_down = True
    with pytest.raises(UnreachableError, match="the answer was 502 Bad Gateway"):
        await client.version()


async def test_a_failure_that_the_daemon_reports_as_502_is_no_absence(client: Client, machine: FakeMachine) -> None:
    machine.replace = lambda _request: problem(502, "remote_failed", "cannot fetch 'main'", log="fatal: no route")
    with pytest.raises(RefusedError, match="cannot fetch 'main'") as caught:
        await client.plan("main")
    assert (caught.value.refusal, caught.value.detail) == ("remote_failed", "fatal: no route")


async def test_readiness_is_what_the_daemon_says(client: Client, machine: FakeMachine) -> None:
    assert await client.ready()
    machine.ready = False
    assert not await client.ready()


async def test_a_refused_question_for_readiness_is_no_readiness(client: Client, machine: FakeMachine) -> None:
    machine.replace = lambda _request: problem(404, "not_found", "cannot find it")
    with pytest.raises(RefusedError):
        await client.ready()


# Asking for an update


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("main", {"target_ref": "main"}),
        (Target("main", "branch"), {"branch": "main"}),
        (Target(NEW, "commit"), {"commit": NEW}),
    ],
)
async def test_an_update_is_asked_for_by_exactly_one_name(
    client: Client, machine: FakeMachine, target: str | Target, body: dict[str, str]
) -> None:
    update = await client.update(target, idempotency_key="k")
    assert update.state is State.REQUESTED
    assert machine.asked()[0].body == body | {"wait": False, "idempotency_key": "k"}


async def test_a_conflict_names_the_update_that_runs(client: Client, machine: FakeMachine) -> None:
    machine.script = [Pause(60)]
    running = await client.update("main")
    with pytest.raises(RefusedError) as caught:
        await client.update("dev")
    assert (caught.value.refusal, caught.value.running) == ("update_running", running.id)


async def test_a_lost_answer_is_asked_for_again_and_starts_no_second_update(
    client: Client, machine: FakeMachine
) -> None:
    machine.lost_answers = 2
    update = await client.update("main")
    assert list(machine.entries) == [update.id]
    keys = [seen.body["idempotency_key"] for seen in machine.asked()]
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_an_update_that_was_certainly_not_asked_for_is_not_asked_for_again(path: Path) -> None:
    async with Client(path, patience=60) as client, asyncio.timeout(5):
        with pytest.raises(UnreachableError):
            await client.update("main")


async def test_a_restarting_daemon_is_asked_again_when_it_said(client: Client, machine: FakeMachine) -> None:
    machine.unavailable = 1
    before = asyncio.get_running_loop().time()
    assert (await client.update("main")).state is State.REQUESTED
    assert asyncio.get_running_loop().time() - before >= 1


async def test_a_daemon_that_stays_away_ends_the_patience_and_not_the_certainty(machine: FakeMachine) -> None:
    machine.script = [Pause(60)]
    machine.lost_answers = 1000
    async with Client(machine.socket_path, patience=0.3) as client:
        with pytest.raises(TimedOutError, match="the daemon to come back") as caught:
            await client.update("main")
    assert "the connection broke" in caught.value.detail


async def test_a_waited_for_update_is_returned_when_the_daemon_is_about_to_restart(
    client: Client, machine: FakeMachine
) -> None:
    machine.script = succeeds(Restart(seconds=0.5))
    assert (await client.update("main", wait=True)).state is State.RESTARTING


async def test_a_plan_touches_nothing(client: Client, machine: FakeMachine) -> None:
    machine.plan = Plan(
        target_ref="main", source="git", from_commit=OLD, to_commit=NEW, apply=True, install=("pnpm",), restart=True
    )
    assert await client.plan("main") == machine.plan
    assert machine.entries == {}


async def test_updates_are_listed_newest_first_and_as_many_as_wanted(client: Client, machine: FakeMachine) -> None:
    machine.script = finds_nothing_to_do()
    ids = [(await client.refresh("main")).id for _ in range(3)]
    assert [update.id for update in await client.updates()] == ids[::-1]
    assert [update.id for update in await client.updates(2)] == ids[:0:-1]


async def test_an_unknown_update_is_not_found(client: Client) -> None:
    with pytest.raises(RefusedError, match="cannot find") as caught:
        await client.get("../healthz")
    assert caught.value.refusal == "not_found"


# Following


async def follow(client: Client, update_id: str, after_seq: int = 0) -> list[int]:
    return [entry.seq async for entry in client.follow(update_id, after_seq)]


async def test_every_entry_comes_once_and_in_order(client: Client, machine: FakeMachine) -> None:
    update_id = await machine.begin()
    assert await follow(client, update_id) == list(range(1, 9))


async def test_following_begins_after_the_entry_that_is_known(client: Client, machine: FakeMachine) -> None:
    update_id = await machine.begin()
    assert await follow(client, update_id, after_seq=6) == [7, 8]


async def test_an_update_that_has_ended_is_followed_to_its_end_at_once(client: Client, machine: FakeMachine) -> None:
    update_id = await machine.begin()
    assert await follow(client, update_id) == list(range(1, 9))
    assert await follow(client, update_id, after_seq=8) == []


async def test_a_broken_stream_is_resumed_where_it_broke(client: Client, machine: FakeMachine) -> None:
    machine.script = [*begins()[:2], Pause(0.2), CutStreams(), *begins()[2:], *succeeds()[4:]]
    update_id = await machine.begin()
    assert await follow(client, update_id) == list(range(1, 9))
    resumed = [seen.headers.get("Last-Event-ID") for seen in machine.seen if seen.path.endswith("/events")]
    assert resumed[:2] == [None, "3"]


async def test_a_server_that_begins_anew_is_not_repeated(client: Client, machine: FakeMachine) -> None:
    machine.forgets_event_ids = True
    machine.script = succeeds(Restart(seconds=0.2))
    update_id = await machine.begin()
    assert await follow(client, update_id) == list(range(1, 9))


async def test_a_silent_stream_is_asked_for_again_without_a_word(
    client: Client, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE", 0.2)
    machine.script = [Pause(0.7), *finds_nothing_to_do()]
    recorder = Recorder()
    assert (await client.refresh("main", watcher=recorder)).state is State.UNCHANGED
    assert len([seen for seen in machine.seen if seen.path.endswith("/events")]) > 1
    assert recorder.absences == []


async def test_patience_ends_when_the_daemon_stays_away(machine: FakeMachine) -> None:
    machine.script = succeeds(Restart(seconds=60))
    async with Client(machine.socket_path, patience=0.3) as client, asyncio.timeout(3):
        with pytest.raises(TimedOutError, match="the daemon to come back") as caught:
            await follow(client, await machine.begin())
    assert "nobody listens there" in caught.value.detail


async def test_a_record_that_is_gone_after_the_restart_is_said_at_once(client: Client) -> None:
    with pytest.raises(RefusedError) as caught:
        await follow(client, "000001-abcdef")
    assert caught.value.refusal == "not_found"


async def test_an_event_that_cannot_be_read_is_refused(client: Client, machine: FakeMachine) -> None:
    machine.replace = lambda _request: web.Response(text="event: entry\ndata: {}\n\n", content_type="text/event-stream")
    with pytest.raises(RefusedError, match="cannot understand"):
        await follow(client, "000001-abcdef")


async def test_an_answer_that_is_no_stream_is_refused(client: Client, machine: FakeMachine) -> None:
    machine.replace = lambda _request: web.json_response({})
    with pytest.raises(RefusedError, match="application/json and not text/event-stream"):
        await follow(client, "000001-abcdef")


# Refreshing


@pytest.mark.parametrize("gateway", [False, True], ids=["refused", "502"])
async def test_a_refresh_is_seen_through_over_the_restart(
    client: Client, machine: FakeMachine, *, gateway: bool
) -> None:
    machine.script = succeeds(Restart(seconds=0.3, gateway=gateway))
    recorder = Recorder()
    update = await client.refresh("main", watcher=recorder)
    assert (update.state, update.to_commit) == (State.SUCCEEDED, NEW)
    assert recorder.states == WHOLE_WAY
    assert recorder.ids == [update.id]
    assert len(recorder.absences) == 1


async def test_nothing_to_do_is_a_good_end_and_restarts_nothing(client: Client, machine: FakeMachine) -> None:
    machine.script = finds_nothing_to_do()
    assert (await client.refresh("main")).state is State.UNCHANGED
    assert machine.boot_id == "boot-1"


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        (fails(), FailedError, "cannot fetch 'main' from origin: no route"),
        (rolls_back(), RolledBackError, "cannot run the new code: it does not import"),
        (
            ends_inconsistent(),
            InconsistentError,
            "cannot run the new code; and the way back failed: cannot put the old one back",
        ),
    ],
)
async def test_bad_ends_are_told_apart_and_carry_the_update(
    client: Client,
    machine: FakeMachine,
    script: list[Step],
    error: type[FailedError | RolledBackError | InconsistentError],
    sentence: str,
) -> None:
    machine.script = script
    with pytest.raises(error) as caught:
        await client.refresh("main")
    assert str(caught.value) == sentence
    assert caught.value.update.error
    assert caught.value.detail == caught.value.update.error.detail


@pytest.mark.parametrize(
    ("lie", "doubt"),
    [
        (Restart(keeps_boot_id=True), "the process from before the update still answers"),
        (Restart(keeps_commit=True), f"the daemon runs {OLD} and not {NEW}"),
    ],
)
async def test_success_is_not_believed_without_a_new_process_on_the_new_commit(
    client: Client, machine: FakeMachine, lie: Restart, doubt: str
) -> None:
    machine.script = succeeds(lie)
    with pytest.raises(InconsistentError, match=doubt):
        await client.refresh("main")


async def test_a_later_update_answers_for_what_runs_by_then(client: Client, machine: FakeMachine) -> None:
    machine.script = succeeds(Restart(keeps_commit=True))
    machine.owner = "000099-abcdef"
    assert (await client.refresh("main")).state is State.SUCCEEDED


async def test_an_update_that_had_restarted_before_we_came_is_confirmed_by_its_commit(
    client: Client,
) -> None:
    first = await client.refresh("main", idempotency_key="k")
    again = await client.refresh("main", idempotency_key="k")
    assert again.id == first.id


async def test_an_unreachable_daemon_is_said_at_once(path: Path) -> None:
    async with Client(path, patience=60) as client, asyncio.timeout(5):
        with pytest.raises(UnreachableError):
            await client.refresh("main")


async def test_a_lost_answer_does_not_end_a_refresh(client: Client, machine: FakeMachine) -> None:
    machine.lost_answers = 1
    assert (await client.refresh("main")).state is State.SUCCEEDED
    assert len(machine.entries) == 1


async def test_a_time_limit_ends_the_waiting_and_not_the_update(client: Client, machine: FakeMachine) -> None:
    machine.script = [Pause(0.5), *finds_nothing_to_do()]
    recorder = Recorder()
    with pytest.raises(TimedOutError, match="the update to end"):
        await client.refresh("main", limit=0.2, watcher=recorder)
    assert await follow(client, recorder.ids[0], after_seq=1) == [2, 3]


async def test_pauses_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    away = Absence(60, None)
    for _ in range(10):
        await away.endure(UnreachableError(where="here", reason="gone"))
    assert slept[0] <= 1.3 * FIRST_PAUSE
    assert 0.7 * LONGEST_PAUSE <= slept[-1] <= 1.3 * LONGEST_PAUSE


# Event streams, byte by byte

STREAM = (
    b'retry: 300\n\n: ping\n\nid: 1\nevent: entry\ndata: {"a":\ndata: "\xc3\xa4"}\n\n'
    b"data:bare\r\n\r\nevent: no data\n\nevent: entry\ndata: cut o"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_stream_is_cut(size: int) -> None:
    parser = EventParser()
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    assert events == [ServerEvent("entry", '{"a":\n"ä"}'), ServerEvent("message", "bare")]
    assert json.loads(events[0].data) == {"a": "ä"}
