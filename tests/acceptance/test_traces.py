"""The way of each batch, as a collector hears of it: one trace, whoever tells of it, and no row in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from dbsync import traces
from dbsync.config.load import parse
from dbsync.errors import ConfigError
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.model.program import Program
from dbsync.service.watch import traced
from dbsync.spans import Exporter, Recorder
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.support.collector import Told, collecting
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.served import admit, serving

SECRET = "the patient's own words"
KEY = "SITE-KEY-1"
IDENTITY = {"dbsync.node": "field-01", "dbsync.link": "community", "dbsync.batch": 1, "dbsync.changes": 1}


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    """Keep what this process tells."""
    exporter = InMemorySpanExporter()
    recorder = Recorder(SimpleSpanProcessor(exporter), node="community", program=Program.SERVE)
    traces.begin(recorder)
    yield exporter
    traces.begin(None)
    recorder.end()


@ONE_MIXTURE
def test_steps_are_told_with_the_batch_and_of_an_error_only_its_kind(
    pair: Pair, databases: Databases, memory: InMemorySpanExporter
) -> None:
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        both.source.sql("INSERT INTO site (code, name) VALUES (%s, %s)", [KEY, SECRET])
        pipeline.ship()
        stage, write, apply = memory.get_finished_spans()
        assert [span.name for span in (stage, write, apply)] == ["stage", "write", "apply"]
        assert apply.parent is None
        assert {span.parent.span_id for span in (stage, write) if span.parent} == {apply.context.span_id}
        assert apply.attributes is not None
        assert {name: apply.attributes[name] for name in IDENTITY} == IDENTITY
        assert apply.attributes["dbsync.held"] == 0
        memory.clear()
        both.upstream.sql("DROP TABLE dbsync.receipt CASCADE")
        both.source.sql("INSERT INTO site (code, name) VALUES (%s, %s)", [f"{KEY}2", SECRET])
        with pytest.raises(Exception, match="receipt"):
            pipeline.ship()
        failed = [span for span in memory.get_finished_spans() if not span.status.is_ok]
        assert [(span.name, span.status.description) for span in failed] == [("apply", "UndefinedTable")]
        assert not failed[0].events
    for span in memory.get_finished_spans():
        assert KEY not in span.to_json()
        assert SECRET not in span.to_json()


@ONE_MIXTURE
def test_a_laptop_and_its_server_tell_of_a_batch_in_one_trace(pair: Pair, databases: Databases, tmp_path: Path) -> None:
    both = prepared(databases, pair, SCHEMA)
    laptop, own, theirs = tmp_path / "laptop", Keys.generate(), Keys.generate()
    own.save(laptop / "keys")
    with Pipeline(both.source, both.upstream, TABLES), collecting() as (collector, url):
        admit(both.upstream, "field-01", own)
        with both.source.connect() as session:
            registry.pin(session, "community", theirs.public)
        both.source.sql("INSERT INTO site (code, name) VALUES (%s, %s)", [KEY, SECRET])
        telling = f'[traces]\nendpoint = "{url}"\n'
        with serving(tmp_path / "server", both.upstream, keys=theirs, more=telling) as (server, address):
            _configure(laptop, both, address, telling)
            done = dbsync(laptop, "run", "--once")
            assert (done.code, done.out, done.err) == (0, "1 change shipped to community\n", "")
            assert server.terminate() == 0
        both.source.sql("INSERT INTO site (code) VALUES ('another')")
        _configure(laptop, both, both.upstream.dsn, telling.replace(url, "http://127.0.0.1:9/?token=hidden"))
        away = dbsync(laptop, "run", "--once")
        assert (away.code, away.out) == (0, "1 change shipped to community\n"), away.err
        assert "hidden" not in away.err
    ours = [span for span in collector.spans if span.program == "run"]
    others = [span for span in collector.spans if span.program == "serve"]
    assert [span.name for span in ours] == ["read", "send", "receipt", "ship"]
    assert [span.name for span in others] == ["stage", "write", "apply"]
    assert (ours[0].node, others[0].node) == ("field-01", "community")
    assert {span.trace for span in ours} == {span.trace for span in others} == {ours[0].trace}
    for top in (ours[-1], others[-1]):
        assert top.parent == ""
        assert {name: top.facts[name] for name in IDENTITY} == IDENTITY
        assert below(top, collector.spans) == [span.name for span in (ours if top is ours[-1] else others)[:-1]]
    for body in collector.bodies:
        assert KEY.encode() not in body
        assert SECRET.encode() not in body


def _configure(laptop: Path, both: Pair, url: str, telling: str) -> None:
    (laptop / "dbsync.toml").write_text(
        f'[node]\nname = "field-01"\nsource = "{both.source.dsn}"\n'
        f'[upstream]\nurl = "{url}"\nname = "community"\n{telling}{TABLES}'
    )


def below(top: Told, spans: list[Told]) -> list[str]:
    """Name the parts of a step."""
    return [span.name for span in spans if span.parent == top.span]


def test_a_collector_that_is_away_is_said_once_by_its_host_and_its_coming_back_too() -> None:
    class Deaf(InMemorySpanExporter):
        hears = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if not self.hears:
                raise OSError(SECRET)
            return super().export(spans)

    inner = Deaf()
    recorder = Recorder(SimpleSpanProcessor(Exporter(inner, "collector")), node="field-01", program=Program.RUN)
    with capture_logs() as said:
        for hears in (False, False, True, True):
            inner.hears = hears
            recorder.past("read", traces.now())
    recorder.end()
    assert [(one["event"], one["host"]) for one in said] == [
        ("traces_not_told", "collector"),
        ("traces_told", "collector"),
    ]
    assert SECRET not in str(said)


def test_without_the_library_a_configuration_that_wants_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(
        '[node]\nname = "field-01"\nsource = "service=clinic"\n[traces]\nendpoint = "http://localhost:4318/v1/traces"\n',
        path="dbsync.toml",
        environ={},
    )
    monkeypatch.delitem(sys.modules, "dbsync.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError) as caught, traced(config, Program.RUN):
        pass
    assert "pip install 'dbsync[otel]'" in (caught.value.hint or "")
