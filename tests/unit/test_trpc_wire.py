"""The wire format, by the bytes that real clients and servers exchange."""

import json
import math

import pytest

from daemon.triggers import trpc_wire as wire
from daemon.triggers.trpc_errors import Code, TrpcError
from daemon.triggers.trpc_wire import Answer, Calls

DEEP = "[" * 100_000


def refusal(error: pytest.ExceptionInfo[TrpcError]) -> tuple[Code, str]:
    return error.value.code, error.value.message


class TestContentType:
    @pytest.mark.parametrize("given", ["application/json", "Application/JSON", "application/json ; charset=utf-8"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_json_is_accepted_in_any_case_and_with_parameters(self, method: str, given: str) -> None:
        wire.refuse_content_type(method, given)

    @pytest.mark.parametrize("given", [None, "text/plain", ""])
    def test_get_needs_no_type(self, given: str | None) -> None:
        wire.refuse_content_type("GET", given)

    @pytest.mark.parametrize(
        "given",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/jsonl",
            "text/plain; application/json",
        ],
    )
    def test_what_a_form_of_another_site_could_send_is_refused(self, given: str) -> None:
        with pytest.raises(TrpcError) as error:
            wire.refuse_content_type("POST", given)

        assert refusal(error) == (Code.UNSUPPORTED_MEDIA_TYPE, f'Unsupported content-type "{given}"')

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_other_methods_must_name_one(self, method: str) -> None:
        with pytest.raises(TrpcError) as error:
            wire.refuse_content_type(method, None)

        assert refusal(error) == (Code.UNSUPPORTED_MEDIA_TYPE, "Missing content-type header")


@pytest.mark.parametrize(
    ("trpc_accept", "accept", "lines"),
    [
        ("application/jsonl", "*/*", True),
        (None, "application/jsonl", True),
        (None, "text/html, application/jsonl", True),
        (None, "*/*", False),
        (None, None, False),
        ("application/json", "application/jsonl", False),
    ],
)
def test_json_lines_are_asked_for_by_either_header(trpc_accept: str | None, accept: str | None, *, lines: bool) -> None:
    assert wire.wants_lines(trpc_accept, accept) is lines


class TestCalls:
    @pytest.mark.parametrize(
        ("tail", "query", "paths", "batched"),
        [
            ("getVersion", "", ("getVersion",), False),
            ("getVersion", "batch=1&input=%7B%7D", ("getVersion",), True),
            ("getVersion,lab.echo", "batch=1&input=%7B%221%22%3A%22x%22%7D", ("getVersion", "lab.echo"), True),
            ("getVersion%2Clab.echo", "batch=1", ("getVersion", "lab.echo"), True),
            ("a,,b", "batch=1", ("a", "", "b"), True),
            ("getVersion,lab.echo", "", ("getVersion,lab.echo",), False),
            ("getVersion", "batch=true", ("getVersion",), False),
            ("getVersion", "batch=0&batch=1", ("getVersion",), False),
            ("getVersion", "batch=1&batch=0", ("getVersion",), True),
            ("getVersion", "batch=%31", ("getVersion",), True),
            ("%67etVersion", "", ("getVersion",), False),
            ("%2567etVersion", "", ("%67etVersion",), False),
            ("/getVersion/", "", ("getVersion",), False),
            ("caf%C3%A9", "", ("café",), False),
            ("café", "", ("café",), False),
            ("a+b", "", ("a+b",), False),
            ("", "", ("",), False),
        ],
    )
    def test_the_path_names_the_calls(self, tail: str, query: str, paths: tuple[str, ...], *, batched: bool) -> None:
        assert wire.parse_calls(tail, query, streamed=False) == Calls(paths, batched, streamed=False)

    @pytest.mark.parametrize("tail", ["%", "%2", "%zz", "get%Version", "%FF", "%C3", "\udcff", "%+1", "% 1"])
    def test_a_malformed_path_is_refused(self, tail: str) -> None:
        with pytest.raises(TrpcError) as error:
            wire.parse_calls(tail, "", streamed=False)

        assert error.value.code is Code.BAD_REQUEST

    def test_a_batch_has_a_bound(self) -> None:
        paths = ["getVersion"] * wire.MAX_BATCH
        assert len(wire.parse_calls(",".join(paths), "batch=1", streamed=False).paths) == 20

        with pytest.raises(TrpcError) as error:
            wire.parse_calls(",".join([*paths, "getVersion"]), "batch=1", streamed=False)

        assert refusal(error) == (Code.BAD_REQUEST, "Batch call exceeds maximum size")

    def test_commas_of_a_single_call_are_no_batch(self) -> None:
        assert len(wire.parse_calls("," * 30, "", streamed=False).paths) == 1

    def test_kinds_are_not_mixed(self) -> None:
        with pytest.raises(TrpcError) as error:
            wire.refuse_impossible(Calls(("a", "b", "c"), batched=True, streamed=False), ["query", "mutation", "query"])

        assert refusal(error) == (Code.BAD_REQUEST, "Cannot mix procedure types in call: query, mutation")

    def test_a_batch_of_unknown_names_is_possible(self) -> None:
        wire.refuse_impossible(Calls(("a", "b"), batched=True, streamed=True), [])

    def test_lines_need_a_batch(self) -> None:
        with pytest.raises(TrpcError) as error:
            wire.refuse_impossible(Calls(("a",), batched=False, streamed=True), ["query"])

        assert refusal(error) == (
            Code.BAD_REQUEST,
            "Streaming requests must be batched (you can do a batch of 1)",
        )


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (
            "input=%7B%22a%22%3A%22%C3%A9%26%3D%2B%20%25%22%2C%22n%22%3A1.5%7D",
            '{"a":"é&=+ %","n":1.5}',
        ),
        ("k=v&input=1", "1"),
        ("input=a+b", "a b"),
        ("input=a%2Bb", "a+b"),
        ("input=1&input=2", "1"),
        ("input=", ""),
        ("%69nput=1", "1"),
        ("batch=1", None),
        ("", None),
    ],
)
def test_a_parameter_is_the_first_of_its_name_decoded(query: str, value: str | None) -> None:
    assert wire.parameter(query, "input") == value


