"""The wire format of tRPC v11 over HTTP: what a request says, and the text of its answer. No I/O, and no aiohttp.

Whatever is wrong with a request as a whole raises TrpcError and is answered with one object, also for a batch.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel

from daemon.triggers.server_event import RETRY, ServerEvent
from daemon.triggers.trpc_errors import Code, TrpcError

Kind = Literal["query", "mutation", "subscription"]

MAX_BATCH = 20  # calls
METHODS: Mapping[Kind, str] = {"query": "GET", "mutation": "POST", "subscription": "GET"}

_SILENCE = 45_000  # milliseconds, three pings, after which a reader takes its stream for dead
_RETRY_AFTER_ERROR = 5_000  # milliseconds; readers come back after an internal error, again and again

# must be the first of a stream
CONNECTED = ServerEvent(json.dumps({"reconnectAfterInactivityMs": _SILENCE}), "connected", retry=RETRY)
PING = ServerEvent("", "ping")
# without it the reader would come back for ever
RETURN = ServerEvent("", "return")

_JSON = "application/json"
_JSON_LINES = "application/jsonl"
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Calls:
    """What a request calls, in order. A batch of one is still a batch."""

    paths: tuple[str, ...]
    batched: bool
    streamed: bool


@dataclass(frozen=True)
class Answer:
    """The answer to one call, or to a whole request."""

    status: int
    text: str
    headers: Mapping[str, str]


def refuse_content_type(method: str, content_type: str | None) -> None:
    """Returns for JSON and for a GET without a type of its own; anything else raises.

    This is what keeps a page of another site from calling a mutation: its form cannot send JSON, and its script
    cannot without a preflight, which nobody here grants.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type == _JSON or method == "GET":
        return
    message = f'Unsupported content-type "{content_type}"' if content_type else "Missing content-type header"
    raise TrpcError(Code.UNSUPPORTED_MEDIA_TYPE, message)


def wants_lines(trpc_accept: str | None, accept: str | None) -> bool:
    """The client's own header counts where it is sent, the general one only without it."""
    offers = (accept or "").split(",") if trpc_accept is None else [trpc_accept]
    return any(offer.strip() == _JSON_LINES for offer in offers)


def parse_calls(tail: str, query: str, *, streamed: bool) -> Calls:
    """Reads the undecoded rest of the path and the undecoded query string.

    The path is decoded once and as a whole before it is split: an escaped comma separates calls like a plain one.
    """
    path = _decode(tail.strip("/"))
    batched = parameter(query, "batch") == "1"
    paths = tuple(path.split(",")) if batched else (path,)
    if len(paths) > MAX_BATCH:
        raise TrpcError(Code.BAD_REQUEST, "Batch call exceeds maximum size")
    return Calls(paths, batched, streamed)


def refuse_impossible(calls: Calls, kinds: Iterable[Kind]) -> None:
    """`kinds` are those of the calls that name a procedure; the others do not count."""
    distinct = tuple(dict.fromkeys(kinds))
    if len(distinct) > 1:
        raise TrpcError(Code.BAD_REQUEST, f"Cannot mix procedure types in call: {', '.join(distinct)}")
    if calls.streamed and not calls.batched:
        raise TrpcError(Code.BAD_REQUEST, "Streaming requests must be batched (you can do a batch of 1)")


def refuse_connection_params(query: str) -> None:
    """They are read and used for nothing: a secret does not belong into a URL. Raises TrpcError."""
    text = parameter(query, "connectionParams")
    if text is None:
        return
    try:
        value = _parse_json(text)
    except TrpcError:
        raise TrpcError(Code.PARSE_ERROR, "cannot read the connectionParams as JSON") from None
    sound = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    if not (sound or value is None):
        raise TrpcError(Code.PARSE_ERROR, "cannot read the connectionParams: they must be texts by name")


def last_event_id(header: str | None, query: str) -> str | None:
    """What a reader of events has seen last, by whichever way it says so; the header is that of the browser itself."""
    return header or parameter(query, "lastEventId") or parameter(query, "Last-Event-Id")


