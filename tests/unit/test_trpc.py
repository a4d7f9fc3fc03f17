"""The router behind a real socket: requests byte for byte as real clients send them, and as they should not be."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from structlog.testing import capture_logs
from yarl import URL

from daemon.triggers import streams, trpc
from daemon.triggers.trpc import MAX_BODY
from tests.support.raw_http import Connection, RawResponse, exchange
from tests.support.trpc_lab import BASE, SECRET, SHA, TOKEN, Lab, served

ALLOWED = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}
LINES = {"trpc-accept": "application/jsonl"}
VERSION = {"result": {"data": {"sha": SHA}}}


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
async def port(lab: Lab) -> AsyncIterator[int]:
    async with served(lab) as served_port:
        yield served_port


Logs = Sequence[MutableMapping[str, Any]]


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logs]:
    monkeypatch.setattr(trpc, "log", structlog.get_logger())  # not one that an earlier test has configured
    with capture_logs() as lines:
        yield lines


async def get(port: int, target: str, headers: Mapping[str, str] = ALLOWED) -> RawResponse:
    return await exchange(port, f"GET {BASE}/{target}", headers=headers)


async def post(port: int, target: str, body: bytes, headers: Mapping[str, str] = ALLOWED) -> RawResponse:
    return await exchange(port, f"POST {BASE}/{target}", headers={**JSON, **headers}, body=body)


def error_code(response: RawResponse) -> str:
    code: str = response.json["error"]["data"]["code"]
    assert response.json["error"]["data"]["httpStatus"] == response.status
    return code


def codes(response: RawResponse) -> list[str]:
    return [entry["error"]["data"]["code"] if "error" in entry else "ok" for entry in response.json]


class TestRecordedRequests:
    async def test_a_query(self, port: int) -> None:
        response = await get(port, "getVersion")

        assert (response.status, response.json) == (200, VERSION)
        assert response.headers["content-type"] == "application/json"
        assert response.headers["vary"] == "trpc-accept, accept"

    async def test_a_query_with_input(self, port: int) -> None:
        response = await get(port, "lab.echo?input=%7B%22a%22%3A%22%C3%A9%26%3D%2B%20%25%22%2C%22n%22%3A1.5%7D")

        assert response.json == {"result": {"data": {"a": "é&=+ %", "n": 1.5}}}

    async def test_a_mutation(self, port: int) -> None:
        response = await post(port, "selfUpdate", b'{"targetRef":"v1"}')

        assert response.json == {"result": {"data": {"success": True, "targetRef": "v1"}}}

    async def test_a_mutation_without_input(self, port: int, lab: Lab) -> None:
        response = await post(port, "lab.touch", b"")

        assert (response.status, lab.ran) == (200, ["lab.touch"])

    async def test_the_query_of_a_base_url_is_ignored(self, port: int) -> None:
        assert (await get(port, "lab.echo?k=v&input=1")).json == {"result": {"data": 1}}

    async def test_method_override_is_off(self, port: int) -> None:
        response = await post(port, "getVersion", b"")

        assert (response.status, response.headers["allow"]) == (405, "GET")
        assert response.json["error"] == {
            "message": 'Unsupported POST-request to query procedure at path "getVersion"',
            "code": -32005,
            "data": {"code": "METHOD_NOT_SUPPORTED", "httpStatus": 405, "path": "getVersion"},
        }

    async def test_a_batch_of_one_is_answered_with_an_array(self, port: int) -> None:
        response = await get(port, "getVersion?batch=1&input=%7B%7D")

        assert (response.status, response.json) == (200, [VERSION])

    async def test_a_batch_of_two(self, port: int) -> None:
        response = await get(port, "getVersion,lab.echo?batch=1&input=%7B%221%22%3A%22x%22%7D")

        assert (response.status, response.json) == (200, [VERSION, {"result": {"data": "x"}}])

    async def test_a_batch_of_mutations_that_fail_each_in_its_own_way(self, port: int, lab: Lab) -> None:
        response = await post(port, "selfUpdate,lab.conflict?batch=1", b'{"0":{"targetRef":1}}')

        assert (response.status, codes(response)) == (207, ["BAD_REQUEST", "CONFLICT"])
        assert [entry["error"]["data"]["path"] for entry in response.json] == ["selfUpdate", "lab.conflict"]
        assert not lab.ran

    async def test_a_batch_of_one_mutation_without_input(self, port: int) -> None:
        response = await post(port, "lab.conflict?batch=1", b"{}")

        assert (response.status, codes(response)) == (409, ["CONFLICT"])

    @pytest.mark.parametrize("header", ["trpc-accept", "accept"])
    async def test_a_streamed_batch_is_one_line(self, port: int, header: str) -> None:
        headers = {**ALLOWED, header: "application/jsonl"}
        response = await get(port, "getVersion,lab.nothing?batch=1&input=%7B%7D", headers)

        assert response.status == 200
        assert response.body == b'{"0":[[{"result":{"data":{"sha":"%s"}}}]],"1":[[{"result":{}}]]}\n' % SHA.encode()


class TestRequests:
    @pytest.mark.parametrize("target", ["getVersion", "selfUpdate", "doesNotExist", "%", "getVersion?batch=1"])
    async def test_head_is_answered_before_everything_else(self, port: int, target: str) -> None:
        response = await exchange(port, f"HEAD {BASE}/{target}", headers={"Content-Type": "text/plain"})

        assert (response.status, response.body) == (204, b"")

    @pytest.mark.parametrize(
        ("line", "headers", "status", "code"),
        [
            ("POST selfUpdate", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("POST selfUpdate", {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("POST lab.touch", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("OPTIONS selfUpdate", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("DELETE doesNotExist", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("POST %", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("GET %", {}, 400, "BAD_REQUEST"),
            ("GET get%zzVersion", {}, 400, "BAD_REQUEST"),
            ("GET %FF", {}, 400, "BAD_REQUEST"),
            ("GET getVersion", LINES, 400, "BAD_REQUEST"),
            ("GET getVersion,selfUpdate?batch=1", {}, 400, "BAD_REQUEST"),
            ("GET getVersion,selfUpdate?batch=1", LINES, 400, "BAD_REQUEST"),
            (f"GET {','.join(['getVersion'] * 21)}?batch=1", LINES, 400, "BAD_REQUEST"),
        ],
    )
    async def test_a_request_that_is_refused_as_a_whole_gets_one_object_without_a_path(
        self, port: int, line: str, headers: dict[str, str], status: int, code: str
    ) -> None:
        method, target = line.split(" ")
        response = await exchange(port, f"{method} {BASE}/{target}", headers={**ALLOWED, **headers})

        assert (response.status, error_code(response)) == (status, code)
        assert "path" not in response.json["error"]["data"]
        assert response.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("line", "status", "code"),
        [
            ("GET doesNotExist", 404, "NOT_FOUND"),
            ("GET getVersion/", 401, "UNAUTHORIZED"),
            ("GET getVersion/more", 404, "NOT_FOUND"),
            ("GET getversion", 404, "NOT_FOUND"),
            ("GET getVersion%0A", 404, "NOT_FOUND"),
            ("GET %0AgetVersion", 404, "NOT_FOUND"),
            ("GET getVersion%00", 404, "NOT_FOUND"),
            ("GET %2567etVersion", 404, "NOT_FOUND"),
            ("GET getVersion,lab.echo", 404, "NOT_FOUND"),
            ("GET ..%2Fhealthz", 404, "NOT_FOUND"),
            ("GET __class__", 404, "NOT_FOUND"),
            ("GET __init__", 404, "NOT_FOUND"),
            ("GET constructor", 404, "NOT_FOUND"),
            ("GET lab", 404, "NOT_FOUND"),
            ("GET lab.", 404, "NOT_FOUND"),
            ("GET ", 404, "NOT_FOUND"),
            ("POST doesNotExist", 404, "NOT_FOUND"),
            ("PUT getVersion", 405, "METHOD_NOT_SUPPORTED"),
            ("DELETE selfUpdate", 405, "METHOD_NOT_SUPPORTED"),
            ("OPTIONS selfUpdate", 405, "METHOD_NOT_SUPPORTED"),
            ("PURGE selfUpdate", 405, "METHOD_NOT_SUPPORTED"),
            ("GET selfUpdate", 405, "METHOD_NOT_SUPPORTED"),
            ("POST selfUpdate", 401, "UNAUTHORIZED"),
        ],
    )
    async def test_every_path_and_method_is_answered_in_the_protocols_words(
        self, port: int, line: str, status: int, code: str
    ) -> None:
        method, target = line.split(" ")
        response = await exchange(port, f"{method} {BASE}/{target}", headers=JSON, body=b"{bad")

        assert (response.status, error_code(response)) == (status, code)

    async def test_the_bare_base_is_an_unknown_procedure(self, port: int) -> None:
        response = await exchange(port, f"GET {BASE}")

        assert response.json["error"]["message"] == 'No procedure found on path ""'

    @pytest.mark.parametrize(
        "target",
        [
            f"{BASE}/%67etVersion",
            f"{BASE}/getVersion/",
            "/api/%74rpc/getVersion",
            f"http://localhost{BASE}/getVersion",
        ],
    )
    async def test_spellings_of_the_same_path_reach_the_same_procedure(self, port: int, target: str) -> None:
        assert (await exchange(port, f"GET {target}", headers=ALLOWED)).json == VERSION

    async def test_an_escaped_comma_separates_calls(self, port: int) -> None:
        assert (await get(port, "getVersion%2ClabX?batch=1")).json[0] == VERSION

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_405_names_the_method_of_a_mutation(self, port: int, method: str) -> None:
        response = await exchange(port, f"{method} {BASE}/selfUpdate", headers=JSON)

        assert (response.status, response.headers["allow"]) == (405, "POST")

    async def test_405_of_a_whole_batch_names_the_method_too(self, port: int) -> None:
        response = await get(port, "selfUpdate,lab.touch?batch=1")

        assert (response.status, response.headers["allow"]) == (405, "POST")
        assert codes(response) == ["METHOD_NOT_SUPPORTED"] * 2


class TestAuthorization:
    @pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic VDpU"}])
    async def test_a_caller_without_the_token_gets_401(self, port: int, lab: Lab, given: dict[str, str]) -> None:
        response = await post(port, "selfUpdate", b'{"targetRef":"v1"}', given)

        assert (response.status, error_code(response)) == (401, "UNAUTHORIZED")
        assert response.json["error"]["data"]["refreshdCode"] == "unauthorized"
        assert not lab.ran

    @pytest.mark.parametrize("body", [b"{bad", b'{"targetRef":1}', b"x" * (MAX_BODY + 1), b"\xff"])
    async def test_it_comes_before_the_input_is_looked_at(self, port: int, body: bytes) -> None:
        assert error_code(await post(port, "selfUpdate", body, {})) == "UNAUTHORIZED"

    async def test_it_is_asked_for_each_call_of_a_batch(self, port: int) -> None:
        response = await get(port, "lab.public,getVersion,doesNotExist?batch=1", {})

        assert (response.status, codes(response)) == (207, ["ok", "UNAUTHORIZED", "NOT_FOUND"])


class TestInput:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"v1"',
            b"{}",
            b'{"targetRef":true}',
            b'{"targetRef":1}',
            b'{"targetRef":null}',
            b'{"targetRef":["v1"]}',
            b'{"targetRef":{"toString":"v1"}}',
            b'{"targetRef":"v1","force":true}',
            b'{"targetRef":"v1","\\ud800":true}',
            b'{"targetRef":"v1"',
            b'{"targetRef":NaN}',
            b'{"targetRef":1e999}',
            b"\xff",
            b'{"targetRef":"\xc3"}',
            b"[" * MAX_BODY,
            b'{"a":' * 10_000,
        ],
        ids=lambda body: body[:24].decode("latin-1"),
    )
    async def test_what_the_procedure_did_not_ask_for_is_a_bad_request(
        self, port: int, lab: Lab, logs: Logs, body: bytes
    ) -> None:
        response = await post(port, "selfUpdate", body)

        assert (response.status, error_code(response)) == (400, "BAD_REQUEST")
        assert not lab.ran
        assert not logs

    async def test_the_message_says_where_and_never_what(self, port: int) -> None:
        response = await post(port, "selfUpdate", b'{"targetRef":{"token":"hunter2"}}')

        assert response.json["error"]["message"] == (
            "cannot read the request: targetRef: Input should be a valid string"
        )
        assert response.json["error"]["data"]["refreshdCode"] == "bad_request"

    async def test_many_problems_make_no_long_message(self, port: int) -> None:
        body = json.dumps({f"key{n}": n for n in range(2000)}).encode()
        response = await post(port, "selfUpdate", body)

        assert error_code(response) == "BAD_REQUEST"
        assert len(response.body) < 1000

    async def test_an_absent_input_is_an_empty_object(self, port: int) -> None:
        assert (await get(port, "lab.list")).json == {"result": {"data": {"limit": 10}}}
        assert (await get(port, "lab.list?input=")).json == {"result": {"data": {"limit": 10}}}
        assert (await get(port, "lab.list,lab.list?batch=1&input=%7B%221%22:%7B%22limit%22:3%7D%7D")).json == [
            {"result": {"data": {"limit": 10}}},
            {"result": {"data": {"limit": 3}}},
        ]

    async def test_an_input_is_decoded_once(self, port: int) -> None:
        assert (await get(port, "lab.echo?input=%22%2541%2526%22")).json == {"result": {"data": "%41%26"}}

    async def test_the_first_of_repeated_parameters_counts_and_a_plus_is_a_space(self, port: int) -> None:
        assert (await get(port, "lab.echo?input=%22a+b%22&input=2")).json == {"result": {"data": "a b"}}

    @pytest.mark.parametrize("given", ["%7Bbad", "NaN", "-Infinity", quote("[" * 2500)])
    async def test_a_malformed_query_input_is_a_bad_request(self, port: int, given: str) -> None:
        assert error_code(await get(port, f"lab.echo?input={given}")) == "BAD_REQUEST"

    async def test_an_input_that_nobody_asked_for_is_not_looked_at(self, port: int) -> None:
        assert (await get(port, "getVersion?input=%7Bbad")).json == VERSION

    @pytest.mark.parametrize("body", [b"{bad", b"x" * (MAX_BODY + 1)], ids=["malformed", "oversize"])
    async def test_a_body_that_nobody_asked_for_is_not_looked_at(self, port: int, lab: Lab, body: bytes) -> None:
        response = await post(port, "lab.touch", body)

        assert (response.status, lab.ran) == (200, ["lab.touch"])

    async def test_a_malformed_batch_input_fails_only_the_calls_that_want_one(self, port: int) -> None:
        response = await get(port, "getVersion,lab.echo,lab.list?batch=1&input=%7Bbad")

        assert (response.status, codes(response)) == (207, ["ok", "BAD_REQUEST", "BAD_REQUEST"])

    async def test_a_batch_input_that_is_no_object_fails_each_call(self, port: int) -> None:
        response = await get(port, "lab.echo,lab.list?batch=1&input=%5B%5D")

        assert (response.status, codes(response)) == (400, ["BAD_REQUEST"] * 2)
        assert {entry["error"]["message"] for entry in response.json} == {
            '"input" needs to be an object when doing a batch call'
        }


class TestBodies:
    async def test_the_largest_body_is_read(self, port: int) -> None:
        body = b'{"targetRef":"%s"}' % (b"v" * (MAX_BODY - 16))

        assert len(body) == MAX_BODY
        assert (await post(port, "selfUpdate", body)).status == 200

    async def test_one_byte_more_is_too_large(self, port: int, lab: Lab) -> None:
        response = await post(port, "selfUpdate", b'{"targetRef":"%s"}' % (b"v" * (MAX_BODY - 15)))

        assert (response.status, error_code(response)) == (413, "PAYLOAD_TOO_LARGE")
        assert response.json["error"]["data"]["path"] == "selfUpdate"
        assert not lab.ran

    async def test_every_call_of_a_batch_gets_413_and_not_only_the_first_to_read(self, port: int) -> None:
        body = b'{"0":{"targetRef":"%s"}}' % (b"v" * 3 * MAX_BODY)
        response = await post(port, "selfUpdate,selfUpdate,selfUpdate?batch=1", body)

        assert (response.status, codes(response)) == (413, ["PAYLOAD_TOO_LARGE"] * 3)

    async def test_a_chunked_body_has_the_same_bound(self, port: int) -> None:
        chunks = b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(5)) + b"0\r\n\r\n"
        headers = {**ALLOWED, **JSON, "Transfer-Encoding": "chunked"}
        response = await exchange(port, f"POST {BASE}/selfUpdate", headers=headers, body=chunks, length=False)

        assert error_code(response) == "PAYLOAD_TOO_LARGE"

    async def test_a_compressed_body_is_measured_by_what_it_becomes(self, port: int) -> None:
        headers = {**ALLOWED, "Content-Encoding": "gzip"}
        response = await post(port, "selfUpdate", gzip.compress(b" " * 20 * MAX_BODY), headers)

        assert error_code(response) == "PAYLOAD_TOO_LARGE"

    async def test_a_body_that_is_not_what_its_headers_say_is_a_bad_request(self, port: int, logs: Logs) -> None:
        response = await post(port, "selfUpdate", b"no gzip at all", {**ALLOWED, "Content-Encoding": "gzip"})

        assert error_code(response) == "BAD_REQUEST"
        assert not logs

    async def test_the_connection_survives_413(self, port: int) -> None:
        async with Connection(port) as connection:
            await connection.send(f"POST {BASE}/selfUpdate", headers={**ALLOWED, **JSON}, body=b"x" * 4 * MAX_BODY)
            assert (await connection.response()).status == 413
            await connection.send(f"GET {BASE}/getVersion", headers=ALLOWED)
            assert (await connection.response()).json == VERSION


class TestOutcomes:
    async def test_an_error_of_ours_keeps_its_sentence_and_code(self, port: int) -> None:
        response = await post(port, "lab.conflict", b"")

        assert response.status == 409
        assert response.json["error"] == {
            "message": "cannot start an update to 'v2': update 000001-aaaaaa to 'v1' is staging; wait for it to end",
            "code": -32009,
            "data": {
                "code": "CONFLICT",
                "httpStatus": 409,
                "path": "lab.conflict",
                "refreshdCode": "update_running",
            },
        }

    async def test_a_caller_learns_when_to_try_again(self, port: int) -> None:
        response = await post(port, "lab.restarting", b"")

        assert (response.status, response.headers["retry-after"]) == (503, "3")
        assert error_code(response) == "SERVICE_UNAVAILABLE"

    async def test_the_text_of_a_defect_is_in_the_log_and_nowhere_else(self, port: int, logs: Logs) -> None:
        response = await get(port, "lab.boom")

        assert (response.status, error_code(response)) == (500, "INTERNAL_SERVER_ERROR")
        assert response.json["error"]["message"] == "cannot finish because of a defect in refreshd; see its log"
        assert SECRET.encode() not in response.body
        assert [(line["event"], line["path"], str(line["exc_info"])) for line in logs] == [
            ("procedure failed", "lab.boom", SECRET)
        ]

    async def test_a_result_that_json_cannot_say_is_a_defect_of_that_call_alone(self, port: int, logs: Logs) -> None:
        response = await get(port, "getVersion,lab.nan?batch=1")

        assert (response.status, codes(response)) == (207, ["ok", "INTERNAL_SERVER_ERROR"])
        assert len(logs) == 1

    async def test_nothing_is_undefined_and_not_null(self, port: int) -> None:
        assert (await get(port, "lab.nothing")).body == b'{"result":{}}'

    async def test_one_failing_call_does_not_touch_the_others(self, port: int, logs: Logs) -> None:
        response = await get(port, "getVersion,lab.boom,doesNotExist,lab.echo?batch=1&input=%7B%223%22:5%7D")

        assert response.status == 207
        assert codes(response) == ["ok", "INTERNAL_SERVER_ERROR", "NOT_FOUND", "ok"]
        assert response.json[3] == {"result": {"data": 5}}
        assert len(logs) == 1

    async def test_lines_are_200_even_when_every_call_failed(self, port: int) -> None:
        response = await get(port, "doesNotExist?batch=1&input=%7B%7D", {**ALLOWED, **LINES})

        assert response.status == 200
        assert response.body.endswith(b"}\n")
        assert response.json["0"][0][0]["error"]["data"]["code"] == "NOT_FOUND"

    @pytest.mark.parametrize("headers", [{}, LINES], ids=["array", "lines"])
    async def test_calls_of_a_batch_run_at_once(self, port: int, headers: dict[str, str]) -> None:
        """Each of the two waits for the other."""
        response = await get(port, "lab.meet,lab.meet?batch=1", {**ALLOWED, **headers})

        assert response.body.count(SHA.encode()) == 2


class TestCallersWhoLeave:
    async def test_in_the_middle_of_the_body_nothing_runs_and_nothing_is_logged(
        self, port: int, lab: Lab, logs: Logs, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {**ALLOWED, **JSON, "Content-Length": "100"}
        async with Connection(port) as connection:
            await connection.send(f"POST {BASE}/selfUpdate", headers=headers, body=b'{"targetRef":')
            await asyncio.sleep(0.05)
            connection.reset()
            await asyncio.sleep(0.05)

        assert (await get(port, "getVersion")).json == VERSION
        assert not lab.ran
        assert not logs
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_before_the_answer_the_procedure_ends_and_nothing_is_logged(
        self, port: int, lab: Lab, logs: Logs, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with Connection(port) as connection:
            await connection.send(f"GET {BASE}/lab.slow", headers=ALLOWED)
            await lab.slow_entered.wait()
            connection.reset()
            await asyncio.sleep(0.3)

        assert (await get(port, "getVersion")).json == VERSION
        assert lab.ran == ["lab.slow"]
        assert not logs
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class TestSubscriptions:
    async def test_events_have_ids_and_the_end_is_said(self, port: int) -> None:
        response = await events(port, "lab.count?input=%7B%22to%22%3A2%7D")

        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["vary"] == "trpc-accept, accept"
        assert response.events == [
            {"event": "connected", "data": '{"reconnectAfterInactivityMs": 45000}', "retry": "300"},
            {"id": "1", "data": '{"number":1}'},
            {"id": "2", "data": '{"number":2}'},
            {"event": "return", "data": ""},
        ]

    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("", {"Last-Event-ID": "2"}),
            ("?lastEventId=2", {}),
            ("?Last-Event-Id=2", {}),
            ("?input=%7B%22lastEventId%22%3A%222%22%7D", {}),
            ("?lastEventId=1&input=%7B%22lastEventId%22%3A%220%22%7D", {"Last-Event-ID": "2"}),
            ("?input=%7B%22lastEventId%22%3A%220%22%7D&lastEventId=2", {}),
        ],
    )
    async def test_a_reader_resumes_by_whichever_way_it_says_so(
        self, port: int, query: str, headers: dict[str, str]
    ) -> None:
        response = await events(port, f"lab.count{query}", {**ALLOWED, **headers})

        assert [event.get("id") for event in response.events] == [None, "3", None]

    @pytest.mark.parametrize(
        ("target", "headers", "expected"),
        [
            ("lab.count", {}, "UNAUTHORIZED"),
            ("lab.count?input=%7B%22to%22%3A%22x%22%7D", ALLOWED, "BAD_REQUEST"),
            ("lab.count?input=%7Bbad", ALLOWED, "BAD_REQUEST"),
            ("lab.count?input=%5B%5D", {**ALLOWED, "Last-Event-ID": "1"}, "BAD_REQUEST"),
        ],
    )
    async def test_an_error_is_an_event_of_a_good_answer(
        self, port: int, target: str, headers: dict[str, str], expected: str
    ) -> None:
        response = await events(port, target, headers)

        assert (response.status, [event["event"] for event in response.events]) == (
            200,
            ["connected", "serialized-error"],
        )
        shape = json.loads(response.events[1]["data"])
        assert (shape["data"]["code"], shape["data"]["path"]) == (expected, "lab.count")

    async def test_another_method_is_refused_by_an_event_too(self, port: int) -> None:
        response = await events(port, "lab.count", {**ALLOWED, **JSON}, method="POST")

        assert json.loads(response.events[1]["data"])["data"]["code"] == "METHOD_NOT_SUPPORTED"

    async def test_a_defect_tells_nothing_and_asks_for_patience(self, port: int, logs: Logs) -> None:
        response = await events(port, "lab.subBoom")

        assert response.events[1] == {"id": "1", "data": '{"number":1}'}
        assert response.events[2]["retry"] == "5000"
        assert json.loads(response.events[2]["data"])["code"] == -32603
        assert SECRET not in str(response.events)
        assert [line["event"] for line in logs] == ["procedure failed"]

    async def test_head_is_answered_without_a_stream(self, port: int) -> None:
        assert (await exchange(port, f"HEAD {BASE}/lab.count", headers=ALLOWED)).status == 204

    async def test_a_stream_is_cut_without_an_end_when_the_daemon_leaves(self, port: int, lab: Lab) -> None:
        reading = asyncio.create_task(events(port, "lab.count?input=%7B%22forever%22%3Atrue%7D"))
        lab.pause_after = 3
        await lab.paused.wait()
        lab.leaving.set()

        *_, last, told = (await reading).events
        assert last == {"id": "3", "data": '{"number":3}'}
        assert told["event"] == "leaving"

    async def test_a_reader_who_leaves_ends_the_work_for_it(
        self, port: int, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "PING_EVERY", 0.05)
        lab.pause_after = 3
        async with Connection(port) as connection:
            await connection.send(f"GET {BASE}/lab.count", headers=ALLOWED)
            await lab.paused.wait()
            connection.reset()
        await asyncio.wait_for(lab.cut.wait(), 5)

    async def test_silence_is_filled_with_pings_that_the_reader_notices(
        self, port: int, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "PING_EVERY", 0.05)
        reading = asyncio.create_task(events(port, "lab.count"))
        lab.pause_after = 3
        await lab.paused.wait()
        await asyncio.sleep(0.2)
        lab.leaving.set()

        assert {"event": "ping", "data": ""} in (await reading).events


class TestConnectionParams:
    @pytest.mark.parametrize("target", ["getVersion", "lab.count"])
    @pytest.mark.parametrize("given", ["%7Bbad", "%5B%5D", "1", "%7B%22a%22%3A1%7D", ""])
    async def test_what_is_not_texts_by_name_is_a_parse_error(self, port: int, target: str, given: str) -> None:
        response = await get(port, f"{target}?connectionParams={given}")

        assert (response.status, error_code(response), response.json["error"]["code"]) == (400, "PARSE_ERROR", -32700)
        assert "path" not in response.json["error"]["data"]

    async def test_they_let_nobody_in(self, port: int) -> None:
        given = f"%7B%22token%22%3A%22{TOKEN}%22%2C%22authorization%22%3A%22Bearer%20{TOKEN}%22%7D"

        assert error_code(await get(port, f"getVersion?connectionParams={given}", headers={})) == "UNAUTHORIZED"


@dataclass(frozen=True)
class Streamed:
    status: int
    headers: Mapping[str, str]
    events: list[dict[str, str]]


async def events(port: int, target: str, headers: Mapping[str, str] = ALLOWED, method: str = "GET") -> Streamed:
    """A stream to its end."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, URL(f"http://127.0.0.1:{port}{BASE}/{target}", encoded=True), headers=headers) as got,
    ):
        blocks = [block for block in (await got.text()).split("\n\n") if block and not block.startswith(":")]
        fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
        return Streamed(got.status, {name.lower(): value for name, value in got.headers.items()}, fields)
