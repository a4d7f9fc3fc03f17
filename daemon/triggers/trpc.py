"""tRPC over HTTP: a table of procedures, served to an unmodified `@trpc/client` of version 11.

A query whose URL passes 8190 bytes is refused by the HTTP parser before it gets here, with a plain text.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError

from daemon.access import Access
from daemon.errors import BadRequestError, InternalError, RefreshdError
from daemon.log import get_logger
from daemon.triggers import trpc_wire as wire
from daemon.triggers.trpc_errors import Code, TrpcError, from_refreshd

MAX_BODY = 64 * 1024  # bytes
MAX_PROBLEMS = 5  # of an input, in one message

_VARY = {"Vary": "trpc-accept, accept"}

log = get_logger()


@dataclass(frozen=True)
class Procedure:
    """`call` gets the validated input, None where `input` is None; it returns a JSON-ready value, None for undefined.

    A caller who sends no input at all is treated as one who sends an empty object.
    """

    kind: wire.Kind
    access: Access
    call: Callable[[web.Request, Any], Awaitable[Any]]
    input: type[BaseModel] | None = None


Authorize = Callable[[web.Request, Access], Awaitable[None]]


class Router:
    """Answers every request in tRPC's own words, whatever its method, path and fate."""

    def __init__(self, procedures: Mapping[str, Procedure], authorize: Authorize) -> None:
        self._procedures = procedures
        self._authorize = authorize

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response(status=204)
        try:
            calls = self._calls(request)
        except TrpcError as error:
            return _response(wire.failed(error))
        inputs = _Inputs(request, calls)
        answers = [self._answer(request, path, inputs, position) for position, path in enumerate(calls.paths)]
        return _response(wire.assembled(calls, await asyncio.gather(*answers)))

    def _calls(self, request: web.Request) -> wire.Calls:
        headers = request.headers
        wire.refuse_content_type(request.method, headers.get("Content-Type"))
        streamed = wire.wants_lines(headers.get("trpc-accept"), headers.get("Accept"))
        calls = wire.parse_calls(_tail(request), request.rel_url.raw_query_string, streamed=streamed)
        named = (self._procedures.get(path) for path in calls.paths)
        wire.refuse_impossible(calls, (procedure.kind for procedure in named if procedure))
        return calls

    async def _answer(self, request: web.Request, path: str, inputs: "_Inputs", position: int) -> wire.Answer:
        try:
            procedure = self._find(request.method, path)
            await self._authorize(request, procedure.access)
            given = await inputs.valid(procedure.input, position)
            return wire.succeeded(await procedure.call(request, given))
        except TrpcError as error:
            return wire.failed(error, path)
        except RefreshdError as error:
            return wire.failed(from_refreshd(error), path)
        except Exception:  # a defect of one procedure must not reach the other calls, nor its text the caller
            log.exception("procedure failed", path=path)
            return wire.failed(from_refreshd(InternalError()), path)

    def _find(self, method: str, path: str) -> Procedure:
        procedure = self._procedures.get(path)
        if procedure is None:
            raise TrpcError(Code.NOT_FOUND, f'No procedure found on path "{path}"')
        allowed = wire.METHODS[procedure.kind]
        if method != allowed:
            message = f'Unsupported {method}-request to {procedure.kind} procedure at path "{path}"'
            raise TrpcError(Code.METHOD_NOT_SUPPORTED, message, headers={"Allow": allowed})
        return procedure


def add_routes(app: web.Application, base: str, router: Router) -> None:
    """Gives the router everything below `base`, such as `/api/trpc`, for every method."""
    app.router.add_route("*", base, router.handle)
    # a dot would leave out a path with a newline in it
    app.router.add_route("*", base + r"/{tail:[\s\S]*}", router.handle)


class _Inputs:
    """The inputs of a request, read when the first procedure wants one, and then only once.

    The body cannot be read again: after a failure, aiohttp would hand out the rest of it as if it were all.
    """

    def __init__(self, request: web.Request, calls: wire.Calls) -> None:
        self._request = request
        self._batched = calls.batched
        self._reading: asyncio.Task[Mapping[str, object]] | None = None

    async def valid(self, model: type[BaseModel] | None, position: int) -> BaseModel | None:
        """Raises TrpcError for an input that cannot be read, BadRequestError for one that the model refuses."""
        if model is None:
            return None
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        inputs = await self._reading
        try:
            return model.model_validate(inputs.get(str(position), {}))
        except ValidationError as error:
            raise BadRequestError(reason=_reason(error)) from None

    async def _read(self) -> Mapping[str, object]:
        if self._request.method == "GET":
            text = wire.parameter(self._request.rel_url.raw_query_string, "input") or ""
        else:
            text = await _body(self._request)
        return wire.parse_inputs(text, batched=self._batched)


async def _body(request: web.Request) -> str:
    """Raises TrpcError for a body that is too long, is not UTF-8 or never arrives in full."""
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise TrpcError(Code.PAYLOAD_TOO_LARGE, f"cannot read a body of more than {MAX_BODY} bytes")
        return body.decode()
    except UnicodeDecodeError:
        raise TrpcError(Code.BAD_REQUEST, "cannot read the body: it is not UTF-8") from None
    except ConnectionError:
        raise TrpcError(Code.CLIENT_CLOSED_REQUEST, "cannot read the body: the caller has left") from None
    except web.RequestPayloadError:
        raise TrpcError(Code.BAD_REQUEST, "cannot read the body: it does not match its headers") from None


def _tail(request: web.Request) -> str:
    """The path below the base, undecoded. The route has matched the base in any spelling, so its parts are counted."""
    resource = request.match_info.route.resource
    base = resource.canonical.partition("{")[0] if resource else ""
    return "/".join(request.rel_url.raw_path.split("/")[base.rstrip("/").count("/") + 1 :])


def _reason(error: ValidationError) -> str:
    """Where and what, never the value itself: it may be a secret."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'input'}: {problem['msg']}" for problem in problems[:MAX_PROBLEMS]
    )


def _response(answer: wire.Answer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.text.encode(),
        content_type="application/json",
        headers={**_VARY, **answer.headers},
    )
