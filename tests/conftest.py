"""The test ground: servers of both versions, fresh databases, a source and an upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.support.databases import Databases, EmptyPair, Pair
from tests.support.django import clinic_template
from tests.support.servers import Servers

MIXTURES = [(15, 18), (18, 15)]

# Machines differ in speed: an example may take its time, the test as a whole has the suite's timeout.
settings.register_profile("dbsync", deadline=None)
settings.load_profile("dbsync")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Give the servers of this worker: ``servers.cluster(15)`` starts one when it is first asked for."""
    with Servers() as started:
        yield started


@pytest.fixture(params=sorted({version for mixture in MIXTURES for version in mixture}))
def version(request: pytest.FixtureRequest) -> int:
    """Run the test on every version of PostgreSQL, unless ``@pytest.mark.parametrize("version", [15])`` says which."""
    wanted: int = request.param
    return wanted


@pytest.fixture
def databases(servers: Servers) -> Iterator[Databases]:
    """Make databases that are dropped after the test: ``databases.create(15)``."""
    made = Databases(servers)
    yield made
    made.drop_all()


@pytest.fixture(params=MIXTURES, ids=lambda mixture: f"{mixture[0]}->{mixture[1]}")
def pair(request: pytest.FixtureRequest, databases: Databases) -> Pair:
    """Give an empty source and an empty upstream, of both mixtures of versions.

    One mixture is enough for most questions: ``@ONE_MIXTURE`` from tests.support.databases.
    """
    return EmptyPair(databases, request.param)


@pytest.fixture
def clinic_pair(pair: Pair, databases: Databases) -> Pair:
    """Give a source and an upstream that hold the clinic's schema, with ids of their own in all seeded rows."""
    cloned = []
    for name, version, variant in zip(("source", "upstream"), pair.versions, ("a", "z"), strict=True):
        template = clinic_template(databases.servers, version, variant)
        cloned.append(databases.create(version, name=f"clinic_{name}", template=template))
    return Pair(source=cloned[0], upstream=cloned[1])


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Let no test write its log to where another one's command had set it up: that stream is closed."""
    yield
    structlog.reset_defaults()
