"""What verify says at the end, and its JSON."""

from __future__ import annotations

from dbsync.model.names import TableName
from dbsync.verify.report import ColumnDifference, Difference, Kind, Report, TableReport
from dbsync.verify.words import cells, closing, listing, remarks, remedies

VISIT = TableName("public", "visit")
BOX = TableName("lab", "Box 7")
AGREEING = Report(tables=tuple(TableReport(table=VISIT, source_rows=n, upstream_rows=n) for n in (1_000, 200, 4)))


def test_agreement_is_one_line() -> None:
    assert list(closing(AGREEING)) == ["3 tables, 1,204 rows: source and upstream agree."]
    assert not [*listing(AGREEING), *remarks(AGREEING), *remedies(AGREEING)]


def test_pending_changes_explain_a_difference() -> None:
    report = Report(tables=(TableReport(table=VISIT, source_rows=3, upstream_rows=2, missing=1),))
    assert list(closing(report, pending=37)) == [
        "1 table, 3 rows: 1 row in 1 table differs.",
        "37 changes are not shipped yet.",
    ]
    assert next(remedies(report, pending=37)).startswith("Try    dbsync run --once")


def test_only_extras_lead_to_the_flag_for_shared_upstreams() -> None:
    report = Report(tables=(TableReport(table=VISIT, source_rows=3, upstream_rows=5, extra=2),))
    assert not report.agrees()
    assert "--ignore-extra" in list(closing(report))[-1]
    assert list(closing(report, ignore_extra=True)) == [
        "1 table, 3 rows: source and upstream agree (2 extra rows upstream ignored)."
    ]
    assert not any("--repair" in line for line in remedies(report))


def test_where_changes_wait_in_quarantine_others_alone_are_sent_again() -> None:
    names = [TableName("public", f"t{number}") for number in range(5)]
    report = Report(tables=tuple(TableReport(table=name, source_rows=1, missing=1) for name in names))
    first, second = remedies(report, held={*names[:3]})
    assert first.startswith("Try    dbsync quarantine list t0 t1 t2   ")
    assert second == "Try    dbsync verify --repair t3 t4   sends these rows again"
    (alone,) = remedies(report, held={names[0]})
    assert "quarantine" in alone, "more than fit into a command are sent when that is decided"


def test_extra_rows_that_are_ignored_are_not_counted_among_those_that_differ() -> None:
    tables = (
        TableReport(table=VISIT, source_rows=3, upstream_rows=108_010, extra=108_007, different=1),
        TableReport(table=BOX, source_rows=1, upstream_rows=2, extra=1),
    )
    differing = Difference(table=VISIT, kind=Kind.DIFFERENT, key=("S-1",))
    extra = Difference(table=BOX, kind=Kind.EXTRA, key=("8",))
    report = Report(tables=tables, differences=(differing, extra))
    assert list(closing(report, ignore_extra=True)) == [
        "2 tables, 4 rows: 1 row in 1 table differs (108,008 extra rows upstream ignored)."
    ]
    assert list(listing(report, ignore_extra=True)) == ["visit (S-1)   different"]
    assert list(remedies(report, ignore_extra=True)) == ["Try    dbsync verify --repair visit   sends these rows again"]
    assert next(closing(report)) == "2 tables, 4 rows: 108,009 rows in 2 tables differ."


def test_rows_are_listed_by_key_and_columns_by_name() -> None:
    differences = (
        Difference(
            table=VISIT,
            kind=Kind.DIFFERENT,
            key=("S-1", "1000"),
            columns=(ColumnDifference(column="at"), ColumnDifference(column="n", source="1")),
        ),
        Difference(table=BOX, kind=Kind.MISSING, key=("7",), captured=False),
        Difference(table=BOX, kind=Kind.EXTRA, key=(None,)),
    )
    tables = (TableReport(table=VISIT, different=1), TableReport(table=BOX, missing=5, extra=1))
    report = Report(tables=tables, differences=differences)
    assert list(listing(report)) == [
        "visit (S-1, 1000)   different: at, n '1' -> upstream null",
        'lab."Box 7" (7)   missing: not captured yet (known here by its primary key)',
        'lab."Box 7" (null)   extra',
        "... and 4 rows more (--limit)",
    ]
    assert "Try    dbsync verify --repair visit 'lab.\"Box 7\"'   sends these rows again" in list(remedies(report))
    assert any("dbsync verify --relay --repair visit" in line for line in remedies(report, way="--relay"))


def test_what_was_not_compared_is_said_and_is_no_agreement() -> None:
    lacking = TableReport(table=VISIT, missing_columns=("born", "site_id"), other_origin=2, notes=("a is x and y",))
    report = Report(tables=(lacking, TableReport(table=BOX, problem="upstream has no such table")))
    assert not report.agrees(ignore_extra=True)
    assert list(remarks(report)) == [
        "visit: only one side has born; site_id, so it was not compared",
        "visit: 2 rows upstream of other origin, left out",
        "visit: a is x and y",
        'lab."Box 7": not compared, upstream has no such table',
    ]
    assert list(closing(report)) == ["2 tables, 0 rows: 2 tables could not be compared in full."]
    assert cells(report.tables[1])[1:] == ("-",) * 5


def test_json_has_every_count_and_every_listed_row() -> None:
    difference = Difference(table=VISIT, kind=Kind.DIFFERENT, key=("S-1",), columns=(ColumnDifference(column="at"),))
    report = Report(tables=(TableReport(table=VISIT, source_rows=1, different=1),), differences=(difference,))
    found = report.as_json(pending=3)
    assert found["agree"] is False
    assert found["pending"] == 3
    assert found["tables"] == [
        {
            "table": "visit",
            "source_rows": 1,
            "upstream_rows": 0,
            "missing": 0,
            "extra": 0,
            "different": 1,
            "unnamed": 0,
            "not_captured": 0,
            "other_origin": 0,
            "missing_columns": [],
            "notes": [],
            "problem": None,
        }
    ]
    assert found["differences"] == [
        {
            "table": "visit",
            "kind": "different",
            "key": ["S-1"],
            "captured": True,
            "columns": [{"column": "at", "source": None, "upstream": None}],
        }
    ]


def test_what_repairs_many_tables_can_be_typed_as_it_stands() -> None:
    """Without a name all of those that differ are meant."""
    report = Report(tables=tuple(TableReport(table=TableName("public", name), missing=1) for name in "abcd"))
    assert list(remedies(report)) == ["Try    dbsync verify --repair   sends these rows again"]
