"""What nodes tell of themselves, as it is kept at the upstream: the newest of each."""

from __future__ import annotations

from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb

from dbsync.model.greeting import Carried, Greeting
from dbsync.statements import statement


def keep(connection: psycopg.Connection, node: str, greeting: Greeting) -> None:
    """Keep what a node says now in place of what it said before."""
    connection.execute(
        statement("greetings", "keep"),
        {
            "node": node,
            "program": greeting.program,
            "schema": greeting.schema,
            "clock_off": greeting.clock_off,
            "pending": greeting.pending,
            "exact": greeting.exact,
            "oldest": greeting.oldest,
            "carried": Jsonb([[one.relay, one.changes, one.since.isoformat()] for one in greeting.carried]),
        },
    )


def kept(connection: psycopg.Connection) -> dict[str, tuple[datetime, Greeting]]:
    """Give what each node said last, and when."""
    return {
        node: (
            at,
            Greeting(
                program=program,
                schema=schema,
                clock_off=clock_off,
                pending=pending,
                exact=exact,
                oldest=oldest,
                carried=tuple(
                    Carried(relay=relay, changes=changes, since=datetime.fromisoformat(since))
                    for relay, changes, since in carried
                ),
            ),
        )
        for node, at, program, schema, clock_off, pending, exact, oldest, carried in connection.execute(
            statement("greetings", "all")
        ).fetchall()
    }
