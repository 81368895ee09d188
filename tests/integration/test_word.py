"""What a service leaves word of, where the source had no connection left for it at that moment."""

from __future__ import annotations

from pathlib import Path

from dbsync.config.load import load
from dbsync.service.link import LinkState
from dbsync.service.word import Word
from tests.acceptance.places import place
from tests.support.databases import ONE_MIXTURE, Pair


@ONE_MIXTURE
def test_word_that_could_not_be_left_is_left_at_the_next_look(pair: Pair, tmp_path: Path) -> None:
    here = place(tmp_path, pair.source, pair.upstream)
    here.install()
    here.must("run", "--once")
    good = load(here.folder / "dbsync.toml", {})
    away = good.model_copy(update={"node": good.node.model_copy(update={"source": "host=127.0.0.1 port=1"})})
    current = [away]
    word = Word(config=lambda: current[0])
    assert word.on(LinkState.STREAMING)
    current[0] = good
    assert here.status()["link"]["state"] == "stopped"
    assert not word.on(LinkState.STREAMING), "it was said in the log before"
    with here.source.connect() as service:
        service.execute("SELECT pg_advisory_lock(hashtextextended('dbsync link community', 0))")
        assert here.status()["link"]["state"] == "streaming"
