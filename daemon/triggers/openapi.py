"""The OpenAPI 3.1 document: what the table of routes says, in words that other programs read."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, RootModel, TypeAdapter

from daemon import __version__
from daemon.auth.access import Access
from daemon.errors import (
    BadRequestError,
    ForbiddenError,
    InternalError,
    MisdirectedError,
    RefreshdError,
    ThrottledError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from daemon.models import ProblemDocument
from daemon.triggers import streams
from daemon.triggers.examples import examples_of
from daemon.triggers.problems import MEDIA_TYPE
from daemon.triggers.routes import API, Route

PATH = f"{API}/openapi.json"
_REF = "#/components/schemas/{model}"

Json = dict[str, Any]

_TEXT = {"type": "string"}
# one event or line of what is streamed
_STREAMS: Mapping[str, Json] = {
    streams.MEDIA_TYPE: {"type": "object", "properties": {"id": _TEXT, "event": _TEXT, "data": _TEXT}},
    "application/x-ndjson": {"type": "object"},
}
Mode = Literal["validation", "serialization"]


ABOUT = "Says which code a machine runs, and refreshes it. What answers GET answers HEAD."


def described(table: Sequence[Route], *, title: str = "refreshd", about: str = ABOUT) -> tuple[Route, ...]:
    """The table and the route that describes it, itself included. The document is made when it is first asked for."""
    made: list[str] = []

    async def show(_request: web.Request) -> web.Response:
        if not made:
            made.append(await asyncio.to_thread(lambda: json.dumps(document(whole, title=title, about=about))))
        return web.Response(text=made[0], content_type="application/json")

    own = Route(path=PATH, access=Access.READ, handler=show, summary="This document.", answers={200: OpenApi})
    whole = (*table, own)
    return whole


def document(table: Iterable[Route], *, title: str = "refreshd", about: str = ABOUT) -> Json:
    schemas = _Schemas()
    paths: defaultdict[str, Json] = defaultdict(dict)
    for route in table:
        paths[route.path][route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": __version__,
            "description": about,
        },
        "paths": paths,
        "components": {
            "schemas": schemas.collected,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


class OpenApi(RootModel[Json]):
    """A document of OpenAPI 3.1."""


class _Schemas:
    """Gives each shape its schema, and keeps the parts that shapes share."""

    def __init__(self) -> None:
        self.collected: Json = {}

    def of(self, shape: Any, mode: Mode) -> Json:  # noqa: ANN401 - whatever pydantic takes for a type
        schema = TypeAdapter[Any](shape).json_schema(by_alias=False, ref_template=_REF, mode=mode)
        self.collected |= {name: _open(part, mode) for name, part in schema.pop("$defs", {}).items()}
        if not isinstance(shape, type) or not issubclass(shape, BaseModel):
            return schema
        self.collected[shape.__name__] = _open(schema, mode)
        return {"$ref": _REF.format(model=shape.__name__)}


def _open(schema: Json, mode: Mode) -> Json:
    """What is answered may have more fields in a newer daemon, and readers must not stumble over them."""
    return {key: value for key, value in schema.items() if mode == "validation" or key != "additionalProperties"}


def _operation(route: Route, schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": "_".join([route.method.lower(), *re.findall(r"\w+", route.path.removeprefix(API))]),
        "summary": route.summary,
        "parameters": [*_parameters(route)],
        "responses": {**_good(route, schemas), **_bad(route, schemas)},
        "security": [] if route.access is Access.PUBLIC else [{"bearer": []}],
    }
    if route.body is not None:
        content = _content(route.body, schemas.of(route.body, "validation"))
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _parameters(route: Route) -> Iterator[Json]:
    text = {"type": "string", "minLength": 1}
    for name, description in route.parameters.items():
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": text}
    for name, description in route.headers.items():
        yield {"name": name, "in": "header", "description": description, "schema": _TEXT}
    properties = TypeAdapter[Any](route.query).json_schema()["properties"] if route.query else {}
    for name, schema in properties.items():
        yield {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": _given(schema)}


def _given(schema: Json) -> Json:
    """A parameter that is left out is left out: there is no null in a query."""
    some = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
    if len(some) == 1:
        del schema["default"]
    return {**schema, **(some[0] if len(some) == 1 else {})}


def _good(route: Route, schemas: _Schemas) -> Json:
    responses: Json = {}
    for status, shape in route.answers.items():
        response: Json = {"description": HTTPStatus(status).phrase}
        if isinstance(shape, str):
            response["content"] = {shape: {"schema": _STREAMS.get(shape, _TEXT)}}
        elif shape is not None:
            schema = schemas.of(shape, "serialization")
            response["content"] = {"application/json": _content(shape, schema)}
        responses[str(status)] = response
    return responses


def _content(shape: object, schema: Json) -> Json:
    found = examples_of(shape)
    return {"schema": schema} | (
        {"examples": {name: {"value": value} for name, value in found.items()}} if found else {}
    )


def _bad(route: Route, schemas: _Schemas) -> Json:
    problem = schemas.of(ProblemDocument, "serialization")
    by_status: defaultdict[int, list[type[RefreshdError]]] = defaultdict(list)
    for error in dict.fromkeys((*route.errors, *_common(route))):
        by_status[error.status].append(error)
    responses: Json = {
        str(status): _problem(", ".join(error.code for error in errors), problem, errors)
        for status, errors in sorted(by_status.items())
        if status not in route.answers
    }
    return {**responses, "default": _problem("Any other error.", problem, ())}


def _common(route: Route) -> Iterator[type[RefreshdError]]:
    if route.access is not Access.PUBLIC:
        yield from (UnauthorizedError, ForbiddenError, MisdirectedError, ThrottledError)
    if route.query is not None:
        yield BadRequestError
    if route.body is not None:
        yield from (BadRequestError, UnsupportedMediaTypeError)
    yield InternalError


def _problem(description: str, schema: Json, errors: Iterable[type[RefreshdError]]) -> Json:
    content: Json = {"schema": schema}
    if examples := {error.code: {"value": _example(error)} for error in errors}:
        content["examples"] = examples
    return {"description": description, "content": {MEDIA_TYPE: content}}


def _example(error: type[RefreshdError]) -> Mapping[str, object]:
    return {
        "type": f"urn:refreshd:error:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "detail": error.template.format_map(_Blanks()),
        "code": error.code,
    }


class _Blanks(dict[str, object]):
    def __missing__(self, _name: str) -> "_Blank":
        return _Blank()


class _Blank:
    def __format__(self, _spec: str) -> str:
        return "…"

    def __repr__(self) -> str:
        return "…"
