from __future__ import annotations

from dataclasses import replace

import pytest

from dbsync.keys.register import register
from dbsync.model.catalog import Table
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, RegisteredTable
from tests.unit.catalogs import CRF, SITE, SUBJECT, VISIT, catalog, config, table, unique_key

CLINIC = (SITE, SUBJECT, VISIT, CRF)


def registered(name: str, tables: tuple[Table, ...], *entries: str | dict[str, object]) -> RegisteredTable:
    registry, findings = register(config(*entries), catalog(*tables))
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []
    return registry.tables[TableName.parse(name)]


def errors(tables: tuple[Table, ...], *entries: str | dict[str, object]) -> list[Finding]:
    _, findings = register(config(*entries), catalog(*tables))
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def warnings(tables: tuple[Table, ...], *entries: str | dict[str, object]) -> list[str]:
    _, findings = register(config(*entries), catalog(*tables))
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []
    return [finding.code for finding in findings]


def test_a_key_is_followed_to_plain_values() -> None:
    crf = registered("clinic_crf", CLINIC, "*")
    assert crf.key.leaves() == ("visit_id.subject_id.subject_identifier", "visit_id.visit_code")
    assert crf.key.width == 2


def test_ids_never_travel() -> None:
    subject = registered("clinic_subject", CLINIC, "*")
    assert subject.values == ("subject_identifier",)
    assert [(r.columns, str(r.target.table)) for r in subject.references] == [
        (("site_id",), "sites_site"),
        (("mother_id",), "clinic_subject"),
    ]


def test_a_reference_in_the_key_is_the_same_reference() -> None:
    visit = registered("clinic_visit", CLINIC, "*")
    assert visit.key.parts == (visit.references[0], KeyColumn(column="visit_code"))


def test_a_uuid_id_travels_for_new_rows_only() -> None:
    panel = table("panel", "id uuid", "name text", unique=["name"])
    assert registered("panel", (panel,), "*").values == ("id", "name")
    assert registered("panel", (panel,), "*").insert_only == ("id",)


def test_a_uuid_that_is_the_key_is_a_value_like_any_other() -> None:
    reading = registered("reading", (table("reading", "id uuid", "value text"),), "*")
    assert (reading.values, reading.insert_only) == (("id", "value"), ())


def test_a_reference_to_a_uuid_id_is_translated_where_the_target_has_a_natural_key() -> None:
    panel = table("panel", "id uuid", "name text", unique=["name"])
    test = table("test", "id uuid", "panel_id uuid", fk=["panel_id -> panel.id"])
    (reference,) = registered("test", (panel, test), "*").references
    assert reference.target.leaves() == ("name",)


def test_a_foreign_key_onto_natural_values_is_no_reference() -> None:
    country = table("country", "iso text", pk="iso")
    site = table("site", "id auto", "name text", "iso text", unique=["name"], fk=["iso -> country.iso"])
    assert registered("site", (country, site), "*").references == ()
    assert registered("site", (country, site), "*").values == ("name", "iso")


def test_a_key_may_hold_a_foreign_key_onto_natural_values() -> None:
    country = table("country", "iso text", pk="iso")
    site = table("site", "id auto", "iso text", "no int", unique=["iso no"], fk=["iso -> country.iso"])
    assert registered("site", (country, site), "*").key.leaves() == ("iso", "no")


def test_a_foreign_key_of_several_columns_is_one_reference() -> None:
    tenant = table("tenant", "id auto", "name text", unique=["name"])
    box = table(
        "box", "tenant_id int", "no auto", "label text", pk="tenant_id no", unique=["tenant_id label"],
        fk=["tenant_id -> tenant.id"],
    )  # fmt: skip
    tube = table("tube", "id auto", "code text", "tenant_id int", "box_no int", unique=["code"],
                 fk=["tenant_id box_no -> box.tenant_id no"])  # fmt: skip
    (reference,) = registered("tube", (tenant, box, tube), "*").references
    assert reference.columns == ("tenant_id", "box_no")
    assert reference.target.leaves() == ("tenant_id.name", "label")
    assert registered("box", (tenant, box, tube), "*").values == ("label",)


def test_a_table_without_a_natural_key_goes_by_row_id() -> None:
    order = table("orders", "id auto", "placed time")
    line = table("line", "id auto", "order_id int", "drug text", unique=["order_id drug"], fk=["order_id -> orders.id"])
    found = registered("line", (order, line), "line", {"name": "orders", "key": "row_id"})
    assert found.key.leaves() == ("order_id.row_id", "drug")
    assert isinstance(found.key.parts[0], KeyReference)
    assert found.key.parts[0].target.row_id == ("id",)


