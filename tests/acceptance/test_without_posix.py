"""What a laptop with Windows does, in a Python that lacks what Windows lacks: docs/how-to/windows.md says how far that goes."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.places import TABLES, Place, place
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.windows import dbsync, python

EVERY_MODULE = """
import pkgutil, dbsync
skipped = ("dbsync.contrib", "dbsync.demo", "dbsync.migrations")
for found in pkgutil.walk_packages(dbsync.__path__, "dbsync."):
    if not found.name.startswith(skipped):
        importlib.import_module(found.name)
print(len([name for name in sys.modules if name.startswith("dbsync.")]))
"""


@ONE_MIXTURE
def test_a_laptop_without_posix_ships_carries_sticks_and_is_checked(
    pair: Pair, databases: Databases, tmp_path: Path
) -> None:
    assert int(python(EVERY_MODULE, tmp_path)) > 250
    here = place(tmp_path, pair.source, pair.upstream)
    here.install()
    server, stick = tmp_path / "server", tmp_path / "stick"
    for folder in (server, stick):
        folder.mkdir()
    (server / "dbsync.toml").write_text(f'[node]\nname = "community"\nsource = "{here.upstream.dsn}"\n{TABLES}')
    at_server = Place(folder=server, source=here.upstream, upstream=here.upstream)
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    assert dbsync(tmp_path, "run", "--once") == "1 change shipped to community\n"
    dbsync(tmp_path, "nodes", "keys", "--new")
    at_server.must("nodes", "keys", "--new")
    code = at_server.must("nodes", "invite", "field-07", "--stick", str(stick)).out.strip()
    dbsync(tmp_path, "enrol", f"file://{stick}", code)  # which writes dbsync.toml anew as well
    assert "no route" not in dbsync(tmp_path, "check")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-2')")
    dbsync(tmp_path, "run", "--once")
    at_server.must("bundle", "import", str(stick))
    assert here.upstream.value("SELECT count(*) FROM subject") == 2
    assert "1 batch acknowledged" in dbsync(tmp_path, "run", "--once")
