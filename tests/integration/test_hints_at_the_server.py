"""What waits, looked at on the server where it waits: every hint can be typed there as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbsync.errors import ConfigError, DbsyncError, Refusal, SchemaVersionError, UsageError
from tests.integration.people import Person
from tests.integration.test_conflict_commands import TABLES, both_changed, made
from tests.support.databases import Databases, Pair
from tests.support.pipeline import Pipeline

ASKING = (("quarantine", "list"), ("quarantine", "show", "1"), ("conflicts", "list"), ("conflicts", "show", "1"))


def at(folder: Path, source: str, upstream: str = "") -> Person:
    """Give somebody at a keyboard: there is an upstream, or none."""
    config = folder / "dbsync.toml"
    above = f'[upstream]\nurl = "{upstream}"\nname = "central"\n' if upstream else ""
    config.write_text(f'[node]\nname = "community"\nsource = "{source}"\n{above}{TABLES.format("quarantine")}')
    return Person(config=config)


@pytest.fixture
def waiting(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a pipeline where a conflict waits for a person."""
    with made(databases, pair, "quarantine") as ready:
        both_changed(ready)
        yield ready


@pytest.fixture
def server(waiting: Pipeline, tmp_path: Path) -> Person:
    """Somebody at the keyboard of the server where it waits, which has no upstream itself."""
    return at(tmp_path, waiting.upstream.dsn)


def refusal(who: Person, *words: str) -> DbsyncError:
    """Type what is refused, and give the words."""
    with pytest.raises(DbsyncError) as refused:
        who.type(*words)
    return refused.value


def number(server: Person, what: str) -> str:
    """Give the number of the only one there is."""
    (one,) = server.must(what, "list", "--here", "--json").json["cases" if what == "quarantine" else what]
    return str(one["id"])


def typed_there(hint: str) -> list[str]:
    """Give the words of a hint's command."""
    return shlex.split(hint.partition("   ")[0])[1:]


def test_a_laptop_that_reaches_its_server_by_https_is_told_what_to_type_there(pair: Pair, tmp_path: Path) -> None:
    laptop = at(tmp_path, pair.source.dsn, "https://community.example.org")
    for words in ASKING:
        error = refusal(laptop, *words)
        assert isinstance(error, UsageError)
        assert error.hint == "on that server, type the same with --here"


def test_on_a_server_without_an_upstream_the_same_with_here_is_what_answers(server: Person, waiting: Pipeline) -> None:
    for words in ASKING:
        error = refusal(server, *words)
        assert isinstance(error, ConfigError)
        assert error.hint == "type the same with --here"
    for what in ("quarantine", "conflicts"):
        server.must(what, "list", "--here")
        server.must(what, "show", number(server, what), "--here")


def test_before_the_installation_a_server_is_told_the_command_that_makes_it_one(pair: Pair, tmp_path: Path) -> None:
    for upstream in ("", "https://central.example.org"):
        server = at(tmp_path, pair.upstream.dsn, upstream)
        for words in ASKING:
            error = refusal(server, *words, "--here")
            assert isinstance(error, SchemaVersionError)
            assert error.hint == "dbsync install-upstream --here"


def test_every_hint_about_what_waits_here_can_be_typed_as_it_stands(server: Person, waiting: Pipeline) -> None:
    conflict, case = number(server, "conflicts"), number(server, "quarantine")
    listed = server.must("conflicts", "list", "--here")
    assert listed.err == f"1 conflict: dbsync conflicts show {conflict} --here\n"
    shown = server.must(*typed_there(listed.err.partition(": ")[2].strip())).out
    assert "it waits for a person: dbsync quarantine list --here\n" in shown
    for words in (
        ("conflicts", "show", "99"),
        ("conflicts", "undo", conflict),
        ("quarantine", "show", "99"),
        ("quarantine", "retry"),
    ):
        hint = refusal(server, *words, "--here").hint
        assert "--here" in hint, words
        server.must(*typed_there(hint))
    assert f"skip {case} --here" in refusal(server, "quarantine", "skip", case, "--reason", " ", "--here").hint
    server.must("quarantine", "skip", case, "--reason", "no", "--here")
    error = refusal(server, "quarantine", "retry", case, "--here")
    assert isinstance(error, Refusal)
    server.must(*typed_there(error.hint))


def test_what_was_undone_here_is_shown_by_what_the_refusal_says(
    databases: Databases, pair: Pair, tmp_path: Path
) -> None:
    with made(databases, pair, "source") as ready:
        both_changed(ready)
        server = at(tmp_path, ready.upstream.dsn)
        conflict = number(server, "conflicts")
        server.must("conflicts", "undo", conflict, "--here")
        error = refusal(server, "conflicts", "undo", conflict, "--here")
        assert "was undone before" in error.what
        server.must(*typed_there(error.hint))
