"""The gate: which request is let through to what, what every browser is told, and whatever goes wrong as a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dbsync.config.listening import Listening
from dbsync.dashboard.audit import Audit, Entry
from dbsync.dashboard.door import Door, Visitor
from dbsync.dashboard.visit import Frame, Visit
from dbsync.errors import DbsyncError, place_of
from dbsync.pages.guards import GUARDS, form

COOKIE = "dbsync_web"
THREADS = 12
LOG_INS = 4
"""Passwords that are compared, or wait for it, at the same time; more wait outside."""
LARGEST = 1 << 16
"""Bytes of a form."""
HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})

log = structlog.get_logger()

Answer = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Visit], Response]
Stream = Callable[[bytes, Sequence[str], Callable[[], bool]], Response]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Lets requests through: those meant for us, those of our own forms, those of somebody who is logged in."""

    door: Door
    frame: Frame
    audit: Audit
    listening: Listening
    """Where the pages are served."""
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    _log_ins: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(LOG_INS))

    def open(self, answer: Answer) -> Answer:
        """Let anybody through who asks us and nobody else."""

        async def handle(asked: Request) -> Response:
            stopped = self._stopped(asked)
            said = await self._safely(asked, answer) if stopped is None else stopped
            for name, value in GUARDS.items():
                said.headers.setdefault(name, value)
            return said

        return handle

    def looking(self, page: Handler) -> Answer:
        """Let those through who are logged in."""

        async def look(asked: Request) -> Response:
            return await run_sync(self._look, asked, page, limiter=self._threads)

        return self.open(look)

    def acting(self, deed: Handler) -> Answer:
        """Let operators through, with a form that was made for this browser; nobody where nothing may be done here."""

        async def act(asked: Request) -> Response:
            said = await form(asked, LARGEST)
            if said is None:
                return self._refused(asked, "the form is too large", 413)
            return await run_sync(self._act, asked, said, deed, limiter=self._threads)

        return self.open(act)

    def listening_to(self, stream: Stream) -> Answer:
        """Let those listen who are logged in. To listen is no look: nobody may sit there."""

        async def listen(asked: Request) -> Response:
            token = asked.cookies.get(COOKIE)
            who = await run_sync(self._listener, token, limiter=self._threads)
            if who is None:
                return self._refused(asked, "nobody is logged in here")
            wanted = asked.query_params.get("of", "").split(",")
            return stream(who.browser, wanted, lambda: self._is_still_in(who.token))

        return self.open(listen)

    async def show_log_in(self, asked: Request) -> Response:
        """Ask for name and password."""
        return self._ask(asked, asked.query_params.get("next", "/"), wrong=False)

    async def log_in(self, asked: Request) -> Response:
        """Let somebody in who has a password."""
        said = await form(asked, LARGEST)
        if said is None:
            return self._refused(asked, "the form is too large", 413)
        name, password, goal = said.get("name", "").strip(), said.get("password", ""), said.get("next", "/")
        return await run_sync(self._log_in, asked, name, password, goal, limiter=self._log_ins)

    async def log_out(self, asked: Request) -> Response:
        """Forget a browser."""
        said = await form(asked, LARGEST) or {}
        return await run_sync(self._log_out, asked, said.get("token", ""), limiter=self._threads)

    async def no_such(self, asked: Request, error: Exception) -> Response:
        """Answer what is no page."""
        assert isinstance(error, HTTPException)
        said = self._refused(asked, "there is no such page", error.status_code)
        said.headers.update({**GUARDS, **(error.headers or {})})
        return said

    def _look(self, asked: Request, page: Handler) -> Response:
        who = self.door.visitor(asked.cookies.get(COOKIE))
        if who is None:
            goal = asked.url.path.removeprefix(root_of(asked)) + (f"?{asked.url.query}" if asked.url.query else "")
            return RedirectResponse(f"{root_of(asked)}/login?next={quote(goal)}", status_code=303)
        return page(self._visit(asked, who))

    def _act(self, asked: Request, said: Mapping[str, str], deed: Handler) -> Response:
        who = self.door.visitor(asked.cookies.get(COOKIE))
        if who is None:
            return self._refused(asked, "nobody is logged in here: log in and do it again")
        if not who.sent(said.get("token", "")):
            return self._refused(asked, "the form was not made for this browser: reload its page and do it again")
        if not self.frame.may_act(who):
            return self._refused(asked, "that is for operators, where [web] allow_actions = true")
        return deed(replace(self._visit(asked, who), form=said))

    def _listener(self, token: str | None) -> Visitor | None:
        return self.door.visitor(token, looks=False)

    def _is_still_in(self, token: str) -> bool:
        """Say whether a browser is logged in; while the database cannot be asked, whoever was is."""
        try:
            return self._listener(token) is not None
        except DbsyncError as error:
            if error.try_again:
                return True
            raise

    def _visit(self, asked: Request, who: Visitor) -> Visit:
        return Visit(
            who=who,
            root=root_of(asked),
            query={name: value.replace("\x00", "") for name, value in asked.query_params.items()},
            path={name: str(value).replace("\x00", "") for name, value in asked.path_params.items()},
            address=self._address(asked),
        )

    def _log_in(self, asked: Request, name: str, password: str, goal: str) -> Response:
        found = self.door.log_in(name, password)
        if found.known:  # a name that nobody has may be a password in the wrong field
            said = "in" if found.token else "refused"
            self.audit.note(Entry(who=name, address=self._address(asked), what="log in"), said)
        if found.token is None:
            log.warning("log_in_refused", user=name if found.known else None)
            return self._ask(asked, goal, wrong=True)
        answer = RedirectResponse(f"{root_of(asked)}{_inside(goal)}", status_code=303)
        answer.set_cookie(
            COOKIE,
            found.token,
            path=f"{root_of(asked)}/",
            httponly=True,
            samesite="strict",
            secure=self.listening.is_private,
        )
        return answer

    def _log_out(self, asked: Request, form_token: str) -> Response:
        who = self.door.visitor(asked.cookies.get(COOKIE), looks=False)
        if who is not None:
            if not who.sent(form_token):
                return self._refused(asked, "the form was not made for this browser")
            self.door.log_out(who.token)
            self.audit.note(Entry(who=who.name, address=self._address(asked), what="log out"), "out")
        answer = RedirectResponse(f"{root_of(asked)}/login", status_code=303)
        answer.delete_cookie(COOKIE, path=f"{root_of(asked)}/", httponly=True, samesite="strict")
        return answer

    def _ask(self, asked: Request, goal: str, *, wrong: bool) -> Response:
        status = 403 if wrong else 200
        return self.frame.alone(root_of(asked), "login.html", status=status, next=_inside(goal), wrong=wrong)

    def _stopped(self, asked: Request) -> Response | None:
        """Refuse what was sent to another name than this computer's, and forms that are not our own pages'."""
        host = asked.headers.get("host", "")
        if self._for_this_computer_only and _name(host) not in HERE:
            return self._refused(asked, "these pages answer to this computer only")
        if asked.method == "POST" and (not host or urlsplit(asked.headers.get("origin", "")).netloc != host):
            return self._refused(asked, "the form was sent by another page")
        return None

    @property
    def _for_this_computer_only(self) -> bool:
        """Say whether nobody else should come: then a page elsewhere that lets its own name point here must not."""
        return not self.listening.is_private

    async def _safely(self, asked: Request, answer: Answer) -> Response:
        """Turn whatever goes wrong into a page; a bug is logged by its place, for its words may hold a row's values."""
        try:
            return await answer(asked)
        except DbsyncError as error:
            log.warning("page_failed", path=asked.url.path, reason=str(error))
            return self.frame.failed(root_of(asked), error, _back(asked))
        except Exception as error:  # the last edge
            log.error("page_failed", path=asked.url.path, error=type(error).__name__, place=place_of(error))
            bug = DbsyncError("a bug in dbsync", why=type(error).__name__)
            return self.frame.failed(root_of(asked), bug, _back(asked))

    def _refused(self, asked: Request, why: str, status: int = 403) -> Response:
        return self.frame.alone(root_of(asked), "refused.html", status=status, why=why)

    def _address(self, asked: Request) -> str:
        """Say where somebody sits, as far as it can be told: behind a proxy as the proxy says."""
        told = (
            asked.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() if self.listening.behind_proxy else ""
        )
        return told or (asked.client.host if asked.client else "")


def root_of(asked: Request) -> str:
    """Give the path that stands before every page's own."""
    root: str = asked.scope.get("root_path", "")
    return root.rstrip("/")


def _back(asked: Request) -> str:
    """Give the page that a form was on, which a deed is a part of; else the first."""
    page = asked.url.path.rpartition("/")[0] if asked.method == "POST" else ""
    return page if page.removeprefix(root_of(asked)) else f"{root_of(asked)}/"


def _name(host: str) -> str:
    """Give the name in a ``Host``, without the port.

    >>> _name("localhost:8480"), _name("[::1]:8480"), _name("127.0.0.1")
    ('localhost', '[::1]', '127.0.0.1')
    """
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _inside(goal: str) -> str:
    """Give where somebody wanted to go, if that is a page of ours.

    >>> [
    ...     _inside(goal)
    ...     for goal in ("/quarantine/7", "//evil.example/", "https://evil.example", "/" + chr(92) + "evil.example")
    ... ]
    ['/quarantine/7', '/', '/', '/']
    """
    ours = goal.startswith("/") and not goal.startswith("//") and "\\" not in goal and goal.isprintable()
    return goal if ours else "/"
