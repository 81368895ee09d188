"""The whole way of a change by hand: capture in a source, the change log, apply in an upstream."""

from __future__ import annotations

import zlib
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, LiteralString, Self

import psycopg

from dbsync import schema
from dbsync.apply.applier import Applier
from dbsync.batch.codec import decode, encode
from dbsync.capture import install as capture
from dbsync.capture import rights
from dbsync.catalog.inspect import inspect
from dbsync.changelog.reader import Reader
from dbsync.config.load import parse
from dbsync.keys.register import register
from dbsync.model.batch import Batch, Receipt
from dbsync.model.findings import Finding, Severity
from dbsync.model.registration import Registry
from dbsync.postgres import connect
from dbsync.service import node as nodes
from dbsync.verify.comparison import Options
from dbsync.verify.direct import verify
from dbsync.verify.report import Report
from tests.support.databases import Database, Databases, Pair

LINK = "community"
ENDS = ("source", "upstream")
OPTIONS = Options(limit=100, show_values=True)

SHIFT_SEQUENCES = """
DO $$
DECLARE
    found regclass;
BEGIN
    FOR found IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace <> 'dbsync'::regnamespace LOOP
        PERFORM setval(found, 7001);
    END LOOP;
END
$$
"""
"""So that no id means the same on both sides."""


