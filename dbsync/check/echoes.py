"""Triggers upstream that write what is shipped there as well: it comes twice, once from the node and once from the trigger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dbsync.check.finding import warning
from dbsync.check.side import Session
from dbsync.check.wording import identifier, listed, table
from dbsync.keys.problems import in_config
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.statements import statement


def of_triggers(session: Session, shipped: Sequence[TableName]) -> Iterator[Finding]:
    """Find the application's triggers on shipped tables whose functions name another shipped table behind a verb that writes.

    What a function writes cannot be told for sure from its text, so this is for a person to look at.
    """
    asked = {"schemas": [name.schema for name in shipped], "names": [name.name for name in shipped]}
    for schema, name, triggers, tables in session.execute(statement("check", "echoes"), asked).fetchall():
        here, written = TableName(schema, name), [TableName(*one) for one in tables]
        what = (
            f"upstream its triggers {listed(triggers)} write into {listed(written)}, shipped as well: what they write for rows"
            " of a node is there twice"
        )
        disabled = ", ".join(f"DISABLE TRIGGER {identifier(trigger)}" for trigger in triggers)
        skipped = in_config(written[0], "skip = true   # where the upstream's own lines are wanted")
        yield warning("trigger_echoes", str(here), what, f"ALTER TABLE {table(here)} {disabled};   -- or {skipped}")
