"""Who writes without firing triggers: sessions for which somebody has set that, and subscriptions."""

from __future__ import annotations

import psycopg

from dbsync.statements import statement


def skipping(connection: psycopg.Connection) -> list[str]:
    """Give what ends it, a statement for each; none where all sessions begin as they should.

    A session may set it for itself all the same, where it has the right: nothing shows that.
    """
    return [row[0] for row in connection.execute(statement("capture", "skipping")).fetchall()]
