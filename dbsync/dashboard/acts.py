"""What operators may do on the pages: each is a command's own deed, written down with that command before it is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from starlette.responses import RedirectResponse, Response

from dbsync.apply.load import Released
from dbsync.config.models import Config
from dbsync.dashboard.audit import Audit, Entry
from dbsync.dashboard.pages import must_be_whole
from dbsync.dashboard.said import command
from dbsync.dashboard.visit import Visit
from dbsync.errors import PrivilegeError, UsageError
from dbsync.service import node, nodes
from dbsync.service.case import said_busy, said_released, said_still
from dbsync.service.conflicts import ledger
from dbsync.service.ledger import said_undone
from dbsync.service.quarantine import Desk, desk
from dbsync.statements import statement

LONGEST = 500
"""Characters of a reason."""

Connections = Callable[[], AbstractContextManager[psycopg.Connection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What may be done, by somebody whom the gate let through as an operator."""

    config: Config
    audit: Audit
    connections: Connections

    def retry(self, visit: Visit) -> Response:
        """Try a case again, with all that waits behind it."""
        number = must_be_whole(visit.path["number"])
        source_wins = bool(visit.form.get("source_wins"))
        options = ["--source-wins"] if source_wins else []
        same = command("quarantine", "retry", number, *options, here=True)

        def deed() -> str:
            with desk(self.config, here=True) as found:
                found.case(number)
                return _tried(found, found.retry([number], source_wins=source_wins), number)

        return self._do(visit, f"/quarantine/{number}", f"try row {number} again", same, deed)

    def retry_all(self, visit: Visit) -> Response:
        """Try all cases again, or those of one node."""
        of = visit.form.get("node", "").strip() or None

        def deed() -> str:
            with desk(self.config, here=True) as found:
                return _tried(found, found.retry(None, node=of))

        what = f"try all rows of {of} again" if of else "try all rows again"
        return self._do(visit, "/quarantine", what, command("quarantine", "retry", "--all", here=True, node=of), deed)

    def skip(self, visit: Visit) -> Response:
        """Leave a change out for good."""
        number, reason = must_be_whole(visit.path["number"]), _reason(visit)
        same = command("quarantine", "skip", number, here=True, reason=reason, by=visit.who.name)

        def deed() -> str:
            with desk(self.config, here=True) as found:
                done = found.skip(number, reason, by=visit.who.name)
                behind = f"; of what waited behind it {_tried(found, done)}" if done != Released() else ""
                return f"row {number} is skipped, and stays in the ledger{behind}"

        return self._do(visit, f"/quarantine/{number}", f"leave row {number} out", same, deed)

    def undo(self, visit: Visit) -> Response:
        """Give a row back what the loser of a conflict wanted."""
        number = must_be_whole(visit.path["number"])
        force, dry_run = bool(visit.form.get("force")), bool(visit.form.get("dry_run"))
        options = [option for option, chosen in (("--force", force), ("--dry-run", dry_run)) if chosen]
        same = command("conflicts", "undo", number, *options, here=True, by=visit.who.name)

        def deed() -> str:
            with ledger(self.config, here=True) as found:
                return said_undone(found.undo(number, by=visit.who.name, force=force, dry_run=dry_run), dry_run=dry_run)

        what = f"see what undoing conflict {number} would do" if dry_run else f"undo conflict {number}"
        return self._do(visit, f"/conflicts/{number}", what, same, deed)

    def pause(self, visit: Visit) -> Response:
        """Stop shipping."""

        def deed() -> str:
            with self.connections() as connection:
                since = node.switch_shipping(connection, on=False)
            return f"shipping is paused since {since:%Y-%m-%d %H:%M:%S}; changes are captured and wait" if since else ""

        return self._do(visit, "/", "pause shipping", command("pause"), deed)

    def resume(self, visit: Visit) -> Response:
        """Ship again."""

        def deed() -> str:
            with self.connections() as connection:
                node.switch_shipping(connection, on=True)
            return "shipping goes on"

        return self._do(visit, "/", "resume shipping", command("resume"), deed)

    def revoke(self, visit: Visit) -> Response:
        """Take nothing more of a node."""
        name, reason = visit.path["name"], _reason(visit)

        def deed() -> str:
            nodes.revoke(self.config, name, reason)
            return f"{name} is revoked: nothing more of it is taken"

        same = command("nodes", "revoke", name, reason=reason)
        return self._do(visit, f"/nodes/{quote(name)}", f"revoke {name}", same, deed)

    def _do(self, visit: Visit, back: str, what: str, same: str, deed: Callable[[], str]) -> Response:
        """Do it, written down; then show the page again with what came of it."""
        self._expect_rights()
        entry = Entry(who=visit.who.name, address=visit.address, what=what, command=same)
        number = self.audit.done(entry, deed)
        return RedirectResponse(f"{visit.root}{back}?done={number}", status_code=303)

    def _expect_rights(self) -> None:
        """Raise PrivilegeError where the login of the pages may only look."""
        with self.connections() as connection:
            row = connection.execute(statement("web", "rights")).fetchone()
        if row is None or not row[3]:
            login = row[0] if row else ""
            raise PrivilegeError(
                "the login of these pages may look, and do nothing",
                where="[node] source",
                why=f"{login} is no member of dbsync_replicator",
                hint=f'GRANT dbsync_replicator TO "{login}";',
            )


def _reason(visit: Visit) -> str:
    reason = visit.form.get("reason", "").strip()[:LONGEST]
    if not reason:
        raise UsageError("a reason has to be given", hint="it stays for good, and is read by others")
    return reason


def _tried(found: Desk, done: Released, number: int | None = None) -> str:
    """Say what became of what was tried, and why a case waits still."""
    if done.busy:
        return f"not tried: a batch of {said_busy(done)} is being applied at this moment; try again in a moment"
    still = found.case(number) if number is not None else None
    why = f"; {said_still(still)}" if still is not None and still.state == "waiting" else ""
    return f"{said_released(done)}{why}"