class TestInputs:
    @pytest.mark.parametrize(
        ("text", "batched", "inputs"),
        [
            ("", False, {}),
            ("", True, {}),
            ('{"targetRef":"v1"}', False, {"0": {"targetRef": "v1"}}),
            ("null", False, {"0": None}),
            ("{}", True, {}),
            ('{"1":"x"}', True, {"1": "x"}),
            ('{"0":{"targetRef":1},"7":0,"x":0}', True, {"0": {"targetRef": 1}, "7": 0, "x": 0}),
            (' {"0": null} ', True, {"0": None}),
        ],
    )
    def test_inputs_are_keyed_by_position(self, text: str, inputs: dict[str, object], *, batched: bool) -> None:
        assert wire.parse_inputs(text, batched=batched) == inputs

    @pytest.mark.parametrize("text", ["[]", '"x"', "1", "null", "true"])
    def test_a_batch_has_an_object_for_its_input(self, text: str) -> None:
        with pytest.raises(TrpcError) as error:
            wire.parse_inputs(text, batched=True)

        assert refusal(error) == (Code.BAD_REQUEST, '"input" needs to be an object when doing a batch call')

    @pytest.mark.parametrize(
        "text",
        ["{bad", "{}{}", "NaN", "[Infinity]", "-Infinity", "1e999", "[-1e999]", "'a'", "\ufeff1", "1" * 5000, DEEP],
        ids=lambda text: text[:12],
    )
    @pytest.mark.parametrize("batched", [False, True])
    def test_what_is_not_json_is_a_bad_request(self, text: str, *, batched: bool) -> None:
        with pytest.raises(TrpcError) as error:
            wire.parse_inputs(text, batched=batched)

        assert error.value.code is Code.BAD_REQUEST
        assert len(error.value.message) < 200