def test_configured_references_need_no_constraint() -> None:
    trail = table("clinic_historicalsubject", "id int", "site_id int null", "history_id uuid", "history_date time",
                  pk="history_id")  # fmt: skip
    entry: dict[str, object] = {
        "name": "clinic_historicalsubject",
        "references": {"id": "clinic_subject", "site_id": "sites_site"},
    }
    found = registered("clinic_historicalsubject", (*CLINIC, trail), "clinic_subject", "sites_site", entry)
    assert [(r.columns, r.target_columns, str(r.target.table)) for r in found.references] == [
        (("id",), ("id",), "clinic_subject"),
        (("site_id",), ("id",), "sites_site"),
    ]
    assert found.values == ("history_id", "history_date")


def test_columns_without_a_reference_that_look_like_one_are_warned_of() -> None:
    trail = table("clinic_historicalsubject", "id int", "site_id int null", "history_id uuid", "history_date time",
                  "note_id text", pk="history_id")  # fmt: skip
    assert warnings((trail,), "*") == ["unresolved_id", "unresolved_id"]


def test_no_key_runs_through_a_generic_reference() -> None:
    types = table("django_content_type", "id auto", "app_label text", "model text", unique=["app_label model"])
    tagged = table("app_tagged", "id auto", "content_type_id int", "object_id int", "tag text",
                   unique=["content_type_id object_id tag"], fk=["content_type_id -> django_content_type.id"])  # fmt: skip
    types_entry: dict[str, object] = {"name": "django_content_type", "mode": "lookup"}
    entry: dict[str, object] = {"name": "app_tagged", "generic": [{"type": "content_type_id", "id": "object_id"}]}
    wanted = {"no_key": {}, "key_is_generic": {"key": ["content_type_id", "object_id", "tag"]}}
    for code, key in wanted.items():
        assert [finding.code for finding in errors((types, tagged), types_entry, {**entry, **key})] == [code]
    assert errors((types, tagged), types_entry, {**entry, "key": "row_id"}) == []


@pytest.mark.parametrize("kind", ["int", "text", "uuid"])
def test_a_generic_reference_that_nobody_configured_is_warned_of(kind: str) -> None:
    types = table("django_content_type", "id auto", "app_label text", "model text", unique=["app_label model"])
    tag = table("app_tag", "id auto", "code text", "content_type_id int", f"object_id {kind}", unique=["code"],
                fk=["content_type_id -> django_content_type.id"])  # fmt: skip
    generic = {"generic": [{"type": "content_type_id", "id": "object_id"}]}
    assert warnings((types, tag), "django_content_type", "app_tag") == ["unresolved_id"]
    assert warnings((types, tag), "django_content_type", {"name": "app_tag", **generic}) == []
    assert warnings((types, tag), "django_content_type", {"name": "app_tag", "exclude": ["object_id"]}) == []


def test_excluded_columns_stay() -> None:
    entry: dict[str, object] = {"name": "clinic_visit", "exclude": ["report"]}
    found = registered("clinic_visit", CLINIC, "clinic_subject", "sites_site", entry)
    assert (found.values, found.excluded) == (("visit_code",), ("report",))


def test_a_number_from_a_sequence_travels_unless_it_identifies() -> None:
    receipt = table("receipt", "id uuid", "serial auto", "day int auto", unique=["serial"])
    assert registered("receipt", (receipt,), "*").values == ("id", "day")
    assert warnings((receipt,), "*") == ["local_number"]


def test_generic_references_point_to_every_registered_model() -> None:
    types = table("django_content_type", "id auto", "app_label text", "model text", unique=["app_label model"])
    note = table(
        "clinic_note", "id auto", "code text", "content_type_id int", "object_id text", unique=["code"],
        fk=["content_type_id -> django_content_type.id"],
    )  # fmt: skip
    entry: dict[str, object] = {
        "name": "clinic_note",
        "generic": [{"type": "content_type_id", "id": "object_id", "targets": {"sites.place": "sites_site"}}],
    }
    found = registered("clinic_note", (*CLINIC, types, note), "*", entry)
    (generic,) = found.generics
    assert generic.targets["clinic.subject"].leaves() == ("subject_identifier",)
    assert generic.targets["sites.place"].leaves() == ("domain",)
    assert "sites.site" not in generic.targets
    assert found.values == ("code",)


