"""A laptop that never has a line finds out, by stick, whether its upstream has all its rows, and sends again what it has not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import pytest

from dbsync.bundle import files, sealed
from dbsync.bundle.names import read_sealed_name
from dbsync.changelog import lives
from dbsync.errors import DbsyncError
from dbsync.identity.keys import Keys
from dbsync.service.comparison import Store
from dbsync.verify.paper import Answer
from tests.acceptance.remote import Remote
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.served import admit
from tests.support.service import ServiceProcess, until
from tests.support.tampered import tamper

pytestmark = ONE_MIXTURE


@pytest.fixture
def remote(pair: Pair, databases: Databases, tmp_path: Path) -> Remote:
    found = Remote(tmp_path, pair, databases)
    found.laptop.insert("one", "two", "three", "four")
    found.enrol()
    found.laptop.must("bundle", "export", str(found.stick))
    found.server.must("bundle", "import", str(found.stick))
    return found


def visit(remote: Remote) -> dict[str, Any]:
    """Let the stick go to the server and back."""
    return dict(json.loads(remote.server.must("bundle", "import", str(remote.stick), "--json")))


def verify(remote: Remote, *words: str) -> tuple[int, dict[str, Any]]:
    """Type ``verify`` at the laptop; give its exit code and what it says as JSON."""
    done = remote.laptop.type("verify", *words, "--json")
    return done.code, json.loads(done.out)


def test_agreement_is_known_after_one_visit(remote: Remote) -> None:
    first = remote.laptop.type("verify")
    assert first.code == 75
    assert "17 tables, 4 rows: asked about by the question under way." in first.out
    assert "take the stick to community" in first.err
    assert [one["tables"] for one in visit(remote)["answered"]] == [17]
    done = remote.laptop.type("verify")
    assert (done.code, "17 tables, 4 rows: source and upstream agree." in done.out) == (0, True), done.out + done.err


def test_what_differs_is_found_repaired_and_clean_again_while_people_go_on_working(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    server.database.script(
        "DELETE FROM site WHERE code = 'one'; UPDATE site SET name = 'x' WHERE code = 'two';"
        " UPDATE site SET name = 'x' WHERE code = 'three'; DELETE FROM site WHERE code = 'four';"
        " INSERT INTO site (code) VALUES ('typed in there')"
    )
    laptop.insert("five")
    assert verify(remote)[0] == 75
    laptop.insert("six")  # not on the stick, and not asked about
    laptop.database.script("UPDATE site SET name = 'changed meanwhile' WHERE code = 'three'")
    laptop.database.script("DELETE FROM site WHERE code = 'four'")
    (answered,) = visit(remote)["answered"]
    assert answered["differing"] == 4
    assert server.sites() == {"two", "three", "five", "typed in there"}
    laptop.insert("seven")

    code, found = verify(remote)
    assert (code, found["agree"], found["visit"]["again"]) == (75, None, 1)
    assert shown(found) == {("one", "missing"), ("two", "different")}
    visit(remote)
    done = laptop.type("verify")
    assert done.code == 1, done.out + done.err
    assert "site (one)   missing\n" in done.out
    assert "site (two)   different: name\n" in done.out
    assert "three" not in done.out, "its change went with the second question"
    assert "site: 1 extra row upstream; over this route it does not name them\n" in done.out
    assert "typed in there" not in done.out
    assert "dbsync verify --repair site" in done.out

    again = laptop.type("verify", "--last")
    assert (again.code, again.out) == (1, done.out)
    code, repaired = verify(remote, "--repair")
    assert (code, repaired["repaired"]) == (1, 2)
    assert verify(remote, "--ignore-extra")[0] == 75
    visit(remote)
    clean = laptop.type("verify")
    assert (clean.code, "source and upstream agree (1 extra row upstream ignored)" in clean.out) == (0, True), clean.out
    assert server.sites() == {"one", "two", "three", "five", "six", "seven", "typed in there"}


def shown(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Give the sites that are said to differ, and how."""
    return {(one["key"][0], one["kind"]) for one in found["differences"]}


