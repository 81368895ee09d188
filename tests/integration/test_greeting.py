"""What an upstream hears of a node: while it is in touch, and as of then when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dbsync import __version__, schema
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from tests.acceptance.places import TABLES, Place, place
from tests.support.databases import ONE_MIXTURE, Database, Pair
from tests.support.served import admit, serving
from tests.support.service import until

pytestmark = ONE_MIXTURE


def heard(upstream: Database) -> dict[str, Any]:
    """Give what the upstream heard of the only node."""
    ((found,),) = upstream.sql("SELECT to_jsonb(g) FROM dbsync.greeting g")
    return dict(found)


def installed(pair: Pair, folder: Path) -> Place:
    """Give a laptop and its upstream."""
    found = place(folder, pair.source, pair.upstream)
    found.install()
    return found


def test_the_upstream_hears_what_a_node_still_has_and_that_it_is_through(pair: Pair, tmp_path: Path) -> None:
    laptop = installed(pair, tmp_path)
    pair.source.sql("INSERT INTO subject (identifier) SELECT 'S-' || n FROM generate_series(1, 5) n")
    laptop.must("pause")
    with laptop.service():
        until(lambda: bool(pair.upstream.sql("SELECT node FROM dbsync.greeting")), "nothing was said")
        first = heard(pair.upstream)
        assert (first["node"], first["program"], first["schema"]) == ("field-07", __version__, schema.head())
        assert (first["pending"], first["exact"], first["carried"]) == (5, True, [])
        assert first["oldest"] is not None
        assert abs(first["clock_off"]) < 60
        laptop.must("resume")
        until(lambda: heard(pair.upstream)["pending"] == 0, "it is not said that all of it went")
    assert heard(pair.upstream)["oldest"] is None
    assert pair.upstream.value("SELECT count(*) FROM subject") == 5


def test_over_https_as_well_and_under_the_name_of_its_key(pair: Pair, tmp_path: Path) -> None:
    server, node = Keys.generate(), Keys.generate()
    laptop = installed(pair, tmp_path)
    node.save(laptop.folder / "keys")
    admit(pair.upstream, "field-07", node)
    with pair.source.connect() as connection:
        registry.pin(connection, "community", server.public)
    pair.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    with serving(tmp_path / "server", pair.upstream, keys=server, more=TABLES) as (_, url):
        configured = laptop.folder / "dbsync.toml"
        configured.write_text(configured.read_text().replace(pair.upstream.dsn, url))
        laptop.must("run", "--once")
    assert (heard(pair.upstream)["node"], heard(pair.upstream)["pending"]) == ("field-07", 0)
