"""The documents say what is: their commands run, their links lead somewhere, and every command is described."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from psycopg import sql

from dbsync.config.load import parse
from dbsync.config.models import Config
from tests.docs.ground import Ground, ground
from tests.docs.manual import PAGE, ROOT, documents, expect_command, helps, names, page
from tests.support.databases import ONE_MIXTURE

__all__ = ["ground"]

README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
APART = {"decisions", "reference", "benchmarks"}
"""Folders of pages that are made by programs, or tell what was once."""
TYPED_FROM = [page for page in DOCUMENTS if page.parent.name not in APART and page.name != "CHANGELOG.md"]
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def blocks(document: Path, language: str) -> list[str]:
    """Give a document's blocks of code, also those in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", document.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def commands(document: Path) -> list[list[str]]:
    """Give the dbsync commands that a document shows, in blocks and in running text, as words."""
    lines = [line.strip().removeprefix("$ ") for block in blocks(document, r"\w*") for line in block.splitlines()]
    shown = [line for line in lines if re.match(r"dbsync [a-z]", line)]
    shown += re.findall(r"`(dbsync [a-z][^`\n]*)`", document.read_text())
    return [shlex.split(re.split(r"  #|;|\s{3}", line)[0], comments=True) for line in shown]


def anchors(document: Path) -> set[str]:
    """Give the anchors of a document's headings, as web sites make them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("document", TYPED_FROM, ids=lambda path: path.name)
def test_commands_shown_exist_with_their_options(document: Path) -> None:
    for _, *words in commands(document):
        expect_command(words)


def test_whole_configurations_that_are_shown_are_read() -> None:
    shown = [block for page in TYPED_FROM for block in blocks(page, "toml") if "[node]" in block]
    assert len(shown) >= 4
    for text in shown:
        assert isinstance(parse(text, path="dbsync.toml", environ={}), Config)


def test_every_task_is_in_the_index_of_the_manual() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    tasks = {f"how-to/{page.name}" for page in (ROOT / "docs" / "how-to").glob("*.md")}
    assert tasks - set(re.findall(r"\]\(([^)#]+)", index)) == set()


def test_every_command_is_described() -> None:
    known = set(names(helps()[""]))
    told = {words[1] for words in commands(README) + commands(GUIDE) + commands(ROOT / "CHANGELOG.md")}
    told |= set(re.findall(r"`([a-z-]+)`", (ROOT / "CHANGELOG.md").read_text()))
    assert known - told == set()


def test_the_page_of_commands_is_what_the_program_says() -> None:
    assert PAGE.read_text() == page(), "python -m tests.docs.manual"


def test_the_documents_of_the_servers_are_what_they_serve() -> None:
    assert {path: path.read_text() for path in documents()} == documents(), "python -m tests.docs.manual"


def test_the_two_commands_are_on_the_first_screen() -> None:
    first_screen = README.read_text().splitlines()[:24]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in ("demo", "test"):
        assert target in targets
        assert any(line.startswith(f"    make {target} ") for line in first_screen)


def test_the_quick_start_has_less_than_ten_lines() -> None:
    (quick_start,) = blocks(README, "sh")
    assert len(quick_start.splitlines()) < 10


def test_the_targets_that_contributors_are_told_of_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = re.findall(r"^make ([a-z ]+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {word for line in told for word in line.split()} <= set(targets)


def test_every_decision_is_listed_and_numbered() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert re.findall(r"\]\((0.*?\.md)\)", (folder / "README.md").read_text()) == records
    for record in records:
        assert (folder / record).read_text().startswith(f"# {record[:4]}: ")


@ONE_MIXTURE
def test_the_guides_way_in_and_out_works_as_it_stands(ground: Ground) -> None:
    apart = ("clinic_crf", "capture on", "pg_dump", "dbsync serve", "dbsync enrol")
    sections = [block for block in blocks(GUIDE, "sh") if not any(word in block for word in apart)]
    *way_in, way_out = sections
    assert "source and upstream agree" in ground.sh("".join(way_in))
    ground.pair.source.script("INSERT INTO clinic_subject (identifier, name) VALUES ('S-1002', 'Zawadi')")
    assert "triggers removed from 2 tables" in ground.sh(way_out)
    assert ground.pair.upstream.value("SELECT count(*) FROM clinic_subject") == 2


@ONE_MIXTURE
def test_the_quick_start_works_as_it_stands_and_then_the_guides_rights_are_enough(ground: Ground) -> None:
    (quick_start,) = blocks(README, "sh")
    install, *rest = quick_start.splitlines()
    assert install.startswith("pip install ")
    assert "source and upstream agree" in ground.sh("\n".join(rest))
    assert ground.pair.upstream.value("SELECT name FROM clinic_subject WHERE identifier = 'S-1001'") == "Neema"
    rights, old_sessions = blocks(GUIDE, "sql")
    sides = (ground.pair.source, ground.pair.upstream)
    try:
        for database in sides:
            with database.connect() as connection:
                connection.execute(rights.encode())
        ground.name_services(user="field_sync")
        ground.pair.source.script("INSERT INTO clinic_subject (identifier, name) VALUES ('S-1002', 'Zawadi')")
        assert "1 change shipped" in ground.sh("dbsync run --once")
        assert "nothing pending" in ground.sh("dbsync status")
        with ground.pair.source.connect() as connection:
            assert connection.execute(old_sessions.encode()).description is not None
    finally:
        for database in sides:
            with database.connect() as connection:
                role = sql.Identifier("field_sync")
                connection.execute(sql.SQL("DROP OWNED BY {role}; DROP ROLE {role}").format(role=role))
