"""Another database that is called as this node is."""

from __future__ import annotations

from collections.abc import Iterator

from dbsync.apply.receipts import newest
from dbsync.check.finding import error, warning
from dbsync.check.log import Known
from dbsync.check.side import Session
from dbsync.check.wording import filled
from dbsync.config.models import Config
from dbsync.model.findings import Finding
from dbsync.statements import statement


def of_namesakes(upstream: Session, known: Known, config: Config) -> Iterator[Finding]:
    """Find another database that has brought batches under this node's name, and may do so still."""
    for link, receipt in newest(upstream, known.name):
        asked = {"node": known.name, "incarnation": receipt.incarnation, "link": link, "number": receipt.number}
        row = upstream.execute(statement("health", "lineage_of"), asked).fetchone()
        if row is None or row[0] in (None, known.lineage):
            continue  # receipts of the first schema, before lineages, are anybody's
        since = (known.created_at - receipt.applied_at).total_seconds()
        if since > config.check.silent_seconds:
            continue  # a laptop that was set up anew under its old name
        say = error if since < 0 else warning
        what = (
            f"another database brings its changes as {known.name} too, last at {receipt.applied_at:%Y-%m-%d %H:%M} UTC"
        )
        yield say("node_name_taken", "upstream", what, another_name(known.name))


def another_name(name: str) -> str:
    """Say how a node gets another name; what it brought under the old one stays there."""
    rename = "UPDATE dbsync.node SET name = 'ANOTHER' WHERE name = {};"
    return filled(f'{rename}   -- on the one to be called otherwise, and name = "ANOTHER" in its dbsync.toml', name)
