"""The pages to look at, each made of one look at the database or a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from starlette.responses import Response

from dbsync import schema
from dbsync.config.models import Config
from dbsync.dashboard.audit import Audit, Entry
from dbsync.dashboard.facts import Facts, Sender
from dbsync.dashboard.gather import FRESH, Watch
from dbsync.dashboard.said import command as said
from dbsync.dashboard.users import Deed, newest_deeds
from dbsync.dashboard.visit import Frame, Visit
from dbsync.errors import Refusal, UsageError
from dbsync.identity import registry
from dbsync.model.policy import Conflict
from dbsync.service import lists
from dbsync.service.case import advice
from dbsync.service.conflicts import Ledger
from dbsync.service.conflicts import Wanted as WantedConflicts
from dbsync.service.quarantine import Desk, Values, Wanted
from dbsync.statements import statement

SHOWN = 100
"""Lines of a list; what is older has a page of its own, or is counted."""
BEHIND = 20
"""Changes behind a case that are named."""
STATES = ("waiting", "released", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What there is to look at, for somebody who is logged in."""

    config: Config
    frame: Frame
    watch: Watch
    audit: Audit
    connections: Callable[[], AbstractContextManager[psycopg.Connection]]

    def overview(self, visit: Visit) -> Response:
        """Show how everything is."""
        return self._page(visit, "overview.html")

    def nodes(self, visit: Visit) -> Response:
        """Show the nodes that bring their changes here."""
        return self._page(visit, "nodes.html")

    def node(self, visit: Visit) -> Response:
        """Show one of them, and what it brought last."""
        facts = self.watch.facts()
        sender = _sender(facts, visit.path["name"])
        with self.connections() as connection:
            peer = registry.find(connection, sender.name)
            brought = self._brought(connection, [sender.name], None)
        return self._page(visit, "node.html", facts, sender=sender, peer=peer, brought=brought)

    def tables(self, visit: Visit) -> Response:
        """Show the tables, registered or not."""
        return self._page(visit, "tables.html")

    def batches(self, visit: Visit) -> Response:
        """Show what was sent and what was brought, newest first."""
        facts = self.watch.facts()
        node = visit.asked("node")
        names = [sender.name for sender in facts.senders if node in ("", sender.name)]
        with self.connections() as connection:
            sent = self._sent(connection, _whole(visit.asked("sent_before")))
            brought = self._brought(connection, names, _moment(visit.asked("before")))
        return self._page(visit, "batches.html", facts, sent=sent, brought=brought, node=node, shown=SHOWN)

    def quarantine(self, visit: Visit) -> Response:
        """Show cases, newest last."""
        state = visit.asked("state") or "waiting"
        wanted = Wanted(
            patterns=(visit.asked("table"),) if visit.asked("table") else (),
            node=visit.asked("node") or None,
            conflict=visit.asked("conflict") or None,
            state=state if state in STATES else None,
            limit=SHOWN,
        )
        with self.connections() as connection:
            listing = self._desk(connection).listing(wanted)
        return self._page(
            visit, "quarantine.html", listing=listing, wanted=wanted, state=state, conflicts=list(Conflict)
        )

    def case(self, visit: Visit) -> Response:
        """Show one case: why, what waits behind it, and what may be done."""
        number = must_be_whole(visit.path["number"])
        shows = self._shows_values(visit, f"see the values of row {number}", "quarantine", number)
        with self.connections() as connection:
            desk = self._desk(connection)
            case = desk.case(number)
            behind = desk.behind(case, BEHIND)
            values = desk.values([case]).get(number, Values()) if shows else None
        return self._page(
            visit, "case.html", case=case, behind=behind, values=values, tries=list(advice(case, here=True))
        )

    def conflicts(self, visit: Visit) -> Response:
        """Show the ledger, newest first."""
        wanted = WantedConflicts(
            patterns=(visit.asked("table"),) if visit.asked("table") else (),
            node=visit.asked("node") or None,
            conflict=visit.asked("conflict") or None,
            limit=SHOWN,
        )
        with self.connections() as connection:
            entries, total = self._ledger(connection).entries(wanted)
        return self._page(
            visit, "conflicts.html", entries=entries[::-1], total=total, wanted=wanted, conflicts=list(Conflict)
        )

    def conflict(self, visit: Visit) -> Response:
        """Show one conflict, with what each side wanted."""
        number = must_be_whole(visit.path["number"])
        shows = self._shows_values(visit, f"see both sides of conflict {number}", "conflicts", number)
        with self.connections() as connection:
            ledger = self._ledger(connection)
            entry = ledger.entry(number)
            images = ledger.images(entry) if shows else None
        return self._page(visit, "conflict.html", entry=entry, images=images)

    def lists(self, visit: Visit) -> Response:
        """Show boxes that were checked."""
        return self._page(visit, "lists.html", kept=lists.newest(self.config))

    def list(self, visit: Visit) -> Response:
        """Show one of them."""
        return self._page(visit, "list.html", kept=lists.one(self.config, visit.path["id"]))

    def log(self, visit: Visit) -> Response:
        """Show what was done here, and by whom."""
        before = _whole(visit.asked("before"))
        with self.connections() as connection:
            deeds = newest_deeds(connection, SHOWN, before)
        return self._page(visit, "log.html", deeds=deeds, shown=SHOWN)

    def about(self, visit: Visit) -> Response:
        """Show what this program is, and what it may do here."""
        with self.connections() as connection:
            rights = connection.execute(statement("web", "rights")).fetchone()
            server = connection.info.parameter_status("server_version")
            revision = schema.version(connection)
        assert rights is not None
        login, _, reads_values, acts_here = rights
        return self._page(
            visit,
            "about.html",
            login=login,
            reads_values=reads_values,
            may_act=acts_here,
            web=self.config.web,
            server=server,
            revision=revision,
        )

    def _page(self, visit: Visit, template: str, facts: Facts | None = None, **told: object) -> Response:
        done = self._done(visit)
        facts = facts or self.watch.facts(FRESH if done is None else 0.0)
        return self.frame.page(visit, template, facts, done=done, **told)

    def _done(self, visit: Visit) -> Deed | None:
        """Give what somebody has just done, where he comes from doing it."""
        number = _whole(visit.asked("done"))
        if number is None:
            return None
        with self.connections() as connection:
            deeds = newest_deeds(connection, 1, number + 1)
        return next((deed for deed in deeds if deed.id == number and deed.who == visit.who.name), None)

    def _shows_values(self, visit: Visit, what: str, group: str, number: int) -> bool:
        """Say whether values are asked for and may be shown; that they are is written down before."""
        if "values" not in visit.query or not visit.who.sees_values:
            return False
        command = said(group, "show", number, "--show-values", here=True)
        self.audit.note(Entry(who=visit.who.name, address=visit.address, what=what, command=command), "shown")
        return True

    def _desk(self, connection: psycopg.Connection) -> Desk:
        return Desk(connection=connection, where=self._where, config=self.config, here=True)

    def _ledger(self, connection: psycopg.Connection) -> Ledger:
        return Ledger(connection=connection, where=self._where, config=self.config, here=True)

    @property
    def _where(self) -> str:
        return "upstream" if self.config.above is None else "source"

    def _sent(self, connection: psycopg.Connection, before: int | None) -> Sequence[Mapping[str, Any]]:
        if self.config.above is None:
            return ()
        return _rows(connection, "sent", {"link": self.config.above.label, "before": before, "limit": SHOWN})

    def _brought(
        self, connection: psycopg.Connection, nodes: Sequence[str], before: datetime | None
    ) -> Sequence[Mapping[str, Any]]:
        return _rows(connection, "brought", {"nodes": list(nodes), "before": before, "limit": SHOWN})


def _rows(connection: psycopg.Connection, name: str, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("dashboard", name), asked).fetchall()


def _sender(facts: Facts, name: str) -> Sender:
    found = next((sender for sender in facts.senders if sender.name == name), None)
    if found is None:
        raise Refusal(f"nobody called {name} brings changes here", where="nodes", hint="dbsync nodes list")
    return found


def _whole(text: str) -> int | None:
    """Read a number; None for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None  # noqa: PLR2004 - what a bigint holds


def must_be_whole(text: str) -> int:
    """Read a number of a path. Raises UsageError for what is none."""
    found = _whole(text)
    if found is None:
        raise UsageError(f"{text!r} is no number", hint="dbsync quarantine list, dbsync conflicts list")
    return found


def _moment(text: str) -> datetime | None:
    """Read a time as one of our own links has it; None for what is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
