"""What several modules here begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pytest

from tests.integration import nested
from tests.integration.clinic_schema import SCHEMA, SEED, TABLES
from tests.support.databases import Databases, Pair
from tests.support.pipeline import Pipeline, prepared


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give a small clinic whose rows are upstream already."""
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        pipeline.source.script(SEED)
        pipeline.agree()
        yield pipeline


@pytest.fixture
def source_with(pair: Pair, databases: Databases) -> Iterator[nested.Nested]:
    """Give two databases with the same subjects, and triggers of the application's own at the source."""
    made: list[Pipeline] = []

    def with_triggers(triggers: LiteralString) -> Pipeline:
        both = prepared(databases, pair, nested.SCHEMA)
        pipeline = Pipeline(both.source, both.upstream, nested.TABLES)
        made.append(pipeline)
        pipeline.source.sql("INSERT INTO subject (name, age) VALUES ('A', 1), ('B', 2), ('C', 3)")
        pipeline.ship()
        pipeline.source.script(triggers)
        return pipeline

    yield with_triggers
    for pipeline in made:
        pipeline.__exit__(None, None, None)
