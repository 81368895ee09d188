"""The pages as an application: their parts, their connections, their paths."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from dbsync import schema
from dbsync.config.listening import Listening
from dbsync.config.models import Config
from dbsync.dashboard import assets
from dbsync.dashboard.acts import Acts
from dbsync.dashboard.audit import Audit
from dbsync.dashboard.door import Door
from dbsync.dashboard.gate import Gate
from dbsync.dashboard.gather import Watch
from dbsync.dashboard.live import Live
from dbsync.dashboard.pages import Pages
from dbsync.dashboard.visit import Frame
from dbsync.errors import PrivilegeError
from dbsync.service.lending import Lending
from dbsync.statements import statement

CONNECTIONS = 6


@dataclass(kw_only=True)
class Dashboard:
    """The pages about the database that [node] names; ``listening`` is where they are served, alone or beside what nodes reach."""

    config: Config
    listening: Listening
    root: str = ""
    """The path before every page's own."""

    def __post_init__(self) -> None:
        self._where = "upstream" if self.config.above is None else "source"
        self._lending = Lending(
            self.config.node.source,
            where=self._where,
            application="dbsync web",
            most=CONNECTIONS,
            silence=self.config.service.silence,
        )
        connections, frame = self._lending.one, Frame(config=self.config, assets=assets.digest())
        audit = Audit(connections=connections)
        self._gate = Gate(
            door=Door(connections=connections, config=self.config.web),
            frame=frame,
            audit=audit,
            listening=self.listening,
        )
        self._watch = Watch(config=self.config, connections=connections)
        self._frame = frame
        self.live = Live(look=self._parts)
        """The pages that are live now."""
        self._pages = Pages(config=self.config, frame=frame, watch=self._watch, audit=audit, connections=connections)
        self._acts = Acts(config=self.config, audit=audit, connections=connections)

    @contextmanager
    def opened(self) -> Iterator[Starlette]:
        """Connect to the database and give the application.

        Raises PrivilegeError where this login may not serve it, SchemaVersionError without our schema.
        """
        self._lending.open()
        try:
            with self._lending.one() as connection:
                schema.require(connection, self._where)
                row = connection.execute(statement("web", "rights")).fetchone()
            assert row is not None
            login, serves, *_ = row
            if not serves:
                raise PrivilegeError(
                    "this login may not serve the pages",
                    where=self._where,
                    why=f"{login} is no member of dbsync_web",
                    hint=f'GRANT dbsync_web TO "{login}";',
                )
            yield self._app()
        finally:
            self._lending.close()

    def _app(self) -> Starlette:
        return Starlette(routes=list(self._routes()), exception_handlers={HTTPException: self._gate.no_such})

    def _parts(self, wanted: Collection[str]) -> Mapping[str, str]:
        """Render parts of pages for all that show them; those that say nothing here are left out."""
        facts = self._watch.facts()
        empty = {"link"} if facts.own is None else set()
        return {name: self._frame.part(name, self.root, facts) for name in wanted if name not in empty}

    def _routes(self) -> Iterator[BaseRoute]:
        gate, pages, acts = self._gate, self._pages, self._acts
        yield Route("/login", gate.open(gate.show_log_in), methods=["GET"])
        yield Route("/login", gate.open(gate.log_in), methods=["POST"])
        yield Route("/logout", gate.open(gate.log_out), methods=["POST"])
        yield Route("/live", gate.listening_to(self.live.listen), methods=["GET"])
        for path, page in {
            "/": pages.overview,
            "/nodes": pages.nodes,
            "/nodes/{name}": pages.node,
            "/tables": pages.tables,
            "/batches": pages.batches,
            "/quarantine": pages.quarantine,
            "/quarantine/{number}": pages.case,
            "/conflicts": pages.conflicts,
            "/conflicts/{number}": pages.conflict,
            "/lists": pages.lists,
            "/lists/{id}": pages.list,
            "/log": pages.log,
            "/about": pages.about,
        }.items():
            yield Route(path, gate.looking(page), methods=["GET"])
        for path, deed in {
            "/quarantine/retry": acts.retry_all,
            "/quarantine/{number}/retry": acts.retry,
            "/quarantine/{number}/skip": acts.skip,
            "/conflicts/{number}/undo": acts.undo,
            "/nodes/{name}/revoke": acts.revoke,
            "/pause": acts.pause,
            "/resume": acts.resume,
        }.items():
            yield Route(path, gate.acting(deed), methods=["POST"])
        yield from assets.routes(gate)
