"""Telling somebody when a relay is not as it should be: see :mod:`dbsync.alerts`."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dbsync import certificates
from dbsync.alerts.conditions import Condition, Limits
from dbsync.alerts.custody import Custody, judge_custody
from dbsync.alerts.watcher import BEAT, Watcher, looking
from dbsync.config.models import RelayConfig
from dbsync.errors import DbsyncError
from dbsync.pulse import PULSE
from dbsync.relay.records import Records


@dataclass(slots=True)
class Way:
    """How the way to the upstream is."""

    trouble: DbsyncError | None = None
    """What is in it, if anything is."""


@contextmanager
def alerting(config: RelayConfig, records: Records, way: Way) -> Iterator[None]:
    """While inside, tell whoever ``[alerts]`` names."""
    watcher = Watcher(
        config=config.alerts,
        node=config.relay.name,
        shelf=records.told,
        conditions=lambda: conditions(config, records, way),
        is_well=lambda: PULSE.was_well(2 * BEAT),
    )
    with looking(watcher):
        yield


def conditions(config: RelayConfig, records: Records, way: Way) -> tuple[Condition, ...]:
    """Say what is the matter with a relay now."""
    limits = Limits(
        unreachable=config.alerts.unreachable_seconds,
        lag=config.alerts.lag_seconds,
        certificate=config.check.certificate_seconds,
    )
    return judge_custody(_custody(config, records, way), limits, room=config.check.free_bytes)


def _custody(config: RelayConfig, records: Records, way: Way) -> Custody:
    known = Custody(
        relay=config.relay.name,
        now=datetime.now(UTC),
        refused=way.trouble is not None and not way.trouble.try_again,
        free=_free(Path(config.relay.spool)),
        certificates=certificates.known(),
    )
    try:
        upstream, held = records.upstream(), records.held()
    except DbsyncError:
        return replace(known, records_away=True)
    waiting = [one for one in held if one.trouble is None]
    return replace(
        known,
        upstream=None if upstream is None else upstream.name,
        visited=None if upstream is None else upstream.seen_at,
        waiting=len(waiting),
        oldest=min((one.received_at for one in waiting), default=None),
        marked=Counter(one.name.node for one in held if one.trouble is not None),
    )


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
