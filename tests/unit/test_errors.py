"""What callers read when something goes wrong."""

import inspect
import string
from collections import Counter
from dataclasses import MISSING, fields
from http import HTTPStatus

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from daemon import errors
from daemon.errors import (
    CommandTimeoutError,
    InternalError,
    InvalidRefError,
    RefreshdError,
    RestartingError,
    ToolMissingError,
    in_words,
)

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, RefreshdError) and kind is not RefreshdError
]
MARKERS: dict[type, object] = {str: "planted", int: 7, float: 2.5}


def example(kind: type[RefreshdError]) -> RefreshdError:
    given = {field.name: MARKERS[field.type] for field in fields(kind) if isinstance(field.type, type)}
    return kind(**given)  # type: ignore[arg-type]  # each value has the type that its field names


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_begins_with_cannot_and_is_one_line(kind: type[RefreshdError]) -> None:
    message = str(example(kind))
    assert message.startswith("cannot ")
    assert "\n" not in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_tells_every_field_but_the_childs_output(kind: type[RefreshdError]) -> None:
    told = {name.split("!")[0] for _, name, _, _ in string.Formatter().parse(kind.template) if name}
    assert told == {field.name for field in fields(kind)} - {"detail"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_does_not_exist_without_its_facts(kind: type[RefreshdError]) -> None:
    required = [field.name for field in fields(kind) if field.default is MISSING]
    if required:
        with pytest.raises(TypeError, match=required[0]):
            kind()
    else:
        assert str(kind())


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_is_a_word_for_programs(kind: type[RefreshdError]) -> None:
    assert kind.code.isascii()
    assert kind.code.replace("_", "").islower()


@pytest.mark.parametrize("kind", KINDS)
def test_a_status_is_an_error_of_http(kind: type[RefreshdError]) -> None:
    assert HTTPStatus(kind.status) >= HTTPStatus.BAD_REQUEST


def test_no_two_errors_share_a_code() -> None:
    assert [code for code, count in Counter(kind.code for kind in KINDS).items() if count > 1] == []


def test_only_a_defect_calls_itself_internal() -> None:
    assert [kind for kind in KINDS if kind.code == RefreshdError.code] == [InternalError]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            InvalidRefError(ref="a\nb", reason="no"),
            r"cannot accept 'a\nb' as a ref: no; give a branch, a tag or all 40 digits of a commit id",
        ),
        (RestartingError(), "cannot start an update now: the daemon is restarting; try again in 1 s"),
        (CommandTimeoutError(command="git fetch", seconds=300.0), "cannot complete `git fetch`: no end after 300 s"),
        (ToolMissingError(tool="rsync"), "cannot find the program 'rsync': install it in the image"),
    ],
)
def test_messages_as_they_are_read(error: RefreshdError, message: str) -> None:
    assert str(error) == message


def test_braces_in_a_field_are_only_text() -> None:
    assert "{0} {x!r}" in str(ToolMissingError(tool="{0} {x!r}"))


def test_the_output_of_a_child_stays_out_of_the_message() -> None:
    error = ToolMissingError(tool="rsync", detail="planted")
    assert "planted" not in str(error)
    assert error.detail == "planted"


def test_two_errors_of_the_same_facts_are_two_errors() -> None:
    assert RestartingError() != RestartingError()


class Inner(BaseModel):
    number: int


class Body(BaseModel):
    inner: Inner
    name: str = "x"

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError("at most 3 letters")
        return name


def test_what_is_wrong_with_a_body_is_told_field_by_field_without_quoting_it() -> None:
    with pytest.raises(ValidationError) as invalid:
        Body.model_validate({"inner": {"number": "planted"}, "name": "planted"})
    words = in_words(invalid.value)
    assert words.startswith("inner.number: Input should be a valid integer")
    assert words.endswith("; name: at most 3 letters")
    assert "planted" not in words


def test_a_body_of_the_wrong_kind_is_called_the_body() -> None:
    with pytest.raises(ValidationError) as invalid:
        Body.model_validate([])
    assert in_words(invalid.value).startswith("the body: ")
