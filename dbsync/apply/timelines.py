"""To which life a batch belongs that comes without its node being there: on a stick, with a driver, by a broker.

A laptop that was restored may have given numbers again which it had given before; what it had sent under them then is on a stick or
with a driver, and nowhere else. Such a batch, and what follows it, is of another timeline of the life that it names: here that is a
life of its own. As everywhere, a transaction that came in any other life is dropped.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid5

import psycopg

from dbsync.model.batch import Header
from dbsync.statements import statement


def placed(connection: psycopg.Connection, header: Header) -> Header:
    """Give a batch's header as it is known here: of the life that it names, or of the timeline that parted from that."""
    asked = {
        "node": header.node,
        "incarnation": header.incarnation,
        "link": header.link,
        "number": header.number,
        "previous": header.previous_hash,
        "changes": header.changes,
        "first_captured": header.first_captured,
        "last_captured": header.last_captured,
    }
    row = connection.execute(statement("receipts", "timeline"), asked).fetchone()
    assert row is not None
    is_another, follows, beside = row
    if beside is None and is_another and follows:
        beside = uuid5(header.incarnation, f"{header.number} {header.last_seq} {header.last_captured.isoformat()}")
        connection.execute(statement("receipts", "part"), {**asked, "beside": beside})
    return header if beside is None else replace(header, incarnation=beside)
