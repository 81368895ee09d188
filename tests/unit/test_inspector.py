"""What the inspector's pages show, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from dbsync.errors import FormatError
from dbsync.identity.keys import Keys
from dbsync.identity.lists import CheckedList, open_list, read_list, seal_list, write_list
from dbsync.inspector import copied
from dbsync.inspector.changes import Change, Checked, Heap, Pile, Raw, Sealed, Wanted, column, fits, read
from dbsync.inspector.door import Door
from dbsync.inspector.pages import Inspector
from dbsync.inspector.reconcile import reconcile
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SUBJECT = KeyTree(table=TableName("public", "subject"), parts=(KeyColumn(column="identifier"),))
TO_SUBJECT = KeyReference(columns=("subject_id",), target_columns=("id",), target=SUBJECT)
VISIT = Layout(
    table=TableName("public", "visit"),
    columns=(("code", "text"), ("note", "text")),
    references=(TO_SUBJECT,),
    key=KeyTree(table=TableName("public", "visit"), parts=(TO_SUBJECT, KeyColumn(column="code"))),
)


def change(op: str, image: list[str | None], refs: list[str], old: list[str | None] | None = None) -> Change:
    """Make a change of a visit."""
    raw = Raw(layout=VISIT, op=op, at=AT, image=image, old_image=old, refs=refs, old_refs=None)
    return read("field-01", raw)


words = st.text(st.sampled_from("ab \t\u00a0"), max_size=4)


@given(box=st.lists(words), data=st.sets(words))
def test_every_identifier_is_in_one_group(box: list[str], data: set[str]) -> None:
    found = reconcile(box, data)
    scanned, known = {one.strip() for one in box if one.strip()}, {one.strip() for one in data}
    assert set(found.both) == scanned & known
    assert set(found.missing_from_data) == scanned - known
    assert set(found.missing_from_box) == known - scanned
    assert len(found.both) + len(found.missing_from_data) == len(scanned)
    assert {one.strip() for one in box if [other.strip() for other in box].count(one.strip()) > 1} - {""} == set(
        found.twice
    )


def test_a_change_is_shown_by_keys_and_never_by_ids() -> None:
    found = change("U", ["1000", "late"], ["S-1"], ["1000", "on time"])
    assert [(leaf.name, leaf.value) for leaf in found.key] == [("subject_id.identifier", "S-1"), ("code", "1000")]
    assert [(one.name, one.before, one.value) for one in found.shown] == [("note", "on time", "late")]
    new = change("I", ["1000", None], ["S-1"])
    assert [(one.name, one.value) for one in new.shown] == [("code", "1000"), ("subject_id.identifier", "S-1")]


def test_identifiers_are_those_of_rows_as_they_end() -> None:
    changes = [
        change("I", ["1", "R-1"], ["S-1"]),
        change("I", ["2", "R-2"], ["S-1"]),
        change("I", ["3", None], ["S-1"]),
        change("U", ["1", "R-9"], ["S-1"], ["1", "R-1"]),
        change("U", ["7", "R-2"], ["S-1"], ["2", "R-2"]),
        change("D", ["7", "R-2"], ["S-1"]),
    ]
    assert column(changes, "note").identifiers == {"R-9": ["field-01"]}
    assert column(changes[:5], "code").identifiers == {"1": ["field-01"], "3": ["field-01"], "7": ["field-01"]}
    assert column(changes, "no such").name == "subject_id.identifier"
    assert column([], "code").name == ""


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Wanted(), True),
        (Wanted(text="LATE"), True),
        (Wanted(text="s-1"), True),
        (Wanted(text="early"), False),
        (Wanted(table="visit", node="field-01", since=AT), True),
        (Wanted(node="field-02"), False),
        (Wanted(since=datetime(2026, 11, 25, tzinfo=UTC)), False),
    ],
)
def test_changes_are_looked_for_by_node_table_time_and_text(wanted: Wanted, shown: bool) -> None:
    assert fits(change("I", ["1000", "late"], ["S-1"]), wanted) is shown


@pytest.mark.parametrize(
    "data",
    [b"", b"PGCOPY", copied.SIGNATURE, copied.SIGNATURE + bytes(8) + b"\x7f\xff", copied.SIGNATURE + b"\0\0\0\1" + bytes(4)],
)  # fmt: skip
def test_what_is_no_copy_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        list(copied.rows([data]))


class Shelf:
    """A few pending changes."""

    place = "field-01"

    def __init__(self) -> None:
        self.kept: list[Checked] = []

    def heap(self) -> Heap:
        pile = Pile(node="field-01", table="visit", changes=1, oldest=AT)
        return Heap(piles=(pile,), sealed=(Sealed(node="field-02", bundles=2, why="sealed for the upstream alone"),))

    def changes(self, wanted: Wanted) -> Iterator[Change]:
        return (one for one in self.all_of("visit", "") if fits(one, wanted))

    def keep(self, checked: Checked, *, identity: UUID, at: datetime) -> CheckedList:
        self.kept.append(checked)
        return checked.by("field-01", identity=identity, at=at)

    def all_of(self, table: str, node: str) -> Iterator[Change]:
        if table == "visit" and node in ("", "field-01"):
            yield change("I", ["1000", "<script>alert(1)</script>"], ["S-1"])


@pytest.fixture
def door() -> Door:
    return Door(8484)


@pytest.fixture
def browser(door: Door) -> TestClient:
    app = Inspector(pending=Shelf(), door=door).app()
    return TestClient(app, base_url="http://127.0.0.1:8484", follow_redirects=False)


def entered(browser: TestClient, door: Door) -> TestClient:
    came = browser.get("/", params={"token": door.token})
    assert (came.status_code, came.headers["location"]) == (303, "/")
    return browser


def test_the_address_opens_the_page_once_and_for_one_browser(browser: TestClient, door: Door) -> None:
    assert browser.get("/").status_code == 403
    assert browser.get("/", params={"token": "x" * 32}).status_code == 403
    page = entered(browser, door).get("/")
    assert (page.status_code, "S-1" in page.text) == (200, True)
    other = TestClient(browser.app, base_url="http://127.0.0.1:8484", follow_redirects=False)
    assert other.get("/", params={"token": door.token}).status_code == 403


def test_other_sites_cannot_ask_in_the_browsers_name(browser: TestClient, door: Door) -> None:
    entered(browser, door)
    form = {"table": "visit", "scan": "1000"}
    assert browser.post("/reconcile", data=form).status_code == 403
    assert browser.post("/reconcile", data=form, headers={"origin": "http://evil.example"}).status_code == 403
    assert browser.post("/reconcile", data=form, headers={"origin": "http://127.0.0.1:8484"}).status_code == 200
    assert browser.get("/", headers={"host": "evil.example:8484"}).status_code == 403


def test_a_link_or_a_picture_on_another_page_signs_no_list(door: Door) -> None:
    """Another port of this computer, the application itself, is the same site: SameSite=Strict sends the cookie along."""
    shelf = Shelf()
    browser = TestClient(Inspector(pending=shelf, door=door).app(), base_url="http://127.0.0.1:8484")
    entered_by = browser.get("/", params={"token": door.token})
    form = {"save": "1", "checked_by": "Naledi", "table": "visit", "box": "S-1"}
    assert entered_by.status_code == browser.get("/reconcile", params=form).status_code == 200
    assert shelf.kept == []
    browser.post("/reconcile", data=form, headers={"origin": "http://127.0.0.1:8484"})
    assert [one.checked_by for one in shelf.kept] == ["Naledi"]


def test_nothing_is_kept_by_the_browser_or_run_by_it_that_is_not_ours(browser: TestClient, door: Door) -> None:
    page = entered(browser, door).get("/")
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text
    assert "field-02: 2 bundles not shown, sealed for the upstream alone" in page.text


@pytest.mark.parametrize(
    "query", ["since=yesterday", "page=9999999999", "page=-1", "table='", "text=%00", "node=%F0%9F"]
)
def test_whatever_is_asked_for_gets_a_page(browser: TestClient, door: Door, query: str) -> None:
    assert entered(browser, door).get(f"/?{query}").status_code == 200


def test_a_form_without_end_is_refused(browser: TestClient, door: Door) -> None:
    origin = {"origin": "http://127.0.0.1:8484"}
    assert (
        entered(browser, door).post("/reconcile", content=b"box=" + b"a" * (2 << 20), headers=origin).status_code == 413
    )


def test_a_sealed_list_is_opened_by_its_upstream_alone() -> None:
    server, node = Keys.generate(), Keys.generate()
    result = reconcile(["R-1", "R-2"], ["R-1"])
    found = Checked(checked_by="Naledi", table="site", column="code", result=result).by(
        "field-01", identity=uuid4(), at=AT
    )
    signed = write_list(found, node)
    sealed = seal_list(signed, server.public)
    assert b"Naledi" not in sealed
    assert read_list(open_list(sealed, server), node.public) == found
    for damaged in (sealed[:-1], sealed[:-9] + b"x" * 9, b"", seal_list(signed, Keys.generate().public)):
        with pytest.raises(FormatError):
            open_list(damaged, server)
