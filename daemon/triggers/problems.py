"""Problem documents (RFC 9457): the one shape in which every error of REST leaves."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from daemon.errors import InternalError, RefreshdError
from daemon.log import get_logger
from daemon.metrics.tally import note_refusal
from daemon.models import ProblemDocument

MEDIA_TYPE = "application/problem+json"

log = get_logger()


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error leaves as a problem document, aiohttp's own too; a defect tells nothing of itself."""
    try:
        return await handler(request)
    except RefreshdError as error:
        return problem(error)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - a redirect is no error
            raise
        return _http_problem(error)
    except Exception:  # the boundary: the log gets the traceback, the caller a fixed text
        log.exception("request met a defect", method=request.method, path=request.path)
        return problem(InternalError())


def problem(error: RefreshdError) -> web.Response:
    note_refusal(error.code)
    response = _response(document(error))
    response.headers.update(error.headers)
    return response


def document(error: RefreshdError) -> ProblemDocument:
    return ProblemDocument(
        type=f"urn:refreshd:error:{error.code}",
        title=error.code.replace("_", " "),
        status=error.status,
        detail=str(error),
        code=error.code,
        log=error.detail,
        update=getattr(error, "running", ""),
    )


def _http_problem(error: web.HTTPException) -> web.Response:
    reason = error.reason or "error"
    code = reason.lower().replace(" ", "_")
    response = _response(
        ProblemDocument(
            type="about:blank", title=reason, status=error.status, detail=f"cannot answer: {reason}", code=code
        )
    )
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _response(content: ProblemDocument) -> web.Response:
    text = content.model_dump_json(by_alias=False, exclude_defaults=True)
    return web.Response(text=text, status=content.status, content_type=MEDIA_TYPE)
