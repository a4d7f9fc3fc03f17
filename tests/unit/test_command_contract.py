"""What is read out of a command file, whatever somebody has written into it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.command_file.contract import Result, claim_in, claim_name, read_request
from daemon.command_file.errors import UnacceptableError, UnfinishedError
from daemon.errors import RefreshdError
from daemon.models import now

COMMIT = "c" * 40


def request(**fields: Any) -> bytes:
    return json.dumps({"command": "update_opencode"} | fields).encode()


@pytest.mark.parametrize("content", [b"", b"{", b'{"command": "upd', b"\xff\xfe", b"[" * 5000, b'{"command": NaN}'])
def test_what_is_no_json_may_still_be_being_written(content: bytes) -> None:
    with pytest.raises(UnfinishedError):
        read_request(content)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"update_opencode"', b"{}", b'{"command": 1}'])
def test_json_that_is_no_request_is_wrong_at_once(content: bytes) -> None:
    with pytest.raises(UnacceptableError) as caught:
        read_request(content)
    assert not isinstance(caught.value, UnfinishedError)


@pytest.mark.parametrize(
    ("content", "echoed"),
    [
        (b'{"request_id": "a", "command": ', "a"),
        (b'{"request_id" : "a\\"b", ', 'a"b'),
        (b'{"request_id": 7, "command": ', 7),
        (b'{"request_id": "a", "branch": "\xff"}', "a"),
        (b'{"request_id": "unclosed', None),
        (b'{"request_id": {"a": 1}, ', None),
        (b'{"request_id": "\\ud800", ', None),
        (b'{"request_id": "\\x", ', None),
    ],
)
def test_id_is_found_in_what_is_no_json(content: bytes, echoed: Any) -> None:
    with pytest.raises(UnfinishedError) as caught:
        read_request(content)
    assert caught.value.request_id == echoed


@pytest.mark.parametrize("request_id", ["a", 7, 1.5, True])
def test_id_is_echoed_as_it_was_written(request_id: Any) -> None:
    assert read_request(request(request_id=request_id)).request_id == request_id
    with pytest.raises(UnacceptableError) as caught:
        read_request(request(request_id=request_id, branch=5))
    assert caught.value.request_id == request_id


@pytest.mark.parametrize("request_id", [{}, [], ["a"], "\ud800"])
def test_id_that_no_result_can_hold_is_an_error_without_one(request_id: Any) -> None:
    with pytest.raises(UnacceptableError) as caught:
        read_request(request(request_id=request_id))
    assert caught.value.request_id is None


@pytest.mark.parametrize(
    "fields", [{}, {"branch": ""}, {"branch": None, "commit": ""}, {"branch": "", "commit": COMMIT}]
)
def test_empty_fields_count_as_left_out(fields: dict[str, Any]) -> None:
    read_request(request(**fields)).refuse_nonsense()


@pytest.mark.parametrize(
    "fields",
    [
        {"branch": "dev", "commit": COMMIT},
        {"branch": "--upload-pack=x"},
        {"branch": "a; reboot"},
        {"commit": "$(id)"},
        {"commit": "abc123"},
    ],
)
def test_what_no_machine_would_accept_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RefreshdError):
        read_request(request(**fields)).refuse_nonsense()


def test_unknown_fields_are_not_looked_at() -> None:
    assert read_request(request(later="x")).command == "update_opencode"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(content: bytes) -> None:
    try:
        read_request(content)
    except UnacceptableError as error:
        Result(status="error", request_id=error.request_id, message="", started_at=now(), finished_at=now()).to_json()


def test_result_has_the_fields_of_the_document_and_leaves_out_what_is_unknown() -> None:
    result = Result(status="success", request_id="a", message="m", started_at=now(), finished_at=now())
    document = json.loads(result.to_json())
    assert list(document) == ["status", "request_id", "message", "started_at", "finished_at"]
    assert document["finished_at"].endswith("Z")


def test_only_a_claim_is_taken_for_a_claim() -> None:
    claim = "0" * 32
    assert claim_in(claim_name(claim)) == claim
    for name in ("update-command.json", f".update-command.{claim}.claimed.tmp", ".update-command..claimed"):
        assert claim_in(name) is None
