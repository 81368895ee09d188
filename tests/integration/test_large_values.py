"""Values of many megabytes pass through a small process, and nothing of a batch depends on how it was read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbsync.changelog.payload import CHUNK, SLICE, read
from dbsync.model.batch import Cut
from tests.acceptance.places import Place, place
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped

SCHEMA = """
CREATE TABLE subject (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE scan (
    id bigserial PRIMARY KEY, code text NOT NULL UNIQUE, subject_id bigint REFERENCES subject, note text, data bytea);
"""
TABLES = '[[tables]]\nname = "subject"\n\n[[tables]]\nname = "scan"\n'
MEGABYTES = int(os.environ.get("DBSYNC_TEST_VALUE_MB", "16"))
"""How large a value is shipped by a process; 200 takes a minute and 2 GB."""
MOST_MEMORY = 100_000
"""Kilobytes that the replicator may take at most, its program and libraries among them."""
MANY_SIZES = """
INSERT INTO scan (code, note) SELECT 'empty', '';
INSERT INTO scan (code, note, data) SELECT 'small-' || n, repeat('n', n), decode(md5(n::text), 'hex') FROM generate_series(0, 50) n;
INSERT INTO subject (name) VALUES ('A'), ('B');
INSERT INTO scan (code, subject_id, data) SELECT 'huge', 1, convert_to(repeat('zero', 1000000), 'UTF8');
UPDATE scan SET data = data || '\\x00', subject_id = 2, code = 'larger' WHERE code = 'huge';
UPDATE scan SET data = NULL, subject_id = NULL WHERE code = 'small-7';
UPDATE dbsync.change SET op = 'B' WHERE seq = 4;
DELETE FROM scan WHERE code IN ('larger', 'small-8');
"""
UP_TO_A_SLICE = """
INSERT INTO scan (code, note)
SELECT 'end' || d, repeat('s', (SELECT 2 * {0} - octet_length(array_send(c.image)) FROM dbsync.change c WHERE c.seq = 1) + d)
FROM generate_series(-2, 3) d
"""
"""Images that end with a slice, a byte before it, a byte behind it."""


@pytest.fixture
def scans(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def payload(pipeline: Pipeline, cut: Cut, *, large: bool) -> bytes:
    return b"".join(read(pipeline.reader.connection, cut, large=large))


def hold_both_ways_equal(pipeline: Pipeline, cut: Cut) -> None:
    whole = payload(pipeline, cut, large=False)
    assert len(whole) > 10 * SLICE
    assert payload(pipeline, cut, large=True) == whole


def test_slices_are_the_bytes_of_whole_changes_in_one_transaction_and_in_many(scans: Pipeline) -> None:
    scans.source.script(MANY_SIZES)
    for _ in range(2):
        scans.source.sql(UP_TO_A_SLICE.format(SLICE).encode())
        scans.source.sql("DELETE FROM scan WHERE code LIKE 'end%'")
    first, everything = scans.reader.next_cut(1), scans.reader.next_cut(20_000)
    assert first is not None
    assert everything is not None
    assert (first.transactions, everything.transactions) == (1, 5)
    scans.source.script("""
        UPDATE dbsync.change SET origin = 'field-09', unresolved = ARRAY['1', NULL] WHERE seq = 3;
        UPDATE dbsync.change SET origin = '', refs = '{}' WHERE seq = 4;
    """)
    ops = {op for (op,) in scans.source.sql("SELECT op::text FROM dbsync.change")}
    ends = scans.source.sql("SELECT DISTINCT octet_length(array_send(image)) - 2 * %s FROM dbsync.change", (SLICE,))
    assert ops == {"I", "U", "D", "B"}
    assert {-1, 0, 1} <= {end for (end,) in ends}
    hold_both_ways_equal(scans, first)
    hold_both_ways_equal(scans, everything)


@ONE_MIXTURE
def test_a_value_that_packs_well_comes_in_slices_when_it_is_read_ahead_too(scans: Pipeline) -> None:
    for code in ("a", "b"):
        scans.source.sql("INSERT INTO scan (code, note) SELECT %s, repeat('0', 5000000)", (code,))
    first = scans.reader.next_cut(1)
    assert first is not None
    with scans.reader.sending(first) as batch:
        receipt = scans.apply(batch)
    scans.reader.acknowledge(first, receipt)
    scans.source.sql("UPDATE dbsync.change SET origin = 'new'")
    second = scans.reader.next_cut(1)
    assert second is not None
    chunks = list(scans.reader.batch(second).payload)
    assert sum(map(len, chunks)) > 5_000_000
    assert max(map(len, chunks)) <= SLICE + CHUNK
    assert not any(b"new" in chunk for chunk in chunks), "it was not read ahead"


@ONE_MIXTURE
def test_a_batch_that_fails_in_the_middle_of_a_large_value_is_read_again(scans: Pipeline) -> None:
    scans.source.sql("INSERT INTO scan (code, note) SELECT 'a', repeat('0', 9000000)")
    cut = scans.reader.next_cut(1)
    assert cut is not None
    with pytest.raises(ConnectionError) as failed, scans.reader.sending(cut) as batch:
        parts = iter(batch.payload)
        held = [next(parts), next(parts), next(parts)]
        raise ConnectionError
    assert failed.value.__traceback__ is not None
    assert len(b"".join(held)) > SLICE
    scans.agree()


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Place:
    """Give a laptop that keeps scans, and its server, dbsync installed on both."""
    pair.source.script(SCANS)
    pair.upstream.script(SCANS)
    found = place(tmp_path, pair.source, pair.upstream, tables='[[tables]]\nname = "scan"\n')
    keenly = (tmp_path / "dbsync.toml").read_text().replace("[service]", "[service]\nsilence = 1.0")
    (tmp_path / "dbsync.toml").write_text(keenly)
    found.install()
    return found


SCANS = "CREATE TABLE scan (id serial PRIMARY KEY, code text NOT NULL UNIQUE, data bytea)"
RUN = """
import atexit, pathlib
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print([line for line in status.read_text().splitlines() if line.startswith("VmHWM")][0]))
from dbsync.cli.main import run
run()
"""
RANDOM = """
INSERT INTO scan (code, data)
SELECT 'random', decode(string_agg(r.bytes, ''), 'hex')
FROM (SELECT repeat(string_agg(md5(random()::text), ''), 16) AS bytes FROM generate_series(1, {0}) m, generate_series(1, 4096) GROUP BY m) r
"""
"""Megabytes of bytes that do not pack: what repeats is further away than pglz looks."""


def peak_memory(here: Place) -> int:
    """Run the service once and give the kilobytes that it had at most."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    ran = subprocess.run(
        [sys.executable, "-c", RUN, "run", "--once"],
        cwd=here.folder, env={**kept, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shipped, peak = ran.stdout.splitlines()
    assert shipped == "1 change shipped to community"
    return int(peak.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
@ONE_MIXTURE
def test_a_large_bytea_passes_through_a_process_of_less_than_100_mb(here: Place) -> None:
    query = "SELECT code, md5(data) FROM scan"
    here.source.sql(RANDOM.format(MEGABYTES).encode())
    peaks = [peak_memory(here)]
    assert here.upstream.sql(query) == here.source.sql(query)
    here.source.sql("UPDATE scan SET data = convert_to(repeat(chr(0 + 48), %s * 1048576), 'UTF8')", (MEGABYTES,))
    peaks.append(peak_memory(here))
    assert here.upstream.sql(query) == here.source.sql(query)
    assert max(peaks) < MOST_MEMORY, peaks
