"""Comparing a node with its upstream, over whatever route there is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import orjson
import psycopg
from tenacity import Retrying, retry_if_exception, stop_after_delay

from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import Refusal, Unreachable, UsageError
from dbsync.model.names import TableName
from dbsync.postgres import connect
from dbsync.service import routes
from dbsync.service.backlog import count_pending, held_upstream
from dbsync.service.chosen import selected, shipped
from dbsync.service.resend import repairing
from dbsync.transport.exchange import Exchange
from dbsync.verify.comparison import Opposite, Options, compare_tables
from dbsync.verify.direct import Within
from dbsync.verify.distant import Distant
from dbsync.verify.questions import Json
from dbsync.verify.report import Report
from dbsync.verify.side import snapshot

PATIENCE = 600.0
"""Seconds that an upstream may read in a large table for one answer."""
BUSY = 120.0
"""Seconds in which an upstream that is busy is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a comparison found, and what was done about it."""

    report: Report
    pending: int | None
    """Changes not shipped yet; None if unknown."""
    repaired: int | None
    """Rows in the change log once more; None where nothing was to be repaired."""
    held: Collection[TableName] = ()
    """Tables of which changes waited in quarantine upstream at the last contact."""


def compare(config: Config, patterns: Sequence[str], options: Options, *, repair: bool) -> Found:
    """Compare the tables that are asked for; with ``repair``, send again on the way what upstream lacks."""
    if options.show_values and config.upstream.route is not Route.DIRECT:
        raise UsageError(
            "--show-values needs a direct connection to the upstream",
            why="over a line it names the columns that differ, and its values stay there",
        )
    with (
        connect(config.node.source, name="source") as source,
        opposite(config, source) as there,
        repairing(config) if repair else nullcontext() as mend,
    ):
        registry = shipped(config, source)
        pending = count_pending(source, config.upstream.label)
        held = held_upstream(source, config.upstream.label)
        chosen = selected(registry, patterns)
        report = compare_tables(registry, source, there, chosen, options=replace(options, repair=mend))
    return Found(report=report, pending=pending, repaired=mend.rows.total() if mend else None, held=held)


@contextmanager
def opposite(config: Config, source: psycopg.Connection) -> Iterator[Opposite]:
    """Reach the upstream. Raises Unreachable without a route, Refusal over one on which nobody answers."""
    match config.upstream.route:
        case Route.DIRECT:
            with (
                connect(config.upstream.database, name="upstream", pooled=True) as upstream,
                snapshot(upstream, "upstream"),
            ):
                yield Within(connection=upstream)
        case Route.HTTPS:
            with routes.exchange(config, source) as exchange:
                yield Distant(ask=lambda asks, question: _ask(exchange, asks, question))
        case Route.FILE | Route.NATS as route:
            raise Refusal(f"over the {route.value} route nobody answers", where=f"upstream {config.upstream.label}")


def _ask(exchange: Exchange, asks: str, question: Json) -> Json:
    """Ask over HTTPS; while the upstream is busy, wait as long as it says and ask again."""
    retrying = Retrying(
        retry=retry_if_exception(lambda error: _pause(error) is not None),
        wait=lambda state: _pause(state.outcome.exception() if state.outcome else None) or 0.0,
        stop=stop_after_delay(BUSY),
        reraise=True,
    )
    return retrying(exchange.ask, "POST", f"/v1/verify/{asks}", orjson.dumps(question), patience=PATIENCE)


def _pause(error: BaseException | None) -> float | None:
    return error.after if isinstance(error, Unreachable) else None
