from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from dbsync.config.load import parse
from dbsync.config.models import Config
from dbsync.config.proposal import Proposal, ProposedTable
from dbsync.config.write import render
from dbsync.keys.propose import propose
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog, Table
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Mode
from tests.unit.catalogs import CRF, SITE, SUBJECT, VISIT, catalog, table, unique_key

TYPES = table("django_content_type", "id auto", "app_label text", "model text", unique=["app_label model"])
USER = table("auth_user", "id auto", "username text", "password text", unique=["username"])
ADMIN_LOG = table("django_admin_log", "id auto", "user_id int", fk=["user_id -> auth_user.id"])
HISTORY = ("history_id auto", "history_date time", "history_type text", "history_user_id int null")
TRAIL = table(
    "clinic_historicalsubject",
    *("id int", "subject_identifier text", "site_id int null", "mother_id int null"),
    *HISTORY,
    pk="history_id",
    fk=["history_user_id -> auth_user.id"],
)


def entry(proposal: Proposal, name: str) -> ProposedTable:
    return next(found for found in proposal.tables if found.name == TableName.parse(name))


def written(proposal: Proposal) -> Config:
    text = render(proposal, "field-07", "service=clinic", "dbname=community")
    return parse(text, path="dbsync.toml", environ=os.environ)


def errors(proposal: Proposal, source: Catalog) -> list[Finding]:
    _, findings = register(written(proposal), source)
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def proposed(*tables: Table) -> Proposal:
    source = catalog(*tables)
    proposal = propose(source)
    assert errors(proposal, source) == []
    return proposal


def test_a_key_that_the_catalog_leads_to_is_said_and_not_written() -> None:
    found = entry(proposed(SITE, SUBJECT, VISIT, CRF), "clinic_subject")
    assert (found.key, found.why) == (None, "unique (subject_identifier)")


def test_of_several_candidates_one_is_written_out_and_the_others_stand_beside_it() -> None:
    made = table("t", "id auto", "position int", "uid uuid", "code text", unique=["position", "uid", "code"])
    found = entry(proposed(made), "t")
    assert found.key == ("code",)
    assert found.candidates == (("position",), ("uid",))
    text = render(propose(catalog(made)), "n", "dbname=a", "dbname=b")
    assert 'key = ["code"]   # unique (code)\n#     ["position"] would do as well' in text


def test_a_table_without_a_natural_key_goes_by_row_id_and_says_what_that_means() -> None:
    proposal = proposed(table("log", "id auto", "line text"))
    assert entry(proposal, "log").key == "row_id"
    text = render(proposal, "n", "dbname=a", "dbname=b")
    assert 'key = "row_id"   # each row gets a UUID of its own: rows of different nodes never merge' in text


def test_positions_are_called_poor_keys() -> None:
    found = entry(proposed(table("node", "id auto", "path text", unique=["path"])), "node")
    assert any("poor key" in note for note in found.notes)


def test_djangos_bookkeeping_is_left_out_with_a_word_on_why() -> None:
    proposal = proposed(
        table("django_migrations", "id auto", "app text"), table("django_session", "session_key text", pk="session_key")
    )
    assert {str(omission.name): bool(omission.why) for omission in proposal.left_out} == {
        "django_migrations": True,
        "django_session": True,
    }


def test_content_types_permissions_and_sites_are_lookups() -> None:
    permission = table(
        "auth_permission", "id auto", "content_type_id int", "codename text", unique=["content_type_id codename"],
        fk=["content_type_id -> django_content_type.id"],
    )  # fmt: skip
    site = table("django_site", "id auto", "domain text", unique=["domain"])
    proposal = proposed(TYPES, permission, site)
    assert [found.mode for found in proposal.tables] == [Mode.LOOKUP] * 3


def test_a_lookup_without_a_natural_key_is_shipped() -> None:
    site = table("django_site", "id auto", "domain text")
    assert entry(proposed(site), "django_site").mode is Mode.SHIP


