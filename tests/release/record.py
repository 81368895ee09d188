"""Keep what a version of dbsync writes: ``python -m tests.release.record v0.2.0``.

It runs that commit's own program on a source and an upstream, through everything that leaves traces in the dbsync schema, and keeps both as
dumps in tests/data/past/REVISION. From :data:`tests.release.past.STICKS` on also what the two wrote onto a stick, with their keys: a bundle
that the upstream has not seen yet, and a copy of the stick with the answer to it. The story is told in :mod:`tests.release.past`.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dbsync.demo.server import Cluster
from tests.docs.manual import ROOT
from tests.release import past
from tests.release.program import Program, unpacked
from tests.support.databases import Database
from tests.support.servers import own_cluster

VERSION = 15
"""Of PostgreSQL: what the oldest dumps, every later one reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A version at work, in folders of its own: the node's, the upstream's, and the stick."""

    program: Program
    folder: Path
    source: Database
    upstream: Database

    def at(self, place: str, *words: str) -> str:
        """Type a command at the ``node`` or at the ``community``."""
        return self.program.type(self.folder / place, *words)

    def live(self) -> None:
        """Let the version work until there is something of everything in its schema, and leave much of it on the way."""
        self._begin()
        self.source.script(past.SHIPPED)
        self.at("node", "run", "--once")
        if self.program.revision >= past.QUARANTINE:
            self.upstream.script(past.UPSTREAM_MEANWHILE)
            self.source.script(past.DOES_NOT_FIT)
            self.at("node", "run", "--once")
        for revision, database, statements in past.TRACES:
            if self.program.revision >= revision:
                {"source": self.source, "upstream": self.upstream}[database].script(statements)
        if self.program.revision >= past.STICKS:
            self._meet_by_stick()
            self.source.script(past.ON_THE_STICK)
            self.at("node", "bundle", "export", "../stick")
        self.source.script(past.PENDING)

    def _begin(self) -> None:
        for database in (self.source, self.upstream):
            database.script(past.APPLICATION)
        self.upstream.script(past.UPSTREAM_BEFORE)
        self.source.script(past.SOURCE_BEFORE)
        for place in ("node", "community"):
            (self.folder / place).mkdir()
        (self.folder / "stick").mkdir()
        (self.folder / "node" / "dbsync.toml").write_text(past.node(self.source.dsn, self.upstream.dsn))
        (self.folder / "community" / "dbsync.toml").write_text(past.community(self.upstream.dsn))
        for words in (("install-upstream",), ("install-triggers",), ("backfill",), ("run", "--once")):
            self.at("node", *words)

    def _meet_by_stick(self) -> None:
        for place in ("node", "community"):
            self.at(place, "nodes", "keys", "--new")
        code = json.loads(self.at("community", "nodes", "invite", "field-07", "--stick", "../stick", "--json"))["code"]
        self.at("node", "enrol", f"file://{self.folder / 'stick'}", code)
        self.at("community", "bundle", "import", "../stick")

    def keep(self, to: Path) -> None:
        """Keep what is there now; then let the upstream answer the stick, and keep that."""
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for name, database in (("source", self.source), ("upstream", self.upstream)):
            (to / f"{name}.sql.gz").write_bytes(gzip.compress(dump(database).encode(), mtime=0))
        if self.program.revision >= past.STICKS:
            for place in ("node", "community"):
                shutil.copytree(self.folder / place / "keys", to / place / "keys")
            shutil.copytree(self.folder / "stick", to / "stick")
            self.at("community", "bundle", "import", "../stick")
            shutil.copytree(self.folder / "stick", to / "answered")


def dump(database: Database) -> str:
    """Give a database as SQL that any client can run."""
    command = [
        str(database.cluster.binaries.bindir / "pg_dump"),
        "--inserts",
        "--rows-per-insert=100",
        "-d",
        database.dsn,
    ]
    script = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.sub(r"^\\(un)?restrict .*\n", "", script, flags=re.MULTILINE)  # for psql alone, and random


def record(commit: str, cluster: Cluster, folder: Path) -> Path:
    """Record a commit's version; give the folder in which it is kept."""
    databases = []
    for name in ("source", "upstream"):
        cluster.create_database(name)
        databases.append(Database(cluster=cluster, name=name))
    source, upstream = databases
    story = Story(program=unpacked(commit, folder / "code"), folder=folder, source=source, upstream=upstream)
    story.live()
    kept = past.FOLDER / story.program.revision
    story.keep(kept)
    return kept


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, own_cluster(VERSION) as running:
        print(record(sys.argv[1], running, Path(made)).relative_to(ROOT))
