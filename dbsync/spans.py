"""Telling an OpenTelemetry collector of the way of each batch. Imported only where ``[traces]`` names one; see :mod:`dbsync.traces`.

**A batch is a trace**, whoever tells of it: the trace's id is made of what names the batch everywhere, its node, life, link and number.
So what a laptop shipped on Monday and what a server applied on Thursday, from a stick, meet in one trace, and nothing has to travel for
it; and both ends, where they tell only of a share of all traces, tell of the same ones.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from dbsync import __version__, traces
from dbsync.alerts.hooks import place
from dbsync.model.batch import Header
from dbsync.model.program import Program

TRACE_BYTES = 16
ANSWER = 5.0
"""Seconds in which a collector has to answer, further tries among them."""
PATIENCE = 2.0
"""Seconds in which what is not told yet is told when the program ends; the end waits no longer."""

log = structlog.get_logger()


@contextmanager
def told(endpoint: str, *, node: str, program: Program) -> Iterator[None]:
    """While inside, the collector at an address is told. Nobody waits for it, and what it does not hear is lost."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it complains of is said by us, once
    exporter = Exporter(OTLPSpanExporter(endpoint=endpoint, timeout=ANSWER), place(endpoint))
    recorder = Recorder(BatchSpanProcessor(exporter), node=node, program=program)
    traces.begin(recorder)
    try:
        yield
    finally:
        traces.begin(None)
        recorder.end()


class Step:
    """One step while it is under way."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def note(self, **facts: int) -> None:
        """Note how much of something there was."""
        self._span.set_attributes({f"dbsync.{name}": value for name, value in facts.items()})


class Recorder:
    """Makes spans of steps, for a processor that passes them on."""

    def __init__(self, processor: SpanProcessor, *, node: str, program: Program) -> None:
        self._ids = _Ids()
        named = {"service.name": "dbsync", "service.instance.id": node, "service.version": __version__}
        self._provider = TracerProvider(
            resource=Resource.create({**named, "dbsync.program": program.value}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("dbsync", __version__)

    @contextmanager
    def of(self, name: str, header: Header, since: int | None) -> Iterator[Step]:
        """Tell of a step that is about a batch, in the batch's own trace."""
        with self._ids.of(header):
            span = self._tracer.start_span(name, attributes=_identity(header), start_time=since)
        with _under_way(span):
            yield Step(span)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Tell of a part of the step that is under way in this thread."""
        span = self._tracer.start_span(name)
        with _under_way(span):
            yield Step(span)

    def past(self, name: str, since: int) -> None:
        """Tell of a part that ends now."""
        self._tracer.start_span(name, start_time=since).end()

    def end(self) -> None:
        """Pass on what is not passed on yet, if that does not take long."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(PATIENCE)


@contextmanager
def _under_way(span: trace.Span) -> Iterator[None]:
    """Let a span be the one under way in this thread, to its end. Of an error its kind is told: its words may name a key."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _identity(header: Header) -> Mapping[str, str | int]:
    return {
        "dbsync.node": header.node,
        "dbsync.incarnation": str(header.incarnation),
        "dbsync.link": header.link,
        "dbsync.batch": header.number,
        "dbsync.transactions": header.transactions,
        "dbsync.changes": header.changes,
        "dbsync.first_captured": header.first_captured.isoformat(),
        "dbsync.last_captured": header.last_captured.isoformat(),
    }


class _Ids(RandomIdGenerator):
    """Random ids, but for the trace of a batch: that has the batch's own."""

    def __init__(self) -> None:
        self._wanted = threading.local()

    @contextmanager
    def of(self, header: Header) -> Iterator[None]:
        """While inside, a trace that is begun in this thread is a batch's."""
        named = "\n".join((header.node, str(header.incarnation), header.link, str(header.number)))
        self._wanted.trace = int.from_bytes(hashlib.sha256(named.encode()).digest()[:TRACE_BYTES])
        try:
            yield
        finally:
            self._wanted.trace = None

    def generate_trace_id(self) -> int:
        wanted: int | None = getattr(self._wanted, "trace", None)
        return super().generate_trace_id() if wanted is None else wanted


class Exporter(SpanExporter):
    """Passes spans on, and says once that nobody takes them, and once that somebody does again."""

    def __init__(self, inner: SpanExporter, host: str) -> None:
        self._inner = inner
        self._host = host
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Pass them on; never raises."""
        try:
            result = self._inner.export(spans)
        except Exception as error:  # the last edge: whatever breaks in there keeps no change waiting
            result = SpanExportResult.FAILURE
            reason = type(error).__name__
        else:
            reason = "it does not answer, or takes nothing"
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            log.warning("traces_not_told", host=self._host, reason=reason, hint="[traces] endpoint names the collector")
        elif self._fails and not fails:
            log.info("traces_told", host=self._host)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Come to an end."""
        self._inner.shutdown()
