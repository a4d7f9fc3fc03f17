"""The codes of tRPC and our errors' way to them."""

from typing import Any

import pytest

from daemon import errors
from daemon.triggers.trpc_errors import Code, TrpcError, from_refreshd

NUMBERS = {
    "PARSE_ERROR": (400, -32700),
    "BAD_REQUEST": (400, -32600),
    "UNAUTHORIZED": (401, -32001),
    "PAYMENT_REQUIRED": (402, -32002),
    "FORBIDDEN": (403, -32003),
    "NOT_FOUND": (404, -32004),
    "METHOD_NOT_SUPPORTED": (405, -32005),
    "TIMEOUT": (408, -32008),
    "CONFLICT": (409, -32009),
    "PRECONDITION_FAILED": (412, -32012),
    "PAYLOAD_TOO_LARGE": (413, -32013),
    "UNSUPPORTED_MEDIA_TYPE": (415, -32015),
    "UNPROCESSABLE_CONTENT": (422, -32022),
    "PRECONDITION_REQUIRED": (428, -32028),
    "TOO_MANY_REQUESTS": (429, -32029),
    "CLIENT_CLOSED_REQUEST": (499, -32099),
    "INTERNAL_SERVER_ERROR": (500, -32603),
    "NOT_IMPLEMENTED": (501, -32603),
    "BAD_GATEWAY": (502, -32603),
    "SERVICE_UNAVAILABLE": (503, -32603),
    "GATEWAY_TIMEOUT": (504, -32603),
}

EXPECTED: list[tuple[errors.RefreshdError, Code]] = [
    (errors.BadRequestError(reason="r"), Code.BAD_REQUEST),
    (errors.InvalidRefError(ref="-x", reason="r"), Code.BAD_REQUEST),
    (errors.UnauthorizedError(), Code.UNAUTHORIZED),
    (errors.ForbiddenError(reason="r"), Code.FORBIDDEN),
    (errors.NotFoundError(what="update 1"), Code.NOT_FOUND),
    (errors.UpdateRunningError(ref="b", running="1", running_ref="a", state="staging"), Code.CONFLICT),
    (errors.UnsupportedError(reason="r"), Code.UNPROCESSABLE_CONTENT),
    (errors.RefNotFoundError(ref="b", remote="u"), Code.UNPROCESSABLE_CONTENT),
    (errors.InternalError(), Code.INTERNAL_SERVER_ERROR),
    (errors.RemoteError(ref="b", remote="u", reason="r"), Code.BAD_GATEWAY),
    (errors.RestartingError(), Code.SERVICE_UNAVAILABLE),
    (errors.CommandTimeoutError(command="git fetch", seconds=3), Code.GATEWAY_TIMEOUT),
    (errors.NoSpaceError(path="/p"), Code.INTERNAL_SERVER_ERROR),
    (errors.ConfigurationError(problems="p"), Code.INTERNAL_SERVER_ERROR),
]


def test_every_code_has_the_recorded_status_and_number() -> None:
    assert {code.name: (code.status, code.number) for code in Code} == NUMBERS


@pytest.mark.parametrize(("error", "code"), EXPECTED, ids=lambda value: type(value).__name__)
def test_our_errors_keep_their_sentence_and_code(error: errors.RefreshdError, code: Code) -> None:
    mapped = from_refreshd(error)

    assert (mapped.code, mapped.message, mapped.refreshd_code) == (code, str(error), error.code)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (405, Code.METHOD_NOT_SUPPORTED),
        (413, Code.PAYLOAD_TOO_LARGE),
        (415, Code.UNSUPPORTED_MEDIA_TYPE),
        (429, Code.TOO_MANY_REQUESTS),
        (418, Code.BAD_REQUEST),
        (505, Code.INTERNAL_SERVER_ERROR),
    ],
)
def test_any_status_gets_its_code_or_the_general_one_of_its_class(status: int, code: Code) -> None:
    kind: Any = type("PlantedError", (errors.RefreshdError,), {"status": status})

    assert from_refreshd(kind()).code is code


def test_what_an_error_says_in_headers_is_said_in_trpc_too() -> None:
    assert from_refreshd(errors.RestartingError(retry_after=3)).headers == {"Retry-After": "3"}
    assert from_refreshd(errors.UnauthorizedError()).headers == {"WWW-Authenticate": "Bearer"}
    assert from_refreshd(errors.ForbiddenError(reason="so")).headers == {}


def test_an_error_reads_as_its_message() -> None:
    assert str(TrpcError(Code.NOT_FOUND, "nothing here")) == "nothing here"