class Pipeline:
    """One source with its triggers, one upstream, and the link between them; close it after use.

    ``tables`` is what stands in dbsync.toml behind ``[node]`` and ``[upstream]``. Both databases hold their tables.
    """

    def __init__(self, source: Database, upstream: Database, tables: str = "", *, node: str = "field-01") -> None:
        self.source = source
        self.upstream = upstream
        self._name = node
        self._stack = ExitStack()
        schema.upgrade(source.dsn, "source")
        schema.upgrade(upstream.dsn, "upstream")
        self._admin = self._open(source, "source")
        self._far = self._open(upstream, "upstream")
        self.registry, self.findings = self._register(tables)
        nodes.register(self._admin, node)
        self.node = nodes.read(self._admin)
        self._install()
        self.restart()

    def restart(self) -> None:
        """Go on as a new process would: with a reader and an applier that know nothing."""
        self.applies = self._open(self.upstream, "upstream")
        self.applier = Applier(self.applies, self.policies)
        connection = self._open(self.source, "source")
        self.reader = self.reads(connection)

    def reads(self, connection: psycopg.Connection, link: str = LINK) -> Reader:
        """Give a reader of a link on another connection to the source."""
        node = self.node
        return Reader(connection, node=node.name, lineage=node.lineage, incarnation=node.incarnation, link=link)

    def reinstall(self, tables: str) -> None:
        """Install again, from another configuration or after the tables have changed."""
        self.registry, self.findings = self._register(tables)
        self._install()

    def ship(self, max_changes: int = 20_000) -> int:
        """Ship until nothing is pending; give the number of batches."""
        batches = 0
        while self.ship_one(max_changes):
            batches += 1
        return batches

    def ship_one(self, max_changes: int) -> int:
        """Ship one batch; give the number of its changes, 0 when nothing is pending."""
        cut = self.reader.next_cut(max_changes)
        if cut is None:
            return 0
        with self.reader.sending(cut) as batch:
            receipt = self.apply(batch)
        self.reader.acknowledge(cut, receipt)
        return cut.changes

    def apply(self, batch: Batch) -> Receipt:
        """Apply one batch, brought there as bytes."""
        return self.applier.apply(decode(encode(batch)))

    def compare(self, *tables: str) -> Report:
        """Compare both databases by natural key."""
        chosen = [name for name in self.registry.tables if str(name) in tables] if tables else None
        return verify(self.registry, self._admin, self._far, chosen, options=OPTIONS)

    def agree(self, max_changes: int = 20_000) -> None:
        """Ship what is pending and hold that both databases say the same."""
        self.ship(max_changes)
        report = self.compare()
        assert report.agrees(), (report.differences, [table for table in report.tables if not table.agrees()])

    def changes(self) -> list[tuple[Any, ...]]:
        """Give what is in the change log: table, operation, whether it renames."""
        return self.source.sql("""
            SELECT y.relation, c.op::text, c.renames FROM dbsync.change c
            CROSS JOIN LATERAL (SELECT relation FROM dbsync.layout WHERE id = c.layout LIMIT 1) y ORDER BY c.seq
        """)

    def forget(self) -> None:
        """Empty the change log."""
        self.source.sql("DELETE FROM dbsync.change")

    def _register(self, tables: str) -> tuple[Registry, tuple[Finding, ...]]:
        text = f"""
            [node]
            name = "{self._name}"
            source = "service=source"
            [upstream]
            url = "service=upstream"
            {tables}
        """
        config = parse(text, path="dbsync.toml", environ={})
        self.catalog = inspect(self._admin)
        registry, findings = register(config, self.catalog)
        self.policies = config.policies
        assert not [finding for finding in findings if finding.severity is Severity.ERROR], findings
        return registry, findings

    def _install(self) -> None:
        for grant in rights.grants(self.registry):
            self._admin.execute(grant)
        capture.register_lookups(self._admin, self.registry, self.catalog)
        wanted = capture.captures(self._admin, self.registry, self.catalog)
        states = capture.states(self._admin, wanted)
        for item in wanted:
            if states[item.table.name] is not capture.TriggerState.INSTALLED:
                capture.install(self._admin, item, lock_timeout=2)

    def _open(self, database: Database, name: str) -> psycopg.Connection:
        return self._stack.enter_context(closing(connect(database.dsn, name=name)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def piped(
    databases: Databases,
    pair: Pair,
    script: LiteralString,
    tables: str = "",
    *,
    seed: LiteralString = "",
    node: str = "field-01",
) -> Pipeline:
    """Give a pipeline on databases that hold a schema, all triggers, and rows that are upstream already.

    That is done once; each test has clones.
    """
    templates, servers = databases.servers.templates, databases.servers
    parts = "".join([script, tables, seed, node, *map(str, pair.versions)])
    names = [f"piped_{zlib.crc32(parts.encode()):08x}_{end}" for end in ENDS]
    if (pair.versions[0], names[0]) not in templates:
        made: list[Database] = []
        for version, name, end in zip(pair.versions, names, ENDS, strict=True):
            template = _template(databases, version, script, shift=end == "upstream")
            servers.cluster(version).create_database(name, template)
            made.append(Database(cluster=servers.cluster(version), name=name))
        with Pipeline(made[0], made[1], tables, node=node) as pipeline:
            if seed:
                pipeline.source.script(seed)
                pipeline.agree()
        templates |= {(version, name): name for version, name in zip(pair.versions, names, strict=True)}
    source, upstream = (
        databases.create(version, name=end, template=name)
        for version, name, end in zip(pair.versions, names, ENDS, strict=True)
    )
    return Pipeline(source, upstream, tables, node=node)


def prepared(databases: Databases, pair: Pair, script: LiteralString) -> Pair:
    """Give a source and an upstream that hold a schema and dbsync's own; made once, cloned for each test.

    The upstream's sequences begin elsewhere.
    """
    source, upstream = pair.versions
    return Pair(
        source=databases.create(source, name="source", template=_template(databases, source, script, shift=False)),
        upstream=databases.create(
            upstream, name="upstream", template=_template(databases, upstream, script, shift=True)
        ),
    )


def _template(databases: Databases, version: int, script: LiteralString, *, shift: bool) -> str:
    name = f"pipeline_{zlib.crc32(script.encode()):08x}_{'upstream' if shift else 'source'}"
    templates = databases.servers.templates
    if (version, name) not in templates:
        dsn = databases.servers.cluster(version).create_database(name)
        schema.upgrade(dsn, "source")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(script)
            if shift:
                connection.execute(SHIFT_SEQUENCES)
        templates[version, name] = name
    return name
