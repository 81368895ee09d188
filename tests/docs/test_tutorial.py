"""The tutorial is typed from its first line to its last, and prints what it shows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docs.console import Console, alike, steps
from tests.docs.manual import ROOT
from tests.support.servers import Servers

PAGE = ROOT / "docs" / "tutorial.md"


def test_the_tutorial_works_as_it_stands(servers: Servers, tmp_path: Path) -> None:
    cluster = servers.cluster(15)
    of_its_own = ("DBSYNC", "PG", "PYTHON", "DJANGO", "CLINIC")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(of_its_own)}
    server = conninfo_to_dict(cluster.dsn("postgres"))
    environ |= {"PGHOST": str(server["host"]), "PGPORT": str(server["port"]), "PGUSER": str(server["user"])}
    programs = (Path(sys.executable).parent, cluster.binaries.bindir)
    environ["PATH"] = os.pathsep.join([*map(str, programs), environ["PATH"]])
    try:
        with Console(tmp_path, environ) as console:
            for step in steps(PAGE.read_text()):
                console.do(step)
    finally:
        for name in ("field_01", "field_02", "community"):
            cluster.drop_database(name)
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("2 rows", "3 rows"), ("a\n...\nc", "a\nb"), ("nothing pending", "lag 3 s"), ("", "dbsync: it is broken")],
)
def test_another_output_than_the_pages_is_noticed(shown: str, printed: str) -> None:
    assert not alike(shown, printed)
