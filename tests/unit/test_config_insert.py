"""Entries go behind those that are there, whatever else stands in the file and however it is written."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dbsync.config.edit import set_upstream
from dbsync.config.insert import with_entries

NEW = '[[tables]]\nname = "new"'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[node]\n", f"[node]\n\n{NEW}\n"),
        ('[node]\n[[tables]]\nname = "a"', f'[node]\n[[tables]]\nname = "a"\n\n{NEW}\n'),
        (
            '[[tables]]\nname = "a"\nkey = [\n  "b",\n\n  # why\n  "c",\n]\n# of a\n\n# of all\n[node]\n',
            f'[[tables]]\nname = "a"\nkey = [\n  "b",\n\n  # why\n  "c",\n]\n# of a\n\n{NEW}\n\n# of all\n[node]\n',
        ),
        (
            '[[tables]]\nname = "a"\n[tables.references]\nx = "b"\n[batch]\n',
            f'[[tables]]\nname = "a"\n[tables.references]\nx = "b"\n\n{NEW}\n\n[batch]\n',
        ),
        ('tables = [{ name = "a" }]\n', None),
        (
            '[[tables]]\r\nname = "a"\r\n',
            f'[[tables]]\r\nname = "a"\r\n\r\n{NEW}\r\n'.replace('\nname = "new', '\r\nname = "new'),
        ),
    ],
)
def test_entries_go_behind_the_last_one(before: str, after: str | None) -> None:
    found = with_entries(before, [NEW])
    if after is None:
        with pytest.raises(tomllib.TOMLDecodeError):  # who writes them so adds one there himself; it is never written
            tomllib.loads(found)
        return
    assert found == after
    assert [entry["name"] for entry in tomllib.loads(found)["tables"]][-1] == "new"


URL = "file:///media/stick/dbsync"
NEXT = "\n# --- What is shipped ---\n[[tables]]\nname = 'a'\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'[upstream]\nurl = "a"  # here\n{NEXT}', f'[upstream]\nurl = "{URL}"  # here\nname = "community"\n{NEXT}'),
        (
            f'[upstream]\nname = "b"   # as on the lid\nurl = "a"\n{NEXT}',
            f'[upstream]\nname = "community"   # as on the lid\nurl = "{URL}"\n{NEXT}',
        ),
        (
            f'[upstream]\nurl = "a"\nrecovery = [\n  "x",\n]\n{NEXT}',
            f'[upstream]\nurl = "{URL}"\nrecovery = [\n  "x",\n]\nname = "community"\n{NEXT}',
        ),
        ('upstream = { url = "a" }\n[node]\n', f'upstream = {{ url = "{URL}", name = "community"}}\n[node]\n'),
        ("[node]\n", f'[node]\n[upstream]\nurl = "{URL}"\nname = "community"\n'),
    ],
)
def test_the_upstreams_name_goes_into_its_section_and_not_under_the_next_ones_heading(
    tmp_path: Path, before: str, after: str
) -> None:
    file = tmp_path / "dbsync.toml"
    file.write_text(before)
    set_upstream(file, URL, "community")
    assert file.read_text().replace("\n\n[upstream]", "\n[upstream]") == after
