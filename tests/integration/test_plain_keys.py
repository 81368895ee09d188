"""Foreign keys on values that travel as they are (a code, a UUID): nothing is translated, and their rows come first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dbsync.apply.attempt import Attempt
from dbsync.apply.span import Span
from dbsync.capture.backfill import backfill
from dbsync.model.names import TableName
from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE village (code text PRIMARY KEY, n int);
CREATE TABLE household (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, village_code text REFERENCES village, number int NOT NULL UNIQUE);
"""
TABLES = '[[tables]]\nname = "village"\nkey = ["code"]\n[[tables]]\nname = "household"\n'
VILLAGES = "INSERT INTO village SELECT 'V' || i FROM generate_series(1, 50) i"
HOUSEHOLDS = "INSERT INTO household (village_code, number) SELECT 'V' || i, i FROM generate_series(1, 50) i"


@pytest.fixture
def villages(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give a table that is written first by its name, and refers to one that must be there before."""
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """Give what has been tried to be written at once."""
    tried: list[Span] = []
    write = Attempt._write

    def noted(self: Attempt, span: Span, *rest: Any, **more: Any) -> None:
        tried.append(span)
        write(self, span, *rest, **more)

    monkeypatch.setattr(Attempt, "_write", noted)
    return tried


def test_the_rows_that_are_referred_to_are_written_first_and_deleted_last(
    villages: Pipeline, spans: list[Span]
) -> None:
    with villages.source.connect() as session, session.transaction():
        session.execute(VILLAGES)
        session.execute(HOUSEHOLDS)
    villages.agree()
    with villages.source.connect() as session, session.transaction():
        session.execute("DELETE FROM household WHERE number < 10")
        session.execute("DELETE FROM village WHERE code NOT IN (SELECT village_code FROM household)")
    villages.agree()
    assert spans == [Span(), Span()]


def test_rows_that_were_there_before_the_triggers_come_in_that_order_too(pair: Pair, databases: Databases) -> None:
    both = prepared(databases, pair, SCHEMA)
    both.source.sql(VILLAGES)
    both.source.sql(HOUSEHOLDS)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline, both.source.connect() as session:
        wanted = [TableName("public", "household"), TableName("public", "village")]
        backfill(session, pipeline.registry, pipeline.catalog, wanted, lambda *_: None)
        pipeline.ship_one(1)
        assert held(pipeline) == []
        pipeline.agree()
