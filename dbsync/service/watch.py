"""Being watched: while a program runs, systemd hears that it is alive, and whoever asks gets its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from dbsync import schema, tally
from dbsync.config.models import Config
from dbsync.config.watching import AlertsConfig
from dbsync.errors import ConfigError, DbsyncError
from dbsync.model.program import Program
from dbsync.postgres import connect, translated
from dbsync.pulse import PATIENCE, PULSE
from dbsync.service.notify import vouching
from dbsync.statements import statement

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

log = structlog.get_logger()

WAITS = 4
"""Times the usual silence: no single wait for another side takes so long without a sign."""


@contextmanager
def watched(config: Config, program: Program, no_room: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """While inside, the program of a node can be watched, as far as somebody wants that.

    ``no_room`` says whether a full disk or the like is in its way.
    """

    def observed() -> Collector:
        from dbsync.service.observed import Observed  # noqa: PLC0415 - see below

        return Observed(config=config, program=program)

    listen = config.metrics.listen if program is Program.RUN else config.metrics.of_server
    patience = max(PATIENCE, WAITS * config.service.silence)
    with (
        traced(config, program),
        watching(listen, program, observed, lambda: ready(config), patience),
        _telling(config, program, no_room),
    ):
        yield


@contextmanager
def traced(config: Config, program: Program) -> Iterator[None]:
    """While inside, whoever ``[traces]`` names is told of each batch. Raises ConfigError without the library for it."""
    endpoint = config.traces.endpoint
    if endpoint is None:
        yield
        return
    try:
        from dbsync.spans import told  # noqa: PLC0415 - it takes long to import, and is not installed everywhere
    except ModuleNotFoundError as error:
        raise ConfigError(
            "nobody can be told of traces",
            where="[traces]",
            why=f"OpenTelemetry is not installed: {error.name}",
            hint="pip install 'dbsync[otel]', or take endpoint out of [traces]",
        ) from None
    with told(endpoint, node=config.node.name, program=program):
        yield


@contextmanager
def _telling(config: Config, program: Program, no_room: Callable[[], bool]) -> Iterator[None]:
    """While inside, tell whoever ``[alerts]`` names."""
    if not config.alerts.is_wanted:
        yield
        return
    # They are few who want to hear, and the others need not import it.
    from dbsync.alerts.conditions import judge  # noqa: PLC0415
    from dbsync.alerts.kept import InDatabase  # noqa: PLC0415
    from dbsync.alerts.watcher import BEAT, Watcher, looking  # noqa: PLC0415
    from dbsync.service.situation import limits, situation  # noqa: PLC0415

    watcher = Watcher(
        config=config.alerts,
        node=config.node.name,
        shelf=InDatabase(dsn=config.node.source, program=program),
        conditions=lambda: judge(situation(config, program, no_room), limits(config)),
        is_well=(lambda: PULSE.was_well(2 * BEAT)) if program is Program.RUN else (lambda: _answers(config)),
    )
    with looking(watcher):
        yield


def beat_once(alerts: AlertsConfig) -> None:
    """Give the heartbeat that ``[alerts]`` wants, after a single run that came to its end."""
    if alerts.heartbeat is None:
        return
    from dbsync.alerts import hooks  # noqa: PLC0415 - see above

    try:
        hooks.beat(alerts.heartbeat)
    except hooks.HookFailed as error:
        log.warning("heartbeat_failed", reason=str(error))


def _answers(config: Config) -> bool:
    try:
        ready(config)
    except DbsyncError:
        return False
    return True


@contextmanager
def watching(
    listen: str | None,
    program: Program,
    observed: Callable[[], Collector],
    ready: Callable[[], Mapping[str, Any]],
    patience: float = PATIENCE,
) -> Iterator[None]:
    """While inside, systemd's watchdog is told of a program, and at ``listen`` whoever asks; ``observed`` is made for him."""
    with ExitStack() as stack:
        stack.enter_context(vouching(lambda: PULSE.silent < patience))
        if listen is not None:
            # It takes long to import, and most nodes are asked by nobody.
            from dbsync.service.listener import Health, answering  # noqa: PLC0415

            tally.begin()
            stack.enter_context(answering(listen, program, observed(), Health(patience=patience, ready=ready)))
        yield


def ready(config: Config) -> Mapping[str, Any]:
    """Say that this node's program can do its work: its own database answers. Raises what is in the way."""
    found: dict[str, Any] = {"node": config.node.name}
    with connect(config.node.source, name="source", application="dbsync metrics") as connection:
        schema.require(connection, "source")
        if config.above is not None:
            with translated("source"):
                row = connection.execute(statement("observed", "link"), {"link": config.above.label}).fetchone()
            found |= {"link": config.above.label, "state": row[0] if row else "new"}
    return found