def test_generic_references_know_what_django_itself_calls_otherwise() -> None:
    types = table("django_content_type", "id auto", "app_label text", "model text", unique=["app_label model"])
    site = table("django_site", "id auto", "domain text", unique=["domain"])
    event = table("audit_event", "id auto", "code text", "content_type_id int", "object_id text", unique=["code"],
                  fk=["content_type_id -> django_content_type.id"])  # fmt: skip
    entry: dict[str, object] = {"name": "audit_event", "generic": [{"type": "content_type_id", "id": "object_id"}]}
    (generic,) = registered("audit_event", (types, site, event), "*", entry).generics
    assert generic.targets["sites.site"].leaves() == ("domain",)
    assert generic.targets["contenttypes.contenttype"].leaves() == ("app_label", "model")


def test_a_generic_reference_needs_its_content_types() -> None:
    note = table("note", "id auto", "code text", "content_type_id int", "object_id int", unique=["code"])
    entry: dict[str, object] = {"name": "note", "generic": [{"type": "content_type_id", "id": "object_id"}]}
    assert [finding.code for finding in errors((note,), entry)] == ["generic_type_unresolved"]


@pytest.mark.parametrize(
    ("made", "entry", "code"),
    [
        (table("t", "id auto", "a text", "b text", unique=["a", "b"]), {}, "several_keys"),
        (table("t", "id auto", "a text"), {}, "no_key"),
        (table("t", "a text", pk=""), {}, "no_key"),
        (table("t", "a text", pk=""), {"key": "row_id"}, "row_id_without_primary_key"),
        (table("t", "id auto", "a text"), {"key": ["b"]}, "unknown_column"),
        (table("t", "id auto", "a text"), {"key": ["a"]}, "key_not_unique"),
        (table("t", "id auto", "a text null", unique=["a"]), {"key": ["a"]}, "key_nullable"),
        (table("t", "id auto", "a text"), {"key": ["id"]}, "key_is_local"),
        (table("t", "id auto", "a text", unique=["a"]), {"exclude": ["b"]}, "unknown_column"),
        (table("t", "id auto", "a text", unique=["a"]), {"references": {"b": "t"}}, "unknown_column"),
        (table("t", "id auto", "a int", unique=["a"]), {"references": {"a": "u"}}, "unknown_table"),
        (table("t", "id auto", "a text generated", unique=["a"]), {"key": ["a"]}, "key_is_generated"),
        (table("t", "id auto", "a json", unique=["a"]), {"key": ["a"]}, "key_not_comparable"),
        (table("t", "id auto", "a text"), {"key": "row_id", "mode": "lookup"}, "lookup_by_row_id"),
        (table("t", "id uuid", "a pg_node_tree"), {}, "unsupported_type"),
    ],
)
def test_every_problem_has_a_code_and_a_remedy(made: Table, entry: dict[str, object], code: str) -> None:
    (finding,) = errors((made,), {"name": "t", **entry})
    assert finding.code == code
    assert finding.where == "t"
    assert finding.remedy


def test_a_table_that_others_refer_to_and_that_is_not_registered_is_named_once() -> None:
    (finding,) = errors(CLINIC, "clinic_*")
    assert (finding.code, finding.where) == ("reference_unregistered", "sites_site")
    assert "clinic_subject (site_id)" in finding.what
    assert finding.remedy.startswith('in dbsync.toml: [[tables]] name = "sites_site" with mode = "lookup"')


def test_several_candidates_are_listed_as_what_to_write() -> None:
    (finding,) = errors((table("t", "id auto", "a text", "b text", unique=["a", "b"]),), "t")
    assert finding.remedy == 'in dbsync.toml: [[tables]] name = "t" with key = ["a"]   # or key = ["b"]'


def test_a_table_that_is_not_there_is_named_with_what_was_meant() -> None:
    (finding,) = errors(CLINIC, "sites_site", "clinic_subjekt")
    assert (finding.code, finding.remedy) == ("unknown_table", 'did you mean "clinic_subject"?')


def test_keys_in_a_circle_are_shown_as_one() -> None:
    a = table("a", "id auto", "b_id int", unique=["b_id"], fk=["b_id -> b.id"])
    b = table("b", "id auto", "a_id int", unique=["a_id"], fk=["a_id -> a.id"])
    (finding,) = errors((a, b), "*")
    assert finding.code == "recursive_key"
    assert "a -> b -> a" in finding.what


