"""A clock that was a year ahead and is put back: nothing waits until it is there again, and nobody is told that all is well."""

from __future__ import annotations

from typing import LiteralString

from dbsync.alerts.conditions import Kind, judge
from dbsync.config.load import parse
from dbsync.config.models import Config
from dbsync.service.link import LinkState, set_state
from dbsync.service.post import Post
from dbsync.service.situation import limits, whole_situation
from dbsync.service.streaming import Streaming
from tests.integration.clinic_schema import TABLES
from tests.support.databases import ONE_MIXTURE, Database
from tests.support.pipeline import LINK, Pipeline

pytestmark = ONE_MIXTURE


def year_ahead(database: Database, table: LiteralString, *columns: LiteralString) -> None:
    """Have moments told by a clock that was a year ahead."""
    for column in columns:
        database.script(f"UPDATE dbsync.{table} SET {column} = {column} + interval '1 year'")


def config(clinic: Pipeline) -> Config:
    text = f"""
        [node]
        name = "field-01"
        source = "{clinic.source.dsn}"
        [upstream]
        url = "{clinic.upstream.dsn}"
        name = "{LINK}"
        [alerts]
        unreachable = "0"
        {TABLES}
    """
    return parse(text, path="dbsync.toml", environ={})


def test_a_change_that_could_not_be_applied_is_tried_again(clinic: Pipeline) -> None:
    clinic.upstream.sql("ALTER TABLE site ADD CONSTRAINT known CHECK (code <> 'new')")
    clinic.source.sql("INSERT INTO site (code) VALUES ('new')")
    clinic.ship()
    clinic.upstream.sql("ALTER TABLE site DROP CONSTRAINT known")
    year_ahead(clinic.upstream, "quarantine", "quarantined_at", "tried_at")
    assert clinic.applier.tend(clinic.node.lineage) == {}
    assert clinic.upstream.value("SELECT count(*) FROM site WHERE code = 'new'") == 1


def test_an_upstream_that_is_out_of_reach_still_is_told_of(clinic: Pipeline) -> None:
    with clinic.source.connect() as connection:
        set_state(connection, LINK, LinkState.UNREACHABLE, "no route", held=True)
        year_ahead(clinic.source, "link", "state_since")
        set_state(connection, LINK, LinkState.UNREACHABLE, "no route", held=True)
    found = config(clinic)
    assert [one.kind for one in judge(whole_situation(found), limits(found))] == [Kind.UNREACHABLE]


def test_a_service_that_hears_of_its_upstream_says_when(clinic: Pipeline) -> None:
    with Streaming(Post(config=config(clinic))).link() as link:
        link.tend()
        year_ahead(clinic.source, "link", "contact_at")
        link.tend()
    assert clinic.source.value("SELECT contact_at <= now() FROM dbsync.link")