def test_a_historical_table_gets_the_references_of_the_table_it_mirrors() -> None:
    found = entry(proposed(SITE, SUBJECT, USER, TRAIL), "clinic_historicalsubject")
    assert {column: str(target) for column, target in found.references.items()} == {
        "id": "clinic_subject",
        "site_id": "sites_site",
        "mother_id": "clinic_subject",
    }
    assert found.key == "row_id"


def test_a_historical_table_with_uuids_is_keyed_by_them() -> None:
    trail = table("clinic_historicalsite", "id int", "domain text", "history_id uuid", "history_date time",
                  "history_type text", pk="history_id")  # fmt: skip
    site = table("clinic_site", "id auto", "domain text", unique=["domain"])
    found = entry(proposed(site, trail), "clinic_historicalsite")
    assert found.key is None
    assert found.why == "primary key (history_id)"


def test_a_historical_table_is_found_by_its_columns_where_the_name_says_nothing() -> None:
    box = table("Clinic Box", "id auto", "label text", "site_id int", unique=["label"], fk=["site_id -> sites_site.id"])
    trail = table("clinic_historicalbox", "id int", "label text", "site_id int null", *HISTORY, pk="history_id")
    found = entry(proposed(SITE, box, trail), "clinic_historicalbox")
    assert {column: target.name for column, target in found.references.items()} == {
        "id": "Clinic Box",
        "site_id": "sites_site",
    }


def test_an_unconstrained_history_user_is_the_user_of_the_admin_log() -> None:
    trail = table("clinic_historicalsite", "id int", "domain text", *HISTORY, pk="history_id")
    site = table("clinic_site", "id auto", "domain text", unique=["domain"])
    found = entry(proposed(site, trail, USER, ADMIN_LOG), "clinic_historicalsite")
    assert str(found.references["history_user_id"]) == "auth_user"


def test_the_history_of_an_inherited_table_has_its_parents_references_too() -> None:
    encounter = table("clinic_encounter", "id auto", "code text", "subject_id int", unique=["code"],
                      fk=["subject_id -> clinic_subject.id"])  # fmt: skip
    admission = table("clinic_admission", "encounter_ptr_id int", "ward text", pk="encounter_ptr_id",
                      fk=["encounter_ptr_id -> clinic_encounter.id"])  # fmt: skip
    trail = table("clinic_historicaladmission", "id int", "encounter_ptr_id int null", "code text",
                  "subject_id int null", "ward text", *HISTORY, pk="history_id")  # fmt: skip
    found = entry(proposed(SITE, SUBJECT, encounter, admission, trail, USER, ADMIN_LOG), "clinic_historicaladmission")
    assert {column: str(target) for column, target in found.references.items()} == {
        "id": "clinic_encounter",
        "encounter_ptr_id": "clinic_encounter",
        "subject_id": "clinic_subject",
        "history_user_id": "auth_user",
    }


def test_the_history_of_a_many_to_many_relation_refers_to_the_history_it_belongs_to() -> None:
    tag = table("clinic_tag", "id auto", "name text", unique=["name"])
    tags = table("clinic_subject_tags", "id auto", "subject_id int", "tag_id int", unique=["subject_id tag_id"],
                 fk=["subject_id -> clinic_subject.id", "tag_id -> clinic_tag.id"])  # fmt: skip
    trail = table("clinic_historicalsubject_tags", "id int", "m2m_history_id auto", "history_id int",
                  "subject_id int null", "tag_id int null", pk="m2m_history_id")  # fmt: skip
    found = entry(proposed(SITE, SUBJECT, tag, tags, USER, TRAIL, trail), "clinic_historicalsubject_tags")
    assert {column: str(target) for column, target in found.references.items()} == {
        "id": "clinic_subject_tags",
        "history_id": "clinic_historicalsubject",
        "subject_id": "clinic_subject",
        "tag_id": "clinic_tag",
    }


