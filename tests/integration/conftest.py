"""What several modules here begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
