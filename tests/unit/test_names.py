"""Table names as people write them and as PostgreSQL stores them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbsync.model.names import DEFAULT_SCHEMA, TableName

identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63)


@given(schema=identifiers | st.just(DEFAULT_SCHEMA), name=identifiers)
@example(schema="public", name="no-break\u00a0")
@example(schema="public", name='say "hello"')
@example(schema="a.b", name=" ")
def test_a_shown_name_is_read_back_as_it_was(schema: str, name: str) -> None:
    table = TableName(schema, name)
    assert TableName.parse(str(table)) == table


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    try:
        table = TableName.parse(text)
    except ValueError:
        return
    assert table.schema
    assert table.name
    assert TableName.parse(str(table)) == table


@pytest.mark.parametrize("text", ["", " ", ".", "a.", ".a", "a..b", "a.b.c", '"a', 'a"b"', '""', '"".a', '"a" b'])
def test_what_names_no_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        TableName.parse(text)


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("visit", "public", "visit"),
        (" lab . visit ", "lab", "visit"),
        ('lab."Box no. 7"', "lab", "Box no. 7"),
        ('"a.b"."c""d"', "a.b", 'c"d'),
        ("Clinic Box", "public", "Clinic Box"),
    ],
)
def test_a_name_is_read_as_it_is_written(text: str, schema: str, name: str) -> None:
    assert TableName.parse(text) == TableName(schema, name)


@pytest.mark.parametrize(
    ("table", "pattern", "selected"),
    [
        ("clinic_visit", "clinic_*", True),
        ("clinic_visit", "public.clinic_*", True),
        ("clinic_visit", "clinic", False),
        ("lab.box", "box", False),
        ("lab.box", "lab.*", True),
        ('lab."Box"', 'lab."B*"', True),
        ("lab.box", "lab.B*", False),
    ],
)
def test_a_pattern_selects_tables_of_its_schema_only(table: str, pattern: str, selected: bool) -> None:
    assert TableName.parse(table).matches(pattern) is selected