def test_a_reference_onto_natural_values_needs_no_word() -> None:
    country = table("country", "iso text", pk="iso")
    site = table("app_place", "id auto", "name text", "iso text", unique=["name"], fk=["iso -> country.iso"])
    trail = table("app_historicalplace", "id int", "name text", "iso text", *HISTORY, pk="history_id")
    assert list(entry(proposed(country, site, trail), "app_historicalplace").references) == ["id"]


def test_generic_references_are_found() -> None:
    note = table(
        "clinic_note", "id auto", "code text", "content_type_id int", "object_id int", "about_content_type_id int",
        "about_object_id text", unique=["code"],
        fk=["content_type_id -> django_content_type.id", "about_content_type_id -> django_content_type.id"],
    )  # fmt: skip
    assert entry(proposed(TYPES, note), "clinic_note").generic == (
        ("content_type_id", "object_id"),
        ("about_content_type_id", "about_object_id"),
    )


def test_a_content_type_without_a_constraint_is_known_by_its_name() -> None:
    event = table("easyaudit_crudevent", "id auto", "content_type_id int", "object_id text", "user_id int null")
    found = entry(proposed(TYPES, event), "easyaudit_crudevent")
    assert {column: str(target) for column, target in found.references.items()} == {
        "content_type_id": "django_content_type"
    }
    assert found.generic == (("content_type_id", "object_id"),)
    assert entry(proposed(event), "easyaudit_crudevent").generic == ()


def test_a_key_that_runs_through_a_generic_reference_is_not_proposed() -> None:
    tagged = table(
        "taggit_taggeditem", "id auto", "object_id int", "content_type_id int", "tag_id int",
        unique=["content_type_id object_id tag_id"],
        fk=["content_type_id -> django_content_type.id", "tag_id -> taggit_tag.id"],
    )  # fmt: skip
    tag = table("taggit_tag", "id auto", "name text", unique=["name"])
    found = entry(proposed(TYPES, tag, tagged), "taggit_taggeditem")
    assert (found.key, found.generic) == ("row_id", (("content_type_id", "object_id"),))
    assert found.notes == (
        "no natural key: unique (content_type_id, object_id, tag_id) holds the id of a row of any table, which is another one upstream",
    )


def test_events_that_triggers_keep_mirror_their_table() -> None:
    place = table("shop_place", "id auto", "name text", unique=["name"])
    patient = table(
        "shop_patient", "id auto", "code text", "place_id int", unique=["code"], fk=["place_id -> shop_place.id"]
    )
    context = table("pghistory_context", "id uuid", "metadata jsonb")
    events = table(
        "shop_patientevent", "pgh_id auto", "pgh_created_at time", "pgh_label text", "id int", "code text", "place_id int",
        "pgh_context_id uuid null", "pgh_obj_id int", pk="pgh_id",
    )  # fmt: skip
    found = entry(proposed(place, patient, context, events), "shop_patientevent")
    assert {column: str(target) for column, target in found.references.items()} == {
        "place_id": "shop_place",
        "id": "shop_patient",
        "pgh_obj_id": "shop_patient",
    }
    assert not found.guesses


def test_an_audit_trail_may_say_the_same_id_twice() -> None:
    entries = table(
        "auditlog_logentry", "id auto", "content_type_id int", "object_pk text", "object_id int null", "action int",
        fk=["content_type_id -> django_content_type.id"],
    )  # fmt: skip
    assert entry(proposed(TYPES, entries), "auditlog_logentry").generic == (
        ("content_type_id", "object_id"),
        ("content_type_id", "object_pk"),
    )


def test_what_only_a_name_speaks_for_is_written_as_a_comment() -> None:
    loose = table("clinic_extra", "id uuid", "site_id int")
    proposal = proposed(SITE, SUBJECT, loose)
    assert {k: str(v) for k, v in entry(proposal, "clinic_extra").guesses.items()} == {"site_id": "sites_site"}
    text = render(proposal, "n", "dbname=a", "dbname=b")
    assert '# references = { site_id = "sites_site" }' in text


