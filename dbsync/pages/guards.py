"""What every browser is told with a page, and what is taken of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

GUARDS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # without one a browser does not say whose form it sends
    "X-Content-Type-Options": "nosniff",
}
"""Keep nothing, fetch nothing from elsewhere, run nothing that is not a file of ours, and be nobody's frame."""


async def form(asked: Request, largest: int) -> Mapping[str, str] | None:
    """Read a form, the first value of each name; None where it is larger than that."""
    body = bytearray()
    async for chunk in asked.stream():
        body += chunk
        if len(body) > largest:
            return None
    read = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0].replace("\x00", "") for name, values in read.items()}


FOR_GOOD = "max-age=31536000, immutable"
"""What a browser is told of a file whose address changes with it."""


def asset(package: str, path: str, kind: str, *, keep: str | None = None) -> Callable[[Request], Awaitable[Response]]:
    """Give a file of a package, read once; ``keep`` says how long a browser may."""
    content = files(package).joinpath(*path.split("/")).read_bytes()

    async def give(_asked: Request) -> Response:
        return Response(content, media_type=kind, headers={} if keep is None else {"Cache-Control": keep})

    return give
