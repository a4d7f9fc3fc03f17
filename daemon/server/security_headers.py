"""What browsers are told about every answer, and about pages in particular: the daemon's and the console's."""

from aiohttp import web

# our own files only, nothing inline; nobody may frame a page or aim its forms elsewhere
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_EVERY_ANSWER = {"X-Content-Type-Options": "nosniff", "Server": "refreshd"}
_PAGES = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


async def secure(_request: web.Request, response: web.StreamResponse) -> None:
    """For `Application.on_response_prepare`, so that streams have the headers too."""
    response.headers.update(_EVERY_ANSWER)
    if response.content_type == "text/html":
        for name, value in _PAGES.items():
            response.headers.setdefault(name, value)
