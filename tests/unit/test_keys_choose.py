from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbsync.keys.choose import candidates, choose
from dbsync.model.catalog import Table
from tests.unit.catalogs import CRF, SUBJECT, VISIT, table, unique_key


def test_the_only_unique_key_is_the_natural_key() -> None:
    choice = choose(SUBJECT)
    assert choice.columns == ("subject_identifier",)
    assert choice.why == "unique (subject_identifier)"
    assert not choice.refused


def test_a_key_may_hold_references() -> None:
    assert choose(VISIT).columns == ("subject_id", "visit_code")
    assert choose(CRF).columns == ("visit_id",)


def test_the_configuration_comes_first() -> None:
    assert choose(SUBJECT, ["site_id"]).columns == ("site_id",)
    assert choose(SUBJECT, "row_id").row_id


def test_several_candidates_are_refused_and_listed() -> None:
    two = table("t", "id auto", "code text", "name text", unique=["code", "name"])
    choice = choose(two)
    assert choice.columns == ()
    assert choice.candidates == (("code",), ("name",))
    assert choice.refused == "several unique keys would do"


def test_a_uuid_primary_key_comes_after_a_natural_key() -> None:
    panel = table("panel", "id uuid", "name text", unique=["name"])
    assert choose(panel).columns == ("name",)


def test_a_uuid_primary_key_is_the_key_where_there_is_nothing_else() -> None:
    assert choose(table("reading", "id uuid", "value text")).columns == ("id",)


def test_a_primary_key_that_is_not_generated_is_the_key() -> None:
    assert choose(table("country", "iso text", pk="iso")).columns == ("iso",)


def test_generated_ids_are_no_key() -> None:
    choice = choose(table("log", "id auto", "line text"))
    assert choice.columns == ()
    assert choice.refused == "its only unique values are generated ids, and ids never travel"


def test_a_unique_key_with_a_generated_number_is_no_key() -> None:
    assert choose(table("t", "id uuid", "number int auto", unique=["number"])).columns == ("id",)


def test_a_unique_key_over_a_computed_column_is_no_key() -> None:
    assert candidates(table("t", "id auto", "slug text generated", unique=["slug"])) == ()


def test_a_nullable_unique_key_is_no_key() -> None:
    choice = choose(table("t", "id auto", "code text null", unique=["code"]))
    assert choice.columns == ()
    assert choice.refused == "unique (code) allows NULL, so it identifies not every row"


def test_a_nullable_unique_key_is_one_when_nulls_are_not_distinct() -> None:
    key = unique_key("code", nulls_not_distinct=True)
    assert choose(table("t", "id auto", "code text null", unique=[key])).columns == ("code",)


def test_a_deferrable_unique_key_has_to_be_configured() -> None:
    deferrable = table("t", "id auto", "code text", unique=[unique_key("code", immediate=False)])
    assert "deferrable" in choose(deferrable).refused
    assert choose(deferrable, ["code"]).columns == ("code",)


def test_a_key_that_refers_to_its_own_table_is_refused() -> None:
    tree = table(
        "tree", "id auto", "parent_id int", "name text", unique=["parent_id name"], fk=["parent_id -> tree.id"]
    )
    choice = choose(tree)
    assert choice.columns == ()
    assert "never come to an end" in choice.refused


def test_a_self_reference_by_natural_values_is_no_circle() -> None:
    tree = table(
        "tree", "id auto", "code text", "parent text", unique=["code parent", "code"], fk=["parent -> tree.code"]
    )
    assert choose(tree).columns == ("code",)


def test_an_inherited_table_is_keyed_by_its_parent_even_beside_a_unique_key() -> None:
    child = table(
        "admission",
        "encounter_ptr_id int",
        "number text",
        pk="encounter_ptr_id",
        unique=["number"],
        fk=["encounter_ptr_id -> encounter.id"],
    )
    choice = choose(child)
    assert choice.columns == ("encounter_ptr_id",)
    assert choice.why == "its row is one with encounter's"


def test_a_table_between_two_others_is_keyed_by_the_pair() -> None:
    between = table(
        "subject_tags", "id auto", "subject_id int", "tag_id int", unique=["subject_id tag_id"],
        fk=["subject_id -> subject.id", "tag_id -> tag.id"],
    )  # fmt: skip
    assert choose(between).columns == ("subject_id", "tag_id")


def test_excluded_columns_make_no_key() -> None:
    assert choose(SUBJECT, None, ["subject_identifier"]).columns == ()


def test_a_wider_key_says_nothing_new() -> None:
    wider = table("t", "id auto", "code text", "site text", unique=["code site", "code"])
    assert choose(wider).columns == ("code",)


def test_a_key_needs_types_that_compare() -> None:
    assert choose(table("t", "id auto", "doc json", unique=["doc"])).columns == ()


COLUMNS = ["id auto", "a text", "b text null", "c uuid", "d int generated", "e json", "f auto"]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    names = [words.split()[0] for words in COLUMNS]
    uniques = draw(st.lists(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True), max_size=5))
    key = draw(st.sampled_from(["id", "c", "a c", "a"]))
    return table("t", *COLUMNS, pk=key, unique=[unique_key(" ".join(columns)) for columns in uniques])


@given(tables())
def test_whatever_is_chosen_identifies_rows_everywhere(made: Table) -> None:
    choice = choose(made)
    assert bool(choice.columns) != bool(choice.refused)
    for name in choice.columns:
        column = made.column(name)
        assert column is not None
        assert not (column.auto or column.nullable or column.generated)
        assert column.equals
    keys = [set(unique.columns) for unique in made.uniques] + [set(made.primary_key)]
    assert not choice.columns or set(choice.columns) in keys


@given(tables())
def test_candidates_are_minimal_and_distinct(made: Table) -> None:
    found = [set(columns) for columns in candidates(made)]
    assert not any(one < other for one in found for other in found)
    assert len({frozenset(one) for one in found}) == len(found)
