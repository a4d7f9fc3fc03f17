"""Whatever arrives is understood or refused in words, and never a defect. Refs have their own in test_refs.py."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.client.wire import EventParser, ServerEvent
from daemon.errors import BadRequestError, ConfigurationError
from daemon.journal import fold, parse
from daemon.models import Entry, now
from daemon.settings import Settings
from daemon.states import Event, State
from daemon.triggers import trpc_wire as wire
from daemon.triggers.bodies import Resume, read
from daemon.triggers.procedures import OnUpdateInput
from daemon.triggers.trpc_errors import Code, TrpcError

bounded = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# what parsers trip over, more often than chance would bring it
PATHS = st.lists(st.sampled_from("ab.,/%2C%25%ff%00_é\ud800\n;=&?#"), max_size=12).map("".join) | st.text()
QUERIES = st.lists(
    st.tuples(st.sampled_from(["batch", "input", "lastEventId", "connectionParams", "x"]), PATHS), max_size=4
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
JSON = VALUES.map(json.dumps) | st.text() | st.integers(1, 100_000).map(lambda depth: "[" * depth)


class TestTrpc:
    @bounded
    @given(tail=PATHS, query=QUERIES, streamed=st.booleans())
    def test_a_path_is_calls_or_a_bad_request(self, tail: str, query: str, *, streamed: bool) -> None:
        try:
            wire.refuse_connection_params(query)
            calls = wire.parse_calls(tail, query, streamed=streamed)
        except TrpcError as error:
            refused = json.loads(wire.failed(error).text)["error"]["data"]["code"]
        else:
            self._answered(calls)
            return
        assert refused in {"BAD_REQUEST", "PARSE_ERROR"}

    def _answered(self, calls: wire.Calls) -> None:
        assert 1 <= len(calls.paths) <= wire.MAX_BATCH
        assert calls.batched or len(calls.paths) == 1
        answers = [wire.failed(TrpcError(Code.NOT_FOUND, path), path) for path in calls.paths]
        json.loads(wire.assembled(calls, answers).text)

    @bounded
    @given(text=JSON, batched=st.booleans())
    def test_an_input_is_plain_json_or_a_bad_request(self, text: str, *, batched: bool) -> None:
        try:
            inputs = wire.parse_inputs(text, batched=batched)
        except TrpcError as error:
            code = error.code
        else:
            code = Code.BAD_REQUEST
            json.dumps(dict(inputs), allow_nan=False)
        assert code is Code.BAD_REQUEST

    @bounded
    @given(
        event_id=st.text()
        | st.from_regex(r"[0-9]{5,7}-[0-9a-f]{6}:[0-9]{0,11}")
        | st.from_regex(r"(after)?:([0-9]{6}-[0-9a-f]{5,7})?"),
        update_id=st.none() | st.text(),
    )
    def test_an_event_id_names_a_line_of_one_update_or_is_refused(self, event_id: str, update_id: str | None) -> None:
        try:
            given = OnUpdateInput.model_validate({"lastEventId": event_id, "id": update_id})
            named, seq = given.start()
        except (ValidationError, BadRequestError):
            return
        if given.after is not None:
            assert event_id == f"after:{given.after}"
            assert (named, seq) == (update_id, 0)
            return
        assert f"{named}:{seq:0{len(event_id.partition(':')[2])}}" == event_id
        assert update_id in {None, named}


@bounded
@given(st.text() | st.from_regex(r"\s*[+-]?[0-9_]{1,12}\s*"))
def test_a_last_event_id_of_rest_is_digits_or_refused(text: str) -> None:
    try:
        seq = read(Resume, {"last_event_id": text}).last_event_id
    except BadRequestError:
        return
    assert text.isascii()
    assert text.isdigit()
    assert seq >= 0


STATES = [State.REQUESTED, State.STAGING, State.APPLYING, State.ROLLED_BACK]
ENTRIES = [
    Entry(seq=n, at=now(), state=state, event=Event.BEGIN if n == 2 else None, facts={"notes": [str(n)]})
    for n, state in enumerate(STATES, 1)
]
ENTRIES[0].facts["request"] = {"target_ref": "main", "trigger": "test"}
WHOLE = b"".join(json.dumps(entry.snake()).encode() + b"\n" for entry in ENTRIES)


class TestJournal:
    @bounded
    @given(st.binary() | st.lists(JSON).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"))
    @example(b'{"seq": 1, "at": "9999-99-99T00:00:00Z", "state": "requested"}\n')
    def test_any_bytes_are_read(self, content: bytes) -> None:
        entries = parse(content)
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))

    @bounded
    @given(at=st.integers(0, len(WHOLE)), damage=st.binary(max_size=8))
    def test_what_stands_before_the_damage_is_kept(self, at: int, damage: bytes) -> None:
        """Nothing later is taken for sound because of it, unless the damage is what stood there."""
        found = parse(WHOLE[:at] + damage + WHOLE[at + len(damage) :])
        sound = WHOLE[:at].count(b"\n")
        assert list(found[:sound]) == ENTRIES[:sound]

    @bounded
    @given(st.dictionaries(st.sampled_from(["notes", "error", "changes", "message", "steps", "x"]), VALUES))
    def test_strange_facts_make_a_record_or_are_refused(self, facts: Mapping[str, Any]) -> None:
        try:
            update = fold("000001-abcdef", [ENTRIES[0], ENTRIES[1].model_copy(update={"facts": dict(facts)})])
        except ValidationError:
            return
        assert update.state is State.STAGING


NAMES = [str(field.alias) for field in Settings.model_fields.values()]
SECRET = "planted-\x01-secret"


class TestSettings:
    @bounded
    @given(
        st.dictionaries(st.sampled_from([*NAMES, "REFRESHD_LISTN", "PATH"]), st.text() | st.sampled_from(["/", "1"]))
    )
    def test_an_environment_is_settings_or_says_what_is_wrong(self, environ: dict[str, str]) -> None:
        try:
            repo = Settings.from_environment(environ).repo
        except ConfigurationError:
            return
        assert repo.is_absolute()

    @pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("TOKEN")])
    @bounded
    @given(text=st.text(max_size=5))
    def test_a_refused_secret_is_not_quoted(self, name: str, text: str) -> None:
        with pytest.raises(ConfigurationError) as refused:
            Settings.from_environment({"ITERATE_REPO": "/", name: f"{text}{SECRET}"})
        assert "planted" not in str(refused.value)


EVENTS = [ServerEvent("entry", '{"a": "é"}'), ServerEvent("message", "one\ntwo"), ServerEvent("end", "")]
STREAM = (
    'id: 1\nevent: entry\ndata: {"a": "é"}\n\n: ping\r\n\r\ndata: one\r\ndata:two\r\n\r\nevent: end\ndata\n\n'.encode()
)


class TestEventStreams:
    @bounded
    @given(st.lists(st.integers(0, len(STREAM))))
    def test_events_are_the_same_however_the_stream_is_cut(self, cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(STREAM)]
        parser = EventParser()
        chunks = [STREAM[start:end] for start, end in pairwise(edges)]
        assert [event for chunk in chunks for event in parser.feed(chunk)] == EVENTS

    @bounded
    @given(st.lists(st.binary()))
    def test_any_bytes_are_events_or_nothing(self, chunks: list[bytes]) -> None:
        parser = EventParser()
        for chunk in chunks:
            assert all(isinstance(event, ServerEvent) for event in parser.feed(chunk))
