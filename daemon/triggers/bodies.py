"""What requests carry: bodies and query parameters, as shapes that are checked before anything is done."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict

from daemon.auth.tokens import Token
from daemon.errors import BadRequestError, UnsupportedMediaTypeError, in_words
from daemon.models import IdempotencyKey
from daemon.refs import Ref, parse_branch, parse_commit, parse_ref

MAX_LISTED = 200
VOUCHING = "For the git remote, where it has to vouch for the commit of then; stored nowhere."

Body = TypeVar("Body", bound=BaseModel)


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def _one_of(*names: str) -> JsonDict:
    return {"oneOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in names]}


class UpdateBody(Input):
    """Exactly one of `target_ref`, `branch` and `commit`."""

    model_config = ConfigDict(json_schema_extra=_one_of("target_ref", "branch", "commit"))

    target_ref: str | None = Field(None, description="A branch, a tag, a full name under refs/, or a full commit id.")
    branch: str | None = None
    commit: str | None = Field(None, description="All 40 hexadecimal digits.")
    wait: bool = Field(default=False, description="Answer when the update has ended or the machine is to restart.")
    dry_run: bool = Field(default=False, description="Answer with what would be done; touch nothing.")
    force: bool = Field(default=False, description="Also to a commit that did not run when it was tried before.")
    idempotency_key: IdempotencyKey | None = Field(None, description="The same key is the same request.")
    git_token: Token | None = Field(None, description="For the git remote, for this update alone; stored nowhere.")
    trigger: Literal["rest", "command_file"] = Field(
        "rest", description="`command_file` where a host does what its machine asked for in the command file."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "UpdateBody":
        if [self.target_ref, self.branch, self.commit].count(None) != 2:  # noqa: PLR2004 - two of the three
            raise ValueError("give exactly one of target_ref, branch and commit")
        return self

    def ref(self) -> Ref:
        """Raises InvalidRefError."""
        if self.branch is not None:
            return parse_branch(self.branch)
        return parse_commit(self.commit) if self.commit is not None else parse_ref(self.target_ref or "")


class RollbackBody(Input):
    """An empty one will do."""

    wait: bool = Field(default=False, description="Answer when the update has ended or the machine is to restart.")
    idempotency_key: IdempotencyKey | None = Field(None, description="The same key is the same request.")
    git_token: Token | None = Field(None, description=VOUCHING)


def _number(text: object) -> object:
    """Texts of digits only: what `int` takes besides would be news to the callers of other servers."""
    if isinstance(text, str) and text.isascii() and text.isdigit():
        return int(text[:9])
    raise ValueError("it is not a number")


NUMBER = BeforeValidator(_number)


class Page(Input):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_LISTED), NUMBER] = Field(MAX_LISTED, description="How many at most.")
    cursor: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="`next_cursor` of the page before; without one, the newest."
    )


class Resume(Input):
    last_event_id: Annotated[int, Field(ge=0), NUMBER] = Field(0, description="Where headers cannot be sent.")


async def read_body(request: web.Request, model: type[Body]) -> Body:
    """Raises BadRequestError in words that do not quote the input, and UnsupportedMediaTypeError.

    Only JSON is read: a form of another site can be sent without asking, JSON cannot.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaTypeError(given=request.content_type)
    try:
        return model.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise BadRequestError(reason=in_words(error)) from None


def read_query(request: web.Request, model: type[Body]) -> Body:
    """What the model does not know is left alone. Raises BadRequestError."""
    return read(model, {name: request.query[name] for name in model.model_fields if name in request.query})


def read(model: type[Body], given: Mapping[str, object]) -> Body:
    """Raises BadRequestError."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise BadRequestError(reason=in_words(error)) from None
