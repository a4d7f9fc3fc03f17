"""What the files are called and what is in them. No I/O; everything that is read here was written by somebody else."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from daemon.command_file.errors import UnacceptableError, UnfinishedError
from daemon.errors import in_words
from daemon.models import Moment
from daemon.refs import parse_branch, parse_commit

COMMAND = "update-command.json"
RESULT = "update-command.result.json"
PROGRESS = "update-command.progress.json"
INSIDE = ("opencode-cloud", "commands")  # below the state folder, which is what host and machine share
STATE = Path(".local/state/opencode")  # below the home folder
DEFAULT_BRANCH = "dev"
UPDATE = "update_opencode"
MOST_BYTES = 64 * 1024

RequestId = str | int | float | bool | None
Status = Literal["success", "error"]

# the listener's own: the id in the name is the idempotency key of the update
_CLAIM = re.compile(r"\.update-command\.([0-9a-f]{32})\.claimed")
_ID_IN_GARBAGE = re.compile(r'"request_id"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.){0,1000}"|-?[0-9]{1,30}(?![0-9.eE]))')


def _unicode(value: RequestId) -> RequestId:
    if isinstance(value, str) and not _is_unicode(value):
        raise ValueError("it is not valid Unicode")
    return value


def _is_unicode(text: str) -> bool:
    """JSON can say half a character, which no file can hold."""
    return text.encode(errors="ignore").decode() == text


def claim_name(claim: str) -> str:
    return f".update-command.{claim}.claimed"


def claim_in(name: str) -> str | None:
    found = _CLAIM.fullmatch(name)
    return found[1] if found else None


class Request(BaseModel):
    """What was asked for. Fields that are empty count as left out, fields that are not known are not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)

    command: str
    request_id: Annotated[RequestId, AfterValidator(_unicode)] = None
    branch: str | None = None
    commit: str | None = None

    def refuse_nonsense(self) -> None:
        """Raises RefreshdError for what no machine would accept."""
        if self.branch and self.commit:
            raise UnacceptableError(reason="it names a branch and a commit; give one of them")
        if self.branch:
            parse_branch(self.branch)
        if self.commit:
            parse_commit(self.commit)


class Result(BaseModel):
    """The fields of the document, then ours. `claim` names the execution: the same one is never reported as another."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)

    status: Status
    request_id: RequestId = None
    message: str
    started_at: Moment
    finished_at: Moment
    outcome: str | None = None
    from_commit: str | None = Field(None, alias="from")
    to_commit: str | None = Field(None, alias="to")
    update_id: str | None = None
    detail: str | None = Field(None, description="The tail of the log that goes with a failure.")
    claim: str | None = None

    def to_json(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode() + b"\n"


class Progress(BaseModel):
    """How far the update is that was asked for; there is such a file only while it runs."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    request_id: RequestId = None
    state: str
    message: str
    update_id: str
    started_at: Moment
    at: Moment

    def to_json(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


def read_request(content: bytes) -> Request:
    """Raises UnfinishedError for what may still be being written, UnacceptableError for what is whole and wrong."""
    document = _object(content)
    try:
        return Request.model_validate(document)
    except ValidationError as error:
        raise UnacceptableError(reason=in_words(error), request_id=_echoed(document.get("request_id"))) from None


def _object(content: bytes) -> Mapping[str, JsonValue]:
    try:
        text = content.decode("utf-8-sig")
        document = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise _unfinished("it is not UTF-8", content) from None
    except RecursionError:
        raise _unfinished("it is nested too deeply", content) from None
    except ValueError as error:
        raise _unfinished(f"it is not valid JSON ({_short(error)})", content) from None
    if not isinstance(document, dict):
        raise UnacceptableError(reason="it is not a JSON object")
    return document


def _unfinished(reason: str, content: bytes) -> UnfinishedError:
    return UnfinishedError(reason=reason, request_id=_id_in(content))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _short(error: ValueError) -> str:
    return str(error)[:120]


def _id_in(content: bytes) -> RequestId:
    """Best effort: a client that waits for its id must not wait for ever because of a comma."""
    found = _ID_IN_GARBAGE.search(content.decode(errors="replace"))
    if not found:
        return None
    try:
        return _echoed(json.loads(found[1]))
    except ValueError:
        return None


def _echoed(value: JsonValue) -> RequestId:
    """None for what no result can hold: an object, a list, half a character."""
    if isinstance(value, str):
        return value if _is_unicode(value) else None
    return value if isinstance(value, int | float) else None
