"""tRPC over HTTP: a table of procedures, served to an unmodified `@trpc/client` of version 11.

A query whose URL passes 8190 bytes is refused by the HTTP parser before it gets here, with a plain text.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from aiohttp import web
from pydantic import BaseModel, ValidationError

from daemon.auth.access import Access
from daemon.errors import BadRequestError, InternalError, RefreshdError
from daemon.log import get_logger
from daemon.triggers import streams
from daemon.triggers import trpc_wire as wire
from daemon.triggers.server_event import ServerEvent
from daemon.triggers.trpc_errors import Code, TrpcError, from_refreshd

MAX_BODY = 64 * 1024  # bytes
MAX_PROBLEMS = 5  # of an input, in one message

_VARY = {"Vary": "trpc-accept, accept"}

log = get_logger()


class Tracked(NamedTuple):
    """What a subscription tells, and the id after which a reader resumes: not empty, one line."""

    id: str
    data: BaseModel | Mapping[str, Any]


class Position(NamedTuple):
    """Where a reader stands who has been told nothing yet: an id as that of `Tracked`, and no data."""

    id: str


@dataclass(frozen=True)
class Procedure:
    """`call` gets the validated input, None where `input` is None; it returns a model or a JSON-ready value.

    None is answered as undefined. A caller who sends no input at all is treated as one who sends an empty object.
    `output` is the type of the answer, for the declaration that TypeScript reads.
    """

    kind: Literal["query", "mutation"]
    access: Access
    call: Callable[[web.Request, Any], Awaitable[Any]]
    input: type[BaseModel] | None = None
    output: Any = None


@dataclass(frozen=True)
class Subscription:
    """As a procedure. Its reader is told that it has ended when `call` ends, and comes back after everything else.

    What the reader has seen last is in the input's `lastEventId`.
    """

    access: Access
    call: Callable[[web.Request, Any], AsyncGenerator[Tracked | Position, None]]
    input: type[BaseModel] | None = None
    output: Any = None
    kind: Literal["subscription"] = "subscription"


Procedures = Mapping[str, Procedure | Subscription]
Authorize = Callable[[web.Request, Access], Awaitable[None]]


class Router:
    """Answers every request in tRPC's own words, whatever its method, path and fate.

    Subscriptions are cut when `leaving` is set, so that their readers come back to the next process.
    """

    def __init__(self, procedures: Procedures, authorize: Authorize, leaving: asyncio.Event | None = None) -> None:
        self._procedures = procedures
        self._authorize = authorize
        self._leaving = leaving or asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=204)
        try:
            calls = self._calls(request)
        except TrpcError as error:
            return _response(wire.failed(error))
        inputs = _Inputs(request, calls)
        procedure = self._procedures.get(calls.paths[0])
        if isinstance(procedure, Subscription) and not calls.batched:
            events = self._events(request, calls.paths[0], procedure, inputs)
            return await streams.stream(request, events, self._leaving, headers=_VARY, ping=wire.PING)
        answers = [self._answer(request, path, inputs, position) for position, path in enumerate(calls.paths)]
        return _response(wire.assembled(calls, await asyncio.gather(*answers)))

    def _calls(self, request: web.Request) -> wire.Calls:
        headers = request.headers
        wire.refuse_content_type(request.method, headers.get("Content-Type"))
        streamed = wire.wants_lines(headers.get("trpc-accept"), headers.get("Accept"))
        query = request.rel_url.raw_query_string
        wire.refuse_connection_params(query)
        calls = wire.parse_calls(_tail(request), query, streamed=streamed)
        named = (self._procedures.get(path) for path in calls.paths)
        wire.refuse_impossible(calls, (procedure.kind for procedure in named if procedure))
        return calls

    async def _answer(self, request: web.Request, path: str, inputs: "_Inputs", position: int) -> wire.Answer:
        try:
            procedure = self._find(request.method, path)
            if isinstance(procedure, Subscription):
                raise TrpcError(Code.BAD_REQUEST, "Cannot batch subscription calls")  # noqa: TRY301 - one way out
            await self._authorize(request, procedure.access)
            given = await inputs.valid(procedure.input, position)
            return wire.succeeded(await procedure.call(request, given))
        except Exception as error:  # noqa: BLE001 - a defect of one procedure must not reach the other calls
            return wire.failed(_shown(error, path), path)

    async def _events(
        self, request: web.Request, path: str, subscription: Subscription, inputs: "_Inputs"
    ) -> AsyncGenerator[ServerEvent, None]:
        """Errors are events too: readers give up at another status than 200, and cannot say why."""
        yield wire.CONNECTED
        try:
            _refuse_method(request.method, path, subscription.kind)
            await self._authorize(request, subscription.access)
            given = await inputs.valid(subscription.input, 0)
            async with aclosing(subscription.call(request, given)) as told:
                async for event in told:
                    yield wire.told(event.id, event.data) if isinstance(event, Tracked) else wire.position(event.id)
        except Exception as error:  # noqa: BLE001 - a defect leaves as a fixed text
            yield wire.told_error(_shown(error, path), path)
        else:
            yield wire.RETURN

    def _find(self, method: str, path: str) -> Procedure | Subscription:
        procedure = self._procedures.get(path)
        if procedure is None:
            raise TrpcError(Code.NOT_FOUND, f'No procedure found on path "{path}"')
        _refuse_method(method, path, procedure.kind)
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
        self._last_event_id = (
            None
            if calls.batched
            else wire.last_event_id(request.headers.get("Last-Event-ID"), request.rel_url.raw_query_string)
        )
        self._reading: asyncio.Task[Mapping[str, object]] | None = None

    async def valid(self, model: type[BaseModel] | None, position: int) -> BaseModel | None:
        """Raises TrpcError for an input that cannot be read, BadRequestError for one that the model refuses."""
        if model is None:
            return None
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        given = (await self._reading).get(str(position), {})
        if self._last_event_id is not None and isinstance(given, dict):
            given = {**given, "lastEventId": self._last_event_id}
        try:
            return model.model_validate(given)
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


def _refuse_method(method: str, path: str, kind: wire.Kind) -> None:
    allowed = wire.METHODS[kind]
    if method != allowed:
        message = f'Unsupported {method}-request to {kind} procedure at path "{path}"'
        raise TrpcError(Code.METHOD_NOT_SUPPORTED, message, headers={"Allow": allowed})


def _tail(request: web.Request) -> str:
    """The path below the base, undecoded. The route has matched the base in any spelling, so its parts are counted."""
    resource = request.match_info.route.resource
    base = resource.canonical.partition("{")[0] if resource else ""
    return "/".join(request.rel_url.raw_path.split("/")[base.rstrip("/").count("/") + 1 :])


def _shown(error: Exception, path: str) -> TrpcError:
    """What the caller may know. The text of a defect is for the log only."""
    match error:
        case TrpcError():
            return error
        case RefreshdError():
            return from_refreshd(error)
        case _:
            log.error("procedure failed", path=path, exc_info=error)
            return from_refreshd(InternalError())


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