NOT_FOUND = TrpcError(Code.NOT_FOUND, 'No procedure found on path "doesNotExist"')
FOUND = Answer(200, '{"result":{"data":1}}', {})
MISSING = Answer(404, '{"error":{}}', {})


class TestAnswers:
    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (
                {"sha": "555c1f40b5eba38c3f3a18e2c465a07210f5470d"},
                '{"result":{"data":{"sha":"555c1f40b5eba38c3f3a18e2c465a07210f5470d"}}}',
            ),
            (None, '{"result":{}}'),
            ("\ud800é", '{"result":{"data":"\\ud800\\u00e9"}}'),
        ],
    )
    def test_a_result_is_wrapped(self, data: object, text: str) -> None:
        assert wire.succeeded(data) == Answer(200, text, {})

    @pytest.mark.parametrize("data", [math.nan, {"x": math.inf}, {1, 2}])
    def test_what_json_cannot_say_is_not_sent(self, data: object) -> None:
        with pytest.raises((ValueError, TypeError)):
            wire.succeeded(data)

    def test_an_error_is_what_the_reference_sends(self) -> None:
        assert wire.failed(NOT_FOUND, "doesNotExist") == Answer(
            404,
            r'{"error":{"message":"No procedure found on path \"doesNotExist\"","code":-32004,'
            '"data":{"code":"NOT_FOUND","httpStatus":404,"path":"doesNotExist"}}}',
            {},
        )

    def test_an_error_of_the_whole_request_has_no_path(self) -> None:
        assert "path" not in json.loads(wire.failed(NOT_FOUND).text)["error"]["data"]

    def test_an_empty_path_is_a_path(self) -> None:
        assert json.loads(wire.failed(NOT_FOUND, "").text)["error"]["data"]["path"] == ""

    def test_an_error_of_ours_shows_its_own_code_too(self) -> None:
        error = TrpcError(Code.CONFLICT, "cannot", refreshd_code="update_running")

        assert json.loads(wire.failed(error, "x").text)["error"]["data"] == {
            "code": "CONFLICT",
            "httpStatus": 409,
            "path": "x",
            "refreshdCode": "update_running",
        }

    def test_a_single_call_is_answered_bare(self) -> None:
        assert wire.assembled(Calls(("a",), batched=False, streamed=False), [MISSING]) == MISSING

    @pytest.mark.parametrize(
        ("answers", "status"),
        [
            ([FOUND], 200),
            ([FOUND, FOUND], 200),
            ([MISSING, MISSING], 404),
            ([FOUND, MISSING], 207),
            ([MISSING, Answer(500, "{}", {})], 207),
        ],
    )
    def test_a_batch_has_the_common_status_or_207(self, answers: list[Answer], status: int) -> None:
        calls = Calls(("x",) * len(answers), batched=True, streamed=False)

        assert wire.assembled(calls, answers).status == status

    def test_a_batch_keeps_its_order(self) -> None:
        answer = wire.assembled(Calls(("a", "b"), batched=True, streamed=False), [FOUND, MISSING])

        assert answer.text == '[{"result":{"data":1}},{"error":{}}]'

    def test_lines_are_one_head_line_with_its_newline_and_always_200(self) -> None:
        answer = wire.assembled(Calls(("a", "b"), batched=True, streamed=True), [FOUND, MISSING])

        assert answer == Answer(200, '{"0":[[{"result":{"data":1}}]],"1":[[{"error":{}}]]}\n', {})

    @pytest.mark.parametrize(
        ("each", "headers"),
        [
            ([{"Allow": "GET"}, {"Allow": "GET"}], {"Allow": "GET"}),
            ([{"Retry-After": "3"}], {"Retry-After": "3"}),
            ([{"Retry-After": "3"}, {}], {}),
            ([{}, {"Retry-After": "3"}], {}),
        ],
    )
    def test_headers_of_a_batch_are_those_that_all_its_calls_share(
        self, each: list[dict[str, str]], headers: dict[str, str]
    ) -> None:
        calls = Calls(("x",) * len(each), batched=True, streamed=False)

        assert wire.assembled(calls, [Answer(503, "{}", own) for own in each]).headers == headers