def test_references_in_a_circle_are_fine_outside_of_keys() -> None:
    house = table("house", "id auto", "code text", "head_id int null", unique=["code"], fk=["head_id -> person.id"])
    person = table("person", "id auto", "code text", "house_id int null", unique=["code"], fk=["house_id -> house.id"])
    assert registered("house", (house, person), "*").references[0].target.leaves() == ("code",)


def test_a_key_with_half_a_reference_is_refused() -> None:
    tenant = table("tenant", "id auto", "name text", unique=["name"])
    box = table("box", "tenant_id int", "no auto", "label text", pk="tenant_id no", unique=["tenant_id label"],
                fk=["tenant_id -> tenant.id"])  # fmt: skip
    tube = table("tube", "id auto", "tenant_id int", "box_no int", unique=["tenant_id"],
                 fk=["tenant_id box_no -> box.tenant_id no"])  # fmt: skip
    assert [finding.code for finding in errors((tenant, box, tube), "*")] == ["key_splits_reference"]


def test_a_lookup_needs_only_what_its_key_runs_through() -> None:
    user = table("auth_user", "id auto", "username text", "team_id int", unique=["username"], fk=["team_id -> team.id"])
    assert errors((user,), {"name": "auth_user", "mode": "lookup"}) == []


def test_a_pattern_may_exclude_columns_that_only_some_tables_have() -> None:
    assert errors((SITE,), {"name": "sites_*", "exclude": ["free_text"]}) == []


def test_a_pattern_that_selects_nothing_is_a_warning() -> None:
    assert warnings((SITE,), "sites_site", "lab_*") == ["pattern_selects_nothing"]


def test_row_level_security_is_a_warning() -> None:
    assert warnings((table("t", "id uuid", row_security=True),), "t") == ["row_security"]


def test_a_table_that_shares_rows_with_another_is_warned_of() -> None:
    assert warnings((table("t", "id uuid", inherits=True),), "t") == ["inheritance"]


def test_nulls_not_distinct_make_a_nullable_key_good() -> None:
    made = table("t", "id auto", "a text null", unique=[unique_key("a", nulls_not_distinct=True)])
    assert registered("t", (made,), "t").key.leaves() == ("a",)


def test_a_skipped_table_is_not_registered() -> None:
    registry, findings = register(config("sites_*", {"name": "sites_site", "skip": True}), catalog(SITE))
    assert registry.tables == {}
    assert [finding.severity for finding in findings] == []


def test_rows_known_by_a_uuid_are_referred_to_by_their_primary_key_only() -> None:
    person = table("person", "id auto", "number int", unique=["number"])
    badge = table(
        "badge", "id auto", "label text", "person_no int", unique=["label"], fk=["person_no -> person.number"]
    )
    (found,) = errors((person, badge), {"name": "person", "key": "row_id"}, "badge")
    assert (found.code, found.where) == ("reference_target_key", "badge")
    assert found.remedy == 'in dbsync.toml: [[tables]] name = "person" with key = ["number"]'
    assert errors((person, badge), "person", "badge") == []


def test_a_reference_for_a_period_holds_its_targets_own_values() -> None:
    held = table("employed", "id int", "valid_at int", "code text", pk="id valid_at", unique=["code valid_at"])
    post = table("post", "no int", "who int", "during int", pk="no", fk=["who during -> employed.id valid_at"])
    post = replace(post, foreign_keys=tuple(replace(key, period=True) for key in post.foreign_keys))
    (found,) = errors((held, post), {"name": "employed", "key": ["code", "valid_at"]}, "post")
    assert (found.code, found.where) == ("reference_target_key", "post")
    assert errors((held, post), {"name": "employed", "key": ["id", "valid_at"]}, "post") == []


@pytest.mark.parametrize(
    ("columns", "references", "found"), [(999, 0, []), (1000, 0, ["table_too_wide"]), (999, 20, [])]
)
def test_a_table_that_no_statement_could_write_is_refused(columns: int, references: int, found: list[str]) -> None:
    pointing = [f"site_{n} int" for n in range(references)]
    wide = table(
        "crf", "id auto", "code text", *pointing, *(f"c{n} text" for n in range(columns)), unique=["code"],
        fk=[f"site_{n} -> sites_site.id" for n in range(references)],
    )  # fmt: skip
    assert [finding.code for finding in errors((SITE, wide), "*")] == found
