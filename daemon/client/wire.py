"""What arrives from a daemon, as values: shapes, problems and server-sent events. No I/O."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from daemon.models import ProblemDocument, Shape

PROBLEM_TYPE = "application/problem+json"
EVENT_STREAM_TYPE = "text/event-stream"
LINES_TYPE = "application/x-ndjson"

AnyShape = TypeVar("AnyShape", bound=Shape)


def read_shape(shape: type[AnyShape], content: object) -> AnyShape:
    """Fields that this client does not know are left out: the daemon may be newer, and is so after each update.

    Raises ValidationError.
    """
    return shape.model_validate(content, extra="ignore")


def read_json_shape(shape: type[AnyShape], content: str) -> AnyShape:
    """As `read_shape`."""
    return shape.model_validate_json(content, extra="ignore")


def read_problem(content_type: str, content: bytes) -> ProblemDocument | None:
    """None for what a daemon would not have said: a proxy's error page, or an answer of something else."""
    if content_type != PROBLEM_TYPE:
        return None
    try:
        return read_json_shape(ProblemDocument, content.decode())
    except (UnicodeDecodeError, ValidationError):
        return None


def read_object(content: bytes) -> dict[str, Any]:
    """Raises ValueError for anything but a JSON object."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - one error for every unreadable answer
    return value


@dataclass(frozen=True)
class ServerEvent:
    name: str
    data: str


class EventParser:
    """Turns the bytes of an event stream, however they are cut, into events. Lines end with LF or CR LF."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that `chunk` completes; an event that is cut off by the end of the stream never happened."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._read(line.removesuffix(b"\r").decode(errors="replace"))
            if event:
                yield event

    def _read(self, line: str) -> ServerEvent | None:
        if not line:
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case _:  # comments keep the connection warm; ids are in the entries themselves
                pass
        return None

    def _complete(self) -> ServerEvent | None:
        event = ServerEvent(self._name or "message", "\n".join(self._data)) if self._data else None
        self._name, self._data = "", []
        return event
