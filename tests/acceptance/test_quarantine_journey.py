"""A row goes into quarantine and comes out again, as the people at both ends see it, by the real commands."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.acceptance.places import Place, place
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.service import until


def cases(ready: Place) -> int:
    """Count the cases that wait."""
    return int(ready.must("quarantine", "list", "--json").json["total"])


@ONE_MIXTURE
def test_a_row_in_quarantine_is_found_understood_and_released(pair: Pair, tmp_path: Path) -> None:
    ready = place(tmp_path, pair.source, pair.upstream)
    ready.install()
    with ready.service() as service:
        ready.source.sql("INSERT INTO subject (identifier, initials) VALUES ('SUBJ-0012', 'AB')")
        ready.see("subject", 1)
        ready.upstream.sql("DELETE FROM subject")
        ready.source.script("INSERT INTO visit (subject_id, code, note) VALUES (1, 1000, 'private')")
        ready.source.script("UPDATE visit SET note = 'more private'")
        until(lambda: cases(ready) == 1, "the visit is not in quarantine")

        ready.source.sql("INSERT INTO subject (identifier) VALUES ('SUBJ-0013')")
        ready.see("subject", 1)
        ready.source.sql("INSERT INTO visit (subject_id, code) VALUES (2, 1000)")
        ready.see("visit", 1)

        (case,) = ready.must("quarantine", "list", "--json").json["cases"]
        shown = ready.must("quarantine", "show", str(case["id"])).out
        assert f"Row {case['id']}: insert visit (SUBJ-0012, 1000), from field-07 batch" in shown
        assert "Why    there is no subject (SUBJ-0012) upstream." in shown
        assert "private" not in shown + service.log.read_text()

        (advice,) = [line for line in shown.splitlines() if line.startswith("Try")]
        ready.must(*shlex.split(advice.removeprefix("Try").split("      at ")[0])[1:])
        until(lambda: cases(ready) == 0, "the visit did not go in by itself")
        ready.see("visit", 2)
        assert service.terminate() == 0
    assert "source and upstream agree" in ready.must("verify").out


@ONE_MIXTURE
def test_a_row_that_is_wrong_is_skipped_with_a_reason_and_stays_in_the_ledger(pair: Pair, tmp_path: Path) -> None:
    ready = place(tmp_path, pair.source, pair.upstream)
    ready.install()
    ready.upstream.sql("ALTER TABLE subject ADD CONSTRAINT two_letters CHECK (length(initials) = 2)")
    ready.source.script("INSERT INTO subject (identifier, initials) VALUES ('A', 'ABC'), ('B', 'AB')")
    ready.must("run", "--once")
    ready.see("subject", 1)
    (case,) = ready.must("quarantine", "list", "--json").json["cases"]
    still = ready.run("quarantine", "retry", str(case["id"]))
    assert (still.code, case["conflict"]) == (1, "check_violation")
    assert "two_letters" in still.out
    ready.must("quarantine", "skip", str(case["id"]), "--reason", "not a subject of this study")
    assert ready.must("quarantine", "list").out == "nothing is in quarantine\n"
    skipped = ready.must("quarantine", "list", "--state", "skipped", "--json").json["cases"]
    assert [row["decision"] for row in skipped] == ["not a subject of this study"]
    assert ready.upstream.sql("SELECT identifier FROM subject") == [("B",)]