def test_the_services_at_both_ends_do_it_by_themselves_while_the_stick_is_in(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    server.database.script("DELETE FROM site WHERE code = 'one'")
    with ServiceProcess(laptop.folder) as service, ServiceProcess(server.folder, command=("serve",)) as serving:
        until(lambda: remote.state()[0] == "up to date", "the service has the stick in hand")
        asked = laptop.type("verify", "--repair")
        assert "the service has the stick in hand" in asked.err
        until(lambda: server.sites() >= {"one", "two", "three", "four"}, "what differed was sent again")
        done = laptop.type("verify", "--last")
        assert (done.code, "Repair  1 row in the change log once more" in done.out) == (1, True), done.out + done.err
        laptop.type("verify")
        until(lambda: is_settled(remote), "the answer is home")
        assert laptop.type("verify", "--last").code == 0
        assert (serving.terminate(), service.terminate()) == (0, 0)
    assert [event["differing"] for event in serving.said("comparison_answered")] == [1, 0]


def is_settled(remote: Remote) -> bool:
    """Say whether the laptop's comparison has come to an end."""
    return bool(remote.laptop.database.value("SELECT settled_at IS NOT NULL FROM dbsync.comparison"))


def test_sticks_may_be_lost_take_turns_and_come_late(remote: Remote, tmp_path: Path) -> None:
    laptop, server, stick = remote.laptop, remote.server, remote.stick
    assert verify(remote)[0] == 75
    (question,) = stick.glob("*.question.age")
    other, late = tmp_path / "other", tmp_path / "late"
    other.mkdir()
    laptop.insert("five")
    assert laptop.type("verify", "--stick", str(other)).code == 75
    assert (other / question.name).read_bytes() == question.read_bytes(), "one question, on every stick"
    shutil.copytree(stick, late)
    assert len(json.loads(server.must("bundle", "import", str(other), "--json"))["answered"]) == 1
    assert laptop.type("verify", "--stick", str(other)).code == 0, "what came after it is not in it"
    assert not list(other.glob("*.age")), "nobody asks any more"
    server.must("bundle", "import", str(late))
    answers = list(late.glob("*.answer.age*"))
    assert len(answers) == 2
    server.database.script("DELETE FROM site WHERE code = 'one'")
    laptop.insert("six")
    assert laptop.type("verify", "--stick", str(late)).code == 75, "an answer to a question that nobody asks any more"
    assert not [path for path in late.glob("*.age*") if path in answers]
    server.must("bundle", "import", str(late))
    assert laptop.type("verify", "--stick", str(late)).code == 1


def edited(remote: Remote, answer: Path, old: bytes) -> str:
    """Change a byte."""
    tamper(answer)
    return "it was changed"


def of_somebody_else(remote: Remote, answer: Path, old: bytes) -> str:
    """Answer in the upstream's place."""
    name = read_sealed_name(answer.name)
    assert name is not None
    told = Answer(number=99, at=datetime(2026, 11, 28, tzinfo=UTC), tables=())
    forged = sealed.seal(told.write(), name, keys=Keys.generate(), theirs=remote.laptop.keys.public)
    sealed.write(answer.parent, name, forged)
    return "not its sender's"


def replayed(remote: Remote, answer: Path, old: bytes) -> str:
    """Put the answer to the question before in its place."""
    data, _, signature = old.partition(b"\n\n--\n\n")
    answer.write_bytes(data)
    answer.with_name(f"{answer.name}.minisig").write_bytes(signature)
    return "another file"


@pytest.mark.parametrize("attack", [edited, of_somebody_else, replayed])
def test_nobody_but_the_upstream_answers_and_only_what_was_asked(
    remote: Remote, attack: Callable[[Remote, Path, bytes], str]
) -> None:
    laptop, stick = remote.laptop, remote.stick
    assert verify(remote)[0] == 75
    visit(remote)
    (first,) = stick.glob("*.answer.age")
    old = first.read_bytes() + b"\n\n--\n\n" + first.with_name(f"{first.name}.minisig").read_bytes()
    assert verify(remote)[0] == 0
    remote.server.database.script("DELETE FROM site WHERE code = 'one'")
    assert verify(remote)[0] == 75
    visit(remote)
    (answer,) = stick.glob("*.answer.age")
    good = stick.with_name("good")
    shutil.copytree(stick, good)
    why = attack(remote, answer, old)
    refused = laptop.type("verify")
    assert (refused.code, why in refused.err) == (75, True), refused.err
    assert laptop.type("verify", "--stick", str(good)).code == 1


@pytest.mark.parametrize("attack", ["another node's", "of a revoked node", "for another upstream"])
def test_a_question_is_answered_to_nobody_but_who_may_ask(remote: Remote, attack: str) -> None:
    server, stick = remote.server, remote.stick
    assert verify(remote)[0] == 75
    (question,) = stick.glob("*.question.age")
    if attack == "of a revoked node":
        server.must("nodes", "revoke", "field-01", "--reason", "stolen")
    elif attack == "another node's":
        admit(server.database, "field-02", Keys.generate())
        for path in list(stick.glob("*.question.age*")):
            path.rename(path.with_name(path.name.replace("field-01", "field-02")))
    else:
        name = read_sealed_name(question.name)
        assert name is not None
        strange = sealed.seal(b"x", name, keys=remote.laptop.keys, theirs=Keys.generate().public)
        sealed.write(stick, name, strange)
    done = server.type("bundle", "import", str(stick))
    assert done.code == 1
    assert not list(stick.glob("*.answer.age"))


def test_a_question_that_comes_before_its_batches_waits(remote: Remote) -> None:
    laptop, server, stick = remote.laptop, remote.server, remote.stick
    laptop.insert("five")
    assert verify(remote)[0] == 75
    bundle = stick.with_name("bundle")
    bundle.mkdir()
    for path in stick.glob("*.dbsync*"):
        path.rename(bundle / path.name)
    early = server.type("bundle", "import", str(stick))
    assert (early.code, "a comparison of field-01 has to wait" in early.out) == (1, True)
    server.must("bundle", "import", str(bundle))
    visit(remote)
    assert laptop.type("verify").code == 0


def test_a_question_of_a_life_that_is_over_is_asked_anew(remote: Remote) -> None:
    """What it was about was on a stick that was lost, and goes under other numbers now."""
    laptop = remote.laptop
    laptop.insert("five")
    assert verify(remote)[0] == 75
    for path in remote.stick.iterdir():
        path.unlink()
    with laptop.database.connect() as connection, connection.transaction():
        lives.begin_life(connection, laptop.database.value("SELECT incarnation FROM dbsync.node"))
    assert verify(remote)[0] == 75
    assert (len(visit(remote)["answered"]), remote.server.sites()) == (1, {"one", "two", "three", "four", "five"})
    assert laptop.type("verify").code == 0


@pytest.mark.parametrize("step", range(1, 12))
def test_what_breaks_off_at_any_write_goes_on_where_it_was(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Every file on the stick is written by ``files.write`` or ``files.finish``, every state by a statement of the comparison."""
    remote.server.database.script("DELETE FROM site WHERE code = 'one'")
    calls = iter(range(1, 1_000))

    def breaking(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            if next(calls) == step:
                raise OSError(5, "Input/output error")
            return real(*given, **named)

        return call

    with monkeypatch.context() as broken:
        broken.setattr(files, "write", breaking(files.write))
        broken.setattr(Store, "_ask", breaking(Store._ask))
        with suppress(DbsyncError, OSError):
            remote.laptop.type("verify")
        with suppress(DbsyncError, OSError):
            remote.server.type("bundle", "import", str(remote.stick))
        with suppress(DbsyncError, OSError):
            remote.laptop.type("verify")
    codes: list[int] = []
    while not codes or codes[-1] == 75:
        visit(remote)
        codes.append(remote.laptop.type("verify").code)
        assert len(codes) < 4
    assert codes[-1] == 1 or remote.laptop.type("verify", "--last").code == 1


def test_a_large_table_is_summed_up_and_told_row_by_row_only_where_too_much_differs(remote: Remote) -> None:
    laptop, server, stick = remote.laptop, remote.server, remote.stick
    table: LiteralString = (
        "CREATE TABLE requisition (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, kind text);"
    )
    for place, first in ((laptop, 0), (server, 500_000)):
        place.database.script(table)
        place.database.sql(
            "INSERT INTO requisition SELECT %s + n, 'REQ-' || n, 'serum' FROM generate_series(1, 20000) n", [first]
        )
    server.database.script("DELETE FROM requisition WHERE identifier LIKE 'REQ-77_7'")
    laptop.database.script("UPDATE requisition SET kind = 'plasma' WHERE identifier LIKE 'REQ-33_3'")
    assert verify(remote, "requisition", "--size", "50")[0] == 75
    visit(remote)
    assert sum(path.stat().st_size for path in stick.glob("*.age*")) < 60_000
    code, found = verify(remote)
    (compared,) = found["tables"]
    assert (code, compared["source_rows"], compared["upstream_rows"]) == (1, 20_000, 19_990)
    assert (compared["missing"], compared["different"], compared["extra"]) == (10, 10, 0)

    server.database.script("UPDATE requisition SET kind = 'x' WHERE id > 505000")
    assert verify(remote, "requisition", "--size", "50")[0] == 75
    visit(remote)
    code, found = verify(remote)
    assert (code, found["visit"]["asking"], found["tables"][0]["different"]) == (75, 1, 0)
    visit(remote)
    code, found = verify(remote)
    (compared,) = found["tables"]
    assert (code, compared["missing"], compared["different"], compared["extra"]) == (1, 10, 15_000, 0)
    assert len(found["differences"]) == 20
