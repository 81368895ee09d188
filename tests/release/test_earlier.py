"""Nodes and servers are not upgraded on the same day: an earlier version's program at one end of the line, this one's at the other.

The earlier version is the first that spoke the protocol of today as a whole; its code comes from git's history. Where that is not at
hand (a shallow clone, an sdist) these tests are skipped, and what it wrote is still read by test_past. Until there is a release, whoever
changes the protocol lets EARLIER be his commit; a released version is understood, or refused under a version of the protocol of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dbsync import __version__
from tests.release import past
from tests.release.program import PRESENT, Program, has_history, unpacked
from tests.support.certificates import Authority
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.served import free_port
from tests.support.service import ServiceProcess

EARLIER = "9bddb55404185e8a608a390f57d0185da29f09ea"

pytestmark = [
    ONE_MIXTURE,
    pytest.mark.skipif(not has_history(EARLIER), reason="git's history is not here"),
]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Unpack the earlier version."""
    return unpacked(EARLIER, tmp_path_factory.mktemp("earlier") / "code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A node and a server that a line connects, each with a version of its own."""

    folder: Path
    pair: Pair
    at_node: Program
    at_server: Program

    def node(self, *words: str) -> str:
        """Type a command at the node."""
        return self.at_node.type(self.folder / "node", *words)

    def server(self, *words: str) -> str:
        """Type a command at the server."""
        return self.at_server.type(self.folder / "server", *words)

    def prepare(self) -> str:
        """Write both configurations; give the server's address."""
        authority, port = Authority(self.folder / "tls"), free_port()
        tls, url = authority.certificate(), f"https://127.0.0.1:{port}"
        serve = f'[serve]\nlisten = "127.0.0.1:{port}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
        believed = f'ca = "{authority.file}"\n[[tables]]'
        written = {
            "node": past.node(self.pair.source.dsn, url).replace("[[tables]]", believed, 1),
            "server": past.community(self.pair.upstream.dsn, serve),
        }
        for place, config in written.items():
            (self.folder / place).mkdir()
            (self.folder / place / "dbsync.toml").write_text(config)
        return url

    def serving(self) -> ServiceProcess:
        """Make the server's process."""
        return ServiceProcess(self.folder / "server", environ=self.at_server.environ, command=("serve",))


@pytest.fixture(params=["node", "server"])
def line(request: pytest.FixtureRequest, earlier: Program, pair: Pair, tmp_path: Path) -> Line:
    """Give a line at one end of which the earlier version is."""
    old = request.param
    for database, before in ((pair.source, past.SOURCE_BEFORE), (pair.upstream, past.UPSTREAM_BEFORE)):
        database.script(past.APPLICATION)
        database.script(before)
    return Line(
        folder=tmp_path,
        pair=pair,
        at_node=earlier if old == "node" else PRESENT,
        at_server=earlier if old == "server" else PRESENT,
    )


def test_an_earlier_version_and_this_one_understand_each_other(line: Line) -> None:
    url = line.prepare()
    assert {line.node("--version"), line.server("--version")} == {"dbsync 0+unknown\n", f"dbsync {__version__}\n"}
    line.server("install-upstream", "--here")
    line.server("nodes", "keys", "--new")
    line.node("install-triggers")
    line.node("nodes", "keys", "--new")
    code = line.server("nodes", "invite", "field-07").strip()
    with line.serving() as service:
        service.wait_for("serving")
        assert "field-07 is enrolled with community" in line.node("enrol", url, code)
        line.node("backfill")
        line.node("run", "--once")
        for statements in (past.SHIPPED, past.DOES_NOT_FIT, past.PENDING):
            line.pair.source.script(statements)
        line.node("run", "--once")
        assert "source and upstream agree" in line.node("verify", "--ignore-extra")
        assert "community certifies: everything of field-07" in line.node("certificate")
        line.node("nodes", "rotate")
        line.pair.source.sql("UPDATE subject SET initials = 'after' WHERE identifier = 'S-9'")
        line.node("run", "--once")
    assert line.pair.upstream.value("SELECT initials FROM subject WHERE identifier = 'S-9'") == "after"
    assert "field-07" in line.server("nodes", "list")
