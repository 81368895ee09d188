"""What several modules here begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pytest

from tests.integration import nested
from tests.integration.clinic_schema import SCHEMA, SEED, TABLES
from tests.support.databases import Databases, Pair
from tests.support.pipeline import Pipeline, piped


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give a small clinic whose rows are upstream already."""
    with piped(databases, pair, SCHEMA, TABLES, seed=SEED) as pipeline:
        yield pipeline


@pytest.fixture
def source_with(pair: Pair, databases: Databases) -> Iterator[nested.Nested]:
    """Give two databases with the same subjects, and triggers of the application's own at the source."""
    made: list[Pipeline] = []

    def with_triggers(triggers: LiteralString) -> Pipeline:
        pipeline = piped(databases, pair, nested.SCHEMA, nested.TABLES)
        made.append(pipeline)
        pipeline.source.sql("INSERT INTO subject (name, age) VALUES ('A', 1), ('B', 2), ('C', 3)")
        pipeline.ship()
        pipeline.source.script(triggers)
        return pipeline

    yield with_triggers
    for pipeline in made:
        pipeline.__exit__(None, None, None)
