"""A compacted backlog ends with the upstream that shipping everything ends with."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbsync.changelog.compact import Compacted, compact
from dbsync.errors import Interrupted
from dbsync.postgres import connect
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.history import SEEDS, write_history
from tests.support.pipeline import LINK, Pipeline, prepared

SEED = int(os.environ.get("DBSYNC_SEED", "0"))
HISTORIES = int(os.environ.get("DBSYNC_HISTORIES", "6"))


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        yield pipeline


def compacted(pipeline: Pipeline, *, patience: float = 5, rehearse: bool = False) -> Compacted:
    with connect(pipeline.source.dsn, name="source") as connection:
        return compact(connection, LINK, patience=patience, rehearse=rehearse)


class TestWhatEndsTheSame:
    @pytest.mark.parametrize("history", range(HISTORIES))
    def test_any_history(self, clinic: Pipeline, history: int) -> None:
        seed = SEED + history
        pick = random.Random(seed)
        clinic.source.script(SEEDS)
        if pick.random() < 0.7:
            clinic.agree()
        write_history(clinic.source, seed, 250)
        done = compacted(clinic)
        assert done.changes_after == clinic.source.value(
            "SELECT count(*) FROM dbsync.change c LEFT JOIN dbsync.link l ON true"
            " WHERE l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor)"
        )
        if pick.random() < 0.5:
            write_history(clinic.source, seed + 1_000_000, 100)
            compacted(clinic)
        clinic.agree(max_changes=pick.choice([1, 20, 20_000]))