def _decode(path: str) -> str:
    if _MALFORMED_ESCAPE.search(path):
        raise TrpcError(Code.BAD_REQUEST, "cannot read the path: it holds a malformed percent escape")
    try:
        return unquote_to_bytes(path.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise TrpcError(Code.BAD_REQUEST, "cannot read the path: it is not UTF-8") from None


def parameter(query: str, name: str) -> str | None:
    """The first value of a parameter, decoded; None where it is absent."""
    return next((value for key, value in parse_qsl(query, keep_blank_values=True) if key == name), None)


def parse_inputs(text: str, *, batched: bool) -> Mapping[str, object]:
    """The inputs by position, written as text; an undefined one is absent. Raises TrpcError."""
    if not text:
        return {}
    value = _parse_json(text)
    if not batched:
        return {"0": value}
    if not isinstance(value, dict):
        raise TrpcError(Code.BAD_REQUEST, '"input" needs to be an object when doing a batch call')
    return value


def _parse_json(text: str) -> object:
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise TrpcError(Code.BAD_REQUEST, "cannot read the input: it is nested too deeply") from None
    except ValueError as error:
        raise TrpcError(Code.BAD_REQUEST, f"cannot read the input as JSON: {error}") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def succeeded(data: object) -> Answer:
    """None is answered as undefined. Raises ValueError, TypeError, RecursionError for what JSON cannot say."""
    return Answer(200, _text({"result": {} if data is None else {"data": _plain(data)}}), {})


def failed(error: TrpcError, path: str | None = None) -> Answer:
    """`path` is None where the request as a whole is refused."""
    return Answer(error.code.status, _text({"error": _shape(error, path)}), error.headers)


def told(event_id: str, data: object) -> ServerEvent:
    return ServerEvent(_text(_plain(data)), id=event_id)


def position(event_id: str) -> ServerEvent:
    """Clients pass over an event of this name, and come back with its id."""
    return ServerEvent("", "position", id=event_id)


def told_error(error: TrpcError, path: str) -> ServerEvent:
    """The shape alone: no `error` around it. Readers give up after it, but come back after those of class 500."""
    return ServerEvent(_text(_shape(error, path)), "serialized-error", retry=_RETRY_AFTER_ERROR)


def _shape(error: TrpcError, path: str | None) -> dict[str, object]:
    data: dict[str, object] = {"code": error.code.name, "httpStatus": error.code.status}
    if path is not None:
        data["path"] = path
    if error.refreshd_code is not None:
        data["refreshdCode"] = error.refreshd_code
    return {"message": error.message, "code": error.code.number, "data": data}


def _plain(data: object) -> object:
    return data.model_dump(mode="json", by_alias=True) if isinstance(data, BaseModel) else data


def assembled(calls: Calls, answers: Sequence[Answer]) -> Answer:
    """The answer to the request, from the answers to its calls in their order."""
    if calls.streamed:
        return _line(answers)
    if not calls.batched:
        return answers[0]
    text = f"[{','.join(answer.text for answer in answers)}]"
    return Answer(_common_status(answers), text, _common_headers(answers))


def _line(answers: Sequence[Answer]) -> Answer:
    """Everything in the head line and nothing promised for later; clients read it only with its newline."""
    values = (f'"{position}":[[{answer.text}]]' for position, answer in enumerate(answers))
    return Answer(200, f"{{{','.join(values)}}}\n", {})


def _common_status(answers: Sequence[Answer]) -> int:
    statuses = {answer.status for answer in answers}
    return statuses.pop() if len(statuses) == 1 else 207


def _common_headers(answers: Sequence[Answer]) -> Mapping[str, str]:
    first = answers[0].headers
    return first if all(answer.headers == first for answer in answers) else {}


def _text(value: object) -> str:
    # ASCII only: a lone surrogate, which JSON may hold, could not be encoded otherwise
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
