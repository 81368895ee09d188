"""An upstream that was mistyped: what check and run advise mends it, and no remedy forgets the right one's receipts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbsync.errors import Unreachable
from dbsync.postgres import connect
from tests.acceptance.places import Place, place
from tests.integration.people import Person
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.ward import recognises

pytestmark = ONE_MIXTURE

MEND = "mend url in [upstream], or ~/.pgpass / pg_service.conf; then: dbsync check"


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Place:
    """Give a node that has shipped to its upstream, which its file does not name otherwise than by its address."""
    found = place(tmp_path, pair.source, pair.upstream)
    pointed(found, found.upstream.dsn)
    for words in (("install-upstream",), ("install-triggers",)):
        keyboard(found).must(*words)
    found.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    keyboard(found).must("run", "--once")
    return found


def keyboard(here: Place) -> Person:
    return Person(config=here.folder / "dbsync.toml")


def pointed(here: Place, url: str) -> None:
    """Let the upstream be at another address."""
    here.configure()
    file = here.folder / "dbsync.toml"
    written = file.read_text().replace('name = "community"\n', "")
    file.write_text(written.replace(f'url = "{here.upstream.dsn}"', f'url = "{url}"'))


def findings(here: Place) -> dict[str, str]:
    """Check, and give the remedies by code."""
    found = keyboard(here).type("check", "--json").json["findings"]
    return {one["code"]: one["remedy"] for one in found if one["severity"] != "ok"}


def mistyped(here: Place) -> str:
    return here.upstream.dsn.replace(here.upstream.name, "comunity")


@recognises("link_unused")
def test_a_mistyped_database_is_mended_and_no_link_is_deleted(here: Place) -> None:
    pointed(here, mistyped(here))
    found = findings(here)
    assert found["upstream_unreachable"] == MEND
    assert found["link_unused"] == (
        f"mend url (or name) in [upstream]: comunity, as it is now, has never answered, and {here.upstream.name} is"
        " probably meant"
    )
    with pytest.raises(Unreachable) as refused:
        keyboard(here).type("run", "--once")
    assert refused.value.hint == MEND
    found = findings(here)  # now there is a link to it, too
    assert "has never answered" in found["link_unused"]
    pointed(here, here.upstream.dsn)
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-2')")
    keyboard(here).must("run", "--once")
    remedy = findings(here).get("link_unused", "")
    assert remedy.startswith("DELETE FROM dbsync.link WHERE name = 'comunity'") or not remedy


def test_a_link_with_receipts_is_deleted_by_no_remedy(here: Place) -> None:
    file = here.folder / "dbsync.toml"
    file.write_text(file.read_text().replace("[service]", 'name = "regional"\n[service]'))
    keyboard(here).must("run", "--once")
    remedy = findings(here)["link_unused"]
    assert remedy.startswith(f"name {here.upstream.name} in [upstream] again")
    assert "DELETE" not in remedy
    assert "DELETE FROM dbsync.link" in keyboard(here).must("check", "--explain", "link_unused").out


@pytest.mark.parametrize("wrong", ["user=nobody", "dbname=comunity", "service=nothing"])
def test_who_is_turned_away_is_told_to_mend_it_and_not_to_wait(here: Place, wrong: str) -> None:
    for where, hint in (("upstream", MEND), ("source", "mend source in [node]")):
        with pytest.raises(Unreachable) as refused:
            connect(f"{here.upstream.dsn} {wrong}", name=where)
        assert refused.value.hint.startswith(hint)


def test_a_server_that_is_not_there_is_waited_for(here: Place) -> None:
    with pytest.raises(Unreachable) as refused:
        connect("host=127.0.0.1 port=1 dbname=community", name="upstream")
    assert refused.value.hint.startswith("dbsync run   ships when there is a route again")