def test_patterns_bring_what_their_tables_refer_to_along() -> None:
    proposal = propose(catalog(SITE, SUBJECT, VISIT, CRF), patterns=["clinic_visit"])
    assert {str(found.name): found.mode for found in proposal.tables} == {
        "clinic_visit": Mode.SHIP,
        "clinic_subject": Mode.LOOKUP,
    }
    assert errors(proposal, catalog(SITE, SUBJECT, VISIT, CRF)) == []


def test_keys_in_a_circle_are_taken_apart() -> None:
    a = table("a", "id auto", "b_id int", unique=["b_id"], fk=["b_id -> b.id"])
    b = table("b", "id auto", "a_id int", "code text", unique=["a_id", "code"], fk=["a_id -> a.id"])
    proposal = proposed(a, b)
    assert entry(proposal, "b").key == ("code",)
    c = table("c", "id auto", "d_id int", unique=["d_id"], fk=["d_id -> d.id"])
    d = table("d", "id auto", "c_id int", unique=["c_id"], fk=["c_id -> c.id"])
    assert sorted(str(found.key) for found in proposed(c, d).tables) == ["None", "row_id"]


def test_a_deferrable_unique_key_is_written_out() -> None:
    made = table("t", "id auto", "code text", unique=[unique_key("code", immediate=False)])
    assert entry(proposed(made), "t").key == ("code",)


def test_a_table_without_any_key_is_left_out() -> None:
    assert [str(omission.name) for omission in proposed(table("t", "line text", pk="")).left_out] == ["t"]


def test_a_column_that_cannot_travel_stays() -> None:
    found = entry(proposed(table("t", "id uuid", "plan pg_node_tree")), "t")
    assert found.exclude == ("plan",)


def test_a_key_that_the_upstream_has_unique_comes_first() -> None:
    here = table("t", "id auto", "a text", "b text", unique=["a", "b"])
    there = table("t", "id auto", "a text", "b text", unique=["b"])
    assert entry(propose(catalog(here), catalog(there)), "t").key == ("b",)


def test_a_table_that_the_upstream_lacks_is_left_out() -> None:
    proposal = propose(catalog(SITE, table("extra", "id uuid")), catalog(SITE))
    assert [str(found.name) for found in proposal.tables] == ["sites_site"]
    assert "upstream" in proposal.left_out[0].why


def test_passwords_in_connection_strings_are_remarked_on() -> None:
    text = render(Proposal(database="x", tables=()), "n", "dbname=a password=geheim", "dbname=b")
    assert "PGPASSFILE" in text.partition("source")[0]
    assert "PGPASSFILE" not in text.partition("[upstream]")[2]


def test_names_of_all_kinds_survive_the_file() -> None:
    odd = table('lab."Box ""7"" \\ é"', "id auto", "a b text", unique=[], pk="id")
    proposal = propose(catalog(odd))
    assert written(proposal).table_for(odd.name) is not None
    assert errors(proposal, catalog(odd)) == []


@st.composite
def schemas(draw: st.DrawFn) -> Catalog:
    """Make schemas full of references, self-references, circles and shared columns."""
    size = draw(st.integers(1, 6))
    tables = []
    for number in range(size):
        columns, keys, uniques = ["id auto", "code text", "path text null"], [], []
        for place in range(draw(st.integers(0, 3))):
            target = draw(st.integers(0, size - 1))
            columns.append(f"r{place}_id int{draw(st.sampled_from(['', ' null']))}")
            keys.append(f"r{place}_id -> t{target}.id")
        names = [words.split()[0] for words in columns if words != "id auto"]
        for _ in range(draw(st.integers(0, 3))):
            chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
            uniques.append(unique_key(" ".join(chosen), immediate=draw(st.booleans())))
        tables.append(table(f"t{number}", *columns, unique=uniques, fk=keys))
    return catalog(*tables)


@settings(max_examples=200)
@given(schemas(), st.lists(st.sampled_from(["t0", "t1", "t*"]), max_size=2))
def test_what_is_proposed_can_be_registered_as_it_stands(source: Catalog, patterns: list[str]) -> None:
    proposal = propose(source, patterns=patterns)
    assert errors(proposal, source) == []
