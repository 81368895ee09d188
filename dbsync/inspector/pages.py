"""The pages: what is pending, and the box against it. Rendered here; nothing is fetched from anywhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import uuid4

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dbsync.errors import DbsyncError
from dbsync.identity.lists import CheckedList
from dbsync.inspector.changes import Checked, Pending, Wanted, column, page
from dbsync.inspector.door import COOKIE, Door
from dbsync.inspector.reconcile import Reconciled, reconcile
from dbsync.pages.guards import GUARDS, asset, form
from dbsync.pages.rendered import environment

LARGEST = 1 << 20
"""Bytes of a form: some 50,000 identifiers."""
LONGEST_NAME = 100
_ASSETS = (
    ("dbsync.pages", "style.css", "text/css"),
    ("dbsync.inspector", "inspector.css", "text/css"),
    ("dbsync.inspector", "scan.js", "text/javascript"),
)


@dataclass(frozen=True, kw_only=True)
class Inspector:
    """The pages about one place's pending changes."""

    pending: Pending
    door: Door
    _templates: Environment = field(default_factory=lambda: environment("dbsync.inspector"))

    def app(self) -> Starlette:
        """Give the application."""
        return Starlette(
            routes=[
                Route("/", self.look),
                Route("/reconcile", self.reconcile, methods=["GET", "POST"]),
                *(Route(f"/{name}", asset(package, f"templates/{name}", kind)) for package, name, kind in _ASSETS),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._guarded)],
        )

    async def look(self, asked: Request) -> Response:
        """Show what is pending, a page of it."""
        query = asked.query_params
        wanted, wrong = _wanted(query)
        return await run_in_threadpool(self._look, wanted, wrong, dict(query))

    async def reconcile(self, asked: Request) -> Response:
        """Show the box against the data."""
        said = {name: value for name, value in asked.query_params.items() if name != "save"}  # a link signs nothing
        if asked.method == "POST":
            filled = await form(asked, LARGEST)
            if filled is None:
                return self._refused("that are more identifiers than one box holds", 413)
            said = dict(filled)
        return await run_in_threadpool(self._reconcile, said)

    def _look(self, wanted: Wanted, wrong: str, query: Mapping[str, str]) -> Response:
        heap = self.pending.heap()
        found = page(self.pending.changes(wanted))

        def turned(number: int) -> str:
            return "/?" + urlencode({**query, "page": str(number)})

        return self._page(
            "look.html", heap=heap, found=found, wanted=wanted, since=query.get("since", ""), wrong=wrong, turned=turned
        )

    def _reconcile(self, said: Mapping[str, str]) -> Response:
        heap = self.pending.heap()
        tables = sorted({pile.table for pile in heap.piles})
        nodes = sorted({pile.node for pile in heap.piles})
        table, node = said.get("table", ""), said.get("node", "")
        box = [line for line in (*said.get("box", "").splitlines(), said.get("scan", "")) if line.strip()]
        changes = self.pending.all_of(table, node if node in nodes else "") if table in tables else ()
        read = column(changes, said.get("column", ""))
        result = reconcile(box, read.identifiers) if read.name else None
        saved = self._saved(said, table, read.name, result)
        return self._page(
            "reconcile.html",
            saved=saved,
            checked_by=said.get("checked_by", ""),
            nameless="save" in said and saved is None,
            heap=heap,
            tables=tables,
            nodes=nodes,
            names=read.names,
            table=table,
            node=node,
            column=read.name,
            box=box,
            result=result,
            bring=read.identifiers,
        )

    def _saved(self, said: Mapping[str, str], table: str, column: str, result: Reconciled | None) -> CheckedList | None:
        """Save the list, where somebody asked for it and said who he is."""
        checked_by = said.get("checked_by", "").strip()[:LONGEST_NAME]
        if "save" not in said or not checked_by.isprintable() or not checked_by or result is None:
            return None
        checked = Checked(checked_by=checked_by, table=table, column=column, result=result)
        return self.pending.keep(checked, identity=uuid4(), at=datetime.now(UTC))

    def _page(self, template: str, **said: object) -> Response:
        html = self._templates.get_template(template).render(place=self.pending.place, **said)
        return HTMLResponse(html)

    def _refused(self, why: str, status: int = 403) -> Response:
        html = self._templates.get_template("refused.html").render(place=self.pending.place, why=why)
        return HTMLResponse(html, status_code=status)

    async def _guarded(self, asked: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Let only our own browser in, and tell every browser to keep and to run nothing."""
        answer = self._stopped(asked) or await self._answered(asked, go_on)
        answer.headers.update(GUARDS)
        return answer

    async def _answered(self, asked: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            return await go_on(asked)
        except DbsyncError as error:
            return self._refused(f"{error}{f'; {error.hint}' if error.hint else ''}", 503)

    def _stopped(self, asked: Request) -> Response | None:
        if not self.door.is_here(asked.headers.get("host", "")):
            return self._refused("this page answers to this computer only")
        if token := asked.query_params.get("token"):
            session = self.door.enter(token)
            if session is not None:
                entered = RedirectResponse("/", status_code=303)
                entered.set_cookie(COOKIE, session, httponly=True, samesite="strict")
                return entered
        if not self.door.admits(asked.cookies.get(COOKIE)):
            return self._refused("open the address that was printed where this page was started; it is good once")
        if asked.method == "POST" and not self.door.is_ours(asked.headers.get("origin")):
            return self._refused("the form was sent by another page")
        return None


def _wanted(query: Mapping[str, str]) -> tuple[Wanted, str]:
    """Read what somebody wants to see, and what of it cannot be read."""
    query = {name: value.replace("\x00", "") for name, value in query.items()}
    since, wrong = None, ""
    if query.get("since"):
        try:
            since = datetime.fromisoformat(query["since"])
            since = since if since.tzinfo else since.replace(tzinfo=UTC)
        except ValueError:
            wrong = f"{query['since']!r} is no time: write 2026-11-24 or 2026-11-24 14:30 (UTC)"
    number = query.get("page", "")
    return Wanted(
        node=query.get("node", ""),
        table=query.get("table", ""),
        since=since,
        text=query.get("text", "").strip(),
        page=int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0,  # noqa: PLR2004
    ), wrong
