"""The pure orders: tables written upstream, tables filled first, and layouts that mean the same wherever they are read."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dbsync.apply.order import delete_order, write_order
from dbsync.capture.backfill import groups
from dbsync.model.catalog import ForeignKey, Table
from dbsync.model.layout import Layout, LayoutGeneric
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree, Mode, RegisteredTable
from tests.property.layouts import names as text
from tests.property.layouts import references as key_references

NAMES = [TableName("public", f"t{i}") for i in range(6)]
Edges = frozenset[tuple[int, int, str]]
"""From a table to another one, and whether the reference ``may`` be null, ``must`` not, or must find its row ``now``; or
whether a constraint on ``plain`` values asks for that row at once."""

edges = st.frozensets(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["may", "must", "now", "plain"])), max_size=12
)
names = st.builds(TableName, text, text)
words = st.lists(text, max_size=3, unique=True).map(tuple)


def reference(place: int, target: int, kind: str) -> KeyReference:
    """Make a reference whose column says of which kind it is."""
    return KeyReference(
        columns=(f"{kind}_{place}_{target}",), target_columns=("id",), target=KeyTree(table=NAMES[target])
    )


def references(found: Edges, table: int) -> tuple[KeyReference, ...]:
    """Give the references of a table."""
    return tuple(reference(i, to, kind) for i, to, kind in sorted(found) if i == table and kind != "plain")


def plain(found: Edges, table: int) -> tuple[ForeignKey, ...]:
    """Give the constraints of a table on values that travel as they are."""
    return tuple(
        ForeignKey(name=f"to_{to}", columns=(f"code_{to}",), target=NAMES[to], target_columns=("code",))
        for i, to, kind in sorted(found)
        if i == table and kind == "plain"
    )


def reachable(found: Edges) -> set[tuple[int, int]]:
    """Say naively who can be reached from whom."""
    pairs = {(a, b) for a, b, _ in found}
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= more
    return pairs


def order(found: Edges) -> list[tuple[int, frozenset[TableName]]]:
    """Order all tables, two layouts of the first one among them."""
    layouts = {
        10 * i + twin: Layout(table=NAMES[i], columns=(("c", f"t{twin}"),), references=references(found, i))
        for i in range(len(NAMES))
        for twin in range(2 if i == 0 else 1)
    }

    def is_required(table: TableName, columns: Sequence[str]) -> bool:
        return not columns[0].startswith("may")

    def may_follow(table: TableName, reference: KeyReference) -> bool:
        return not reference.columns[0].startswith("now")

    def asked(layout: Layout) -> list[TableName]:
        return [NAMES[to] for i, to, kind in sorted(found) if NAMES[i] == layout.table and kind == "plain"]

    return [(step.layout, step.late) for step in write_order(layouts, is_required, may_follow, asked)]


@given(edges)
def test_what_is_referred_to_is_written_first_and_a_cycle_is_cut_where_null_is_allowed(found: Edges) -> None:
    steps = order(found)
    place = {layout // 10: i for i, (layout, _) in enumerate(steps)}
    assert sorted(layout for layout, _ in steps) == [0, 1, 10, 20, 30, 40, 50]
    within = reachable(found)
    needed = reachable(frozenset(edge for edge in found if edge[2] != "may"))
    at_once = reachable(frozenset(edge for edge in found if edge[2] in ("now", "plain")))
    circular = any(a != b and (b, a) in within for a, b in within)
    for a, b, kind in found:
        if a != b and not circular:
            assert place[b] < place[a], "no cycle: every target comes first"
        if a != b and kind != "may" and (b, a) not in needed:
            assert place[b] < place[a], "a cycle is not cut at a required reference"
        if a != b and kind in ("now", "plain") and (b, a) not in at_once:
            assert place[b] < place[a], "where all are required, it is not cut at one that must find its row at once"
    for layout, late in steps:
        targets = {b for a, b, kind in found if a == layout // 10 and b != a and kind != "plain"}
        assert late == {NAMES[b] for b in targets if place[b] > place[layout // 10]}


@given(edges)
def test_the_order_of_writing_is_the_same_every_time(found: Edges) -> None:
    assert order(found) == order(frozenset(sorted(found, reverse=True)))


pairs = st.frozensets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=8)


@given(st.permutations(NAMES), pairs, pairs)
def test_rows_go_before_those_that_they_are_found_by_and_before_those_that_are_asked_for_at_once(
    written: list[TableName],
    asking: frozenset[tuple[TableName, TableName]],
    finding: frozenset[tuple[TableName, TableName]],
) -> None:
    asked_by, found_by = ({there: [a for a, b in some if b == there] for there in NAMES} for some in (asking, finding))
    order = delete_order(written, asked_by, found_by)
    assert sorted(order) == sorted(written)
    assert all(order.index(a) < order.index(b) for a, b in _no_circle(finding))
    if not finding:
        assert all(order.index(a) < order.index(b) for a, b in _no_circle(asking))
    assert delete_order(written, {}) == tuple(reversed(written))


def _no_circle(found: frozenset[tuple[TableName, TableName]]) -> list[tuple[TableName, TableName]]:
    """Give those of which no way leads back."""
    numbers = {name: i for i, name in enumerate(NAMES)}
    back = reachable(frozenset((numbers[a], numbers[b], "now") for a, b in found))
    return [(a, b) for a, b in found if a != b and (numbers[b], numbers[a]) not in back]


@given(edges, st.permutations(range(6)))
def test_tables_that_refer_to_each_other_are_filled_together_after_those_they_refer_to(
    found: Edges, shuffled: list[int]
) -> None:
    tables = [
        RegisteredTable(
            table=Table(
                name=NAMES[i], oid=i, owner="app", columns=(), primary_key=("id",), foreign_keys=plain(found, i)
            ),
            mode=Mode.SHIP,
            key=KeyTree(table=NAMES[i], parts=(KeyColumn(column="c"),)),
            references=references(found, i),
        )
        for i in shuffled
    ]
    within = reachable(found)
    made = [[NAMES.index(table.name) for table in group] for group in groups(tables)]
    assert sorted(i for group in made for i in group) == list(range(6))
    place = {i: number for number, group in enumerate(made) for i in group}
    for a in range(6):
        for b in range(6):
            together = a == b or ((a, b) in within and (b, a) in within)
            assert (place[a] == place[b]) == together
    assert all(place[b] <= place[a] for a, b, _ in found)
    assert made == [[NAMES.index(t.name) for t in group] for group in groups(tables[::-1])]


def trees(below: st.SearchStrategy[KeyTree]) -> st.SearchStrategy[KeyTree]:
    """Make keys that run through other keys."""
    parts = st.one_of(text.map(lambda name: KeyColumn(column=name)), key_references(below))
    return st.builds(KeyTree, table=names, parts=st.lists(parts, min_size=1, max_size=3).map(tuple))


keys = st.recursive(
    st.one_of(
        st.builds(KeyTree, table=names, parts=st.lists(st.builds(KeyColumn, column=text), min_size=1).map(tuple)),
        st.builds(KeyTree, table=names, row_id=words.filter(bool)),
    ),
    trees,
    max_leaves=5,
)
layouts = st.builds(
    Layout,
    table=names,
    columns=st.lists(st.tuples(text, text), max_size=4, unique_by=lambda column: column[0]).map(tuple),
    insert_only=words,
    references=st.lists(key_references(keys), max_size=3).map(tuple),
    generics=st.lists(
        st.builds(LayoutGeneric, type_column=text, id_column=text, targets=st.lists(keys, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
    key=st.none() | keys,
)


@given(layouts)
def test_a_layout_reads_back_as_it_was_written_and_keeps_its_identity(layout: Layout) -> None:
    again = Layout.read(layout.definition())
    assert again == layout
    assert again.identity == layout.identity
    assert 0 <= layout.identity < 1 << 63


@given(layouts, layouts)
def test_layouts_that_say_something_else_have_another_identity(one: Layout, other: Layout) -> None:
    assert (one == other) == (one.identity == other.identity)


@given(layouts)
def test_the_elements_of_refs_lie_one_behind_the_other(layout: Layout) -> None:
    place = 2 if layout.keyed_by_row_id else 1
    for found, first in layout.reference_positions():
        assert first == place
        assert found.width == len(found.target.leaves()) + found.soft
        place += found.width
    for _, first in layout.generic_positions():
        assert first == place
        place += 2
    for i, (name, _) in enumerate(layout.columns, start=1):
        assert layout.position(name) == i
    assert layout.position("no such column") is None


@given(layouts)
def test_a_layout_whose_columns_are_called_otherwise_means_the_same_places(layout: Layout) -> None:
    asked: set[tuple[TableName, str]] = set()

    def longer(table: TableName, column: str) -> str:
        asked.add((table, column))
        return f"{column}+"

    other = layout.called(longer)
    assert other.called(lambda _, column: column[:-1]) == layout
    assert {column for table, column in asked if table == layout.table} >= set(layout.travelling)
    assert other.travelling == tuple(f"{column}+" for column in layout.travelling)
    assert [place for _, place in other.reference_positions()] == [place for _, place in layout.reference_positions()]
