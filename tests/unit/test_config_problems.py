"""What a person sees when dbsync.toml is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbsync.config.advice import advise
from dbsync.config.explain import explain
from dbsync.config.load import load, parse
from dbsync.config.models import Config
from dbsync.config.problems import InvalidConfig, Problem
from dbsync.config.redact import redact, secret_spans

NODE = '[node]\nname = "field-07"\nsource = "service=clinic"\n'
UPSTREAM = '[upstream]\nurl = "dbname=community"\n'
HEAD = NODE + UPSTREAM


def problems(text: str, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidConfig) as caught:
        parse(text, path="dbsync.toml", environ=environ)
    return caught.value.problems


def shown(text: str, **environ: str) -> str:
    return explain(problems(text, **environ), "dbsync.toml")


def only(text: str, **environ: str) -> Problem:
    (problem,) = problems(text, **environ)
    return problem


def table(entry: str) -> Problem:
    return only(f"{HEAD}[[tables]]\n{entry}\n")


def test_all_problems_are_shown_at_once_with_place_line_and_what_was_meant() -> None:
    text = """\
[node]
name   = "field-07"
source = "service=clinic"
[upstream]
url = "postgresql://sync:${UPSTREAM_PASSWORD}@community/clinic"

[[tables]]
name = "clinic_subject"
keyy = ["number"]
"""
    assert shown(text) == (
        """\
dbsync.toml: 2 problems (nothing was started)
  dbsync.toml:5:7   ${UPSTREAM_PASSWORD} is not set
  dbsync.toml:9:1   unknown key 'keyy'
    9 | keyy = ["number"]
      | ^^^^ did you mean 'key'?"""
    )


def test_places_of_different_width_stand_in_one_column() -> None:
    lines = explain(
        [Problem(line=4, column=7, length=1, message="a"), Problem(line=121, column=1, length=1, message="b", hint="c")]
    ).splitlines()
    assert lines[1:] == ["  dbsync.toml:4:7     a", "  dbsync.toml:121:1   b: c"]


def test_the_error_itself_names_file_and_reasons_in_one_line() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse("", path="/etc/dbsync/dbsync.toml", environ={})
    assert str(caught.value).startswith("/etc/dbsync/dbsync.toml: 1 problem (nothing was started)")
    assert caught.value.exit_code == 78
    assert caught.value.hint


def test_an_empty_file_is_told_what_it_needs() -> None:
    assert [problem.message for problem in problems("")] == [
        "[node] is missing; it needs 'name' and 'source'",
    ]
    assert only(NODE + "[upstream]\n").message == "[upstream] lacks 'url'"


def test_a_misspelled_name_is_not_reported_as_missing_too() -> None:
    problem = only(HEAD.replace("source", "sorce"))
    assert (problem.message, problem.hint) == ("unknown key 'sorce'", "did you mean 'source'?")
    assert only(HEAD.replace("[node]", "[nodes]")).hint == "did you mean 'node'?"


def test_a_key_of_another_section_is_sent_there() -> None:
    assert only(UPSTREAM + 'source = "dbname=x"\n' + NODE).hint == "'source' belongs in [node]"
    assert only(HEAD + "max_changes = 5\n").hint == "'max_changes' belongs in [batch]"
    assert only(HEAD + 'zzz = "x"\n').hint == "known here: url, name, ca, recovery"


def test_one_slip_in_an_entry_does_not_hide_the_others() -> None:
    found = problems(
        HEAD
        + '[[tables]]\nname = "visit"\n[[tables]]\nname = "public.visit"\nkeyy = 1\nmode = "looup"\n'
        + 'key = ["a", "b"]\nexclude = ["b"]\n[batch]\nmax_changes = 0\n'
    )
    assert [(problem.line, problem.column, problem.message, problem.hint) for problem in found] == [
        (
            9,
            8,
            "a second entry for 'public.visit'; the first is entry 1 of [[tables]]",
            "write one entry with both settings",
        ),
        (10, 1, "unknown key 'keyy'", "did you mean 'key'?"),
        (11, 8, '\'mode\' must be "ship" or "lookup"', 'did you mean "lookup"?'),
        (13, 12, "column 'b' is excluded and part of 'key'", "without it a row cannot be recognised upstream"),
        (15, 15, "'max_changes' must be at least 1", ""),
    ]


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        ('name = "a"\nkey = "number"', "'key' must be a list of columns, or \"row_id\"", 'did you mean ["number"]?'),
        ('name = "a"\nkey = "rowid"', "'key' must be a list of columns, or \"row_id\"", 'did you mean "row_id"?'),
        ('name = "a"\nkey = 5', "'key' must be a list of columns, or \"row_id\"", ""),
        ('name = "a"\nkey = []', "'key' must not be empty", ""),
        ('name = "a"\nkey = ["x", 5]', "'key' must hold text in quotes, not a number", ""),
        ('name = "a"\nkey = ["x", "x"]', "column 'x' stands twice in 'key'", ""),
        ('name = "a"\nkey = [""]', "not a column name", ""),
        ('name = "a"\nexclude = ["x", "x"]', "column 'x' stands twice in 'exclude'", ""),
        ('name = "a"\nexclude = "x"', "'exclude' must be a list, not text", 'did you mean ["x"]?'),
        ('name = "a"\nexclude = {}', "'exclude' must be a list, not a section", ""),
        ('name = "a"\nskip = "yes"', "'skip' must be true or false, not text", ""),
        ('name = "a"\nskip = 1', "'skip' must be true or false, not a number", ""),
        ('name = "a"\nmode = 1979-05-27', '\'mode\' must be "ship" or "lookup"', ""),
        ("name = 1979-05-27", "'name' must be text in quotes, not a date or time", ""),
        ('name = "a.b.c"', "not a table name: write table or schema.table", ""),
        ('name = "a.b.c*"', "not a pattern for table names such as clinic_* or lab.*", ""),
        ('name = "clinic_["', "not a pattern for table names such as clinic_* or lab.*", ""),
        ('mode = "ship"', "[[tables]] lacks 'name'", ""),
        ('name = "a"\nexcept = ["b"]', "'except' belongs to a pattern; this entry names one table", ""),
        ('name = "a"\nexcepted = []', "unknown key 'excepted'", "did you mean 'except'?"),
        ('name = "a"\nreferences = { x = "b*" }', "must name one table; a pattern does not do here", ""),
        ('name = "a"\nreferences = ["x"]', "'references' must be a table like { column = \"table\" }, not a list", ""),
        (
            'name = "a"\nexclude = ["x"]\nreferences = { x = "b" }',
            "column 'x' is in 'references', and 'exclude' leaves it out",
            "",
        ),
        (
            'name = "a"\nexclude = ["t"]\ngeneric = [{ type = "t", id = "i" }]',
            "column 't' is in 'generic', and 'exclude' leaves it out",
            "",
        ),
        ('name = "a"\ngeneric = [{ type = "t", id = "t" }]', "'type' and 'id' must be two columns", ""),
        ('name = "a"\ngeneric = [{ type = "t" }]', "'generic' lacks 'id'", ""),
        ('name = "a"\ngeneric = [5]', "'generic' must hold tables in braces, not a number", ""),
        ('name = "a"\ngeneric = { type = "t", id = "i" }', "'generic' must be a list, not a section", ""),
        (
            'name = "a"\ngeneric = [{ type = "t", id = "i", targets = { x = "b" } }]',
            "a target is named app_label.model, as in the content type table",
            "",
        ),
        (
            'name = "a"\nreferences = { i = "b" }\ngeneric = [{ type = "t", id = "i" }]',
            "column 'i' is in 'references' too; it can point one way only",
            "",
        ),
    ],
)
def test_each_slip_in_an_entry_has_its_words(entry: str, message: str, hint: str) -> None:
    problem = table(entry)
    assert (problem.message, problem.hint) == (message, hint)
    assert problem.source_line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node = 5\n" + UPSTREAM, "'node' must be a section, not a number"),
        (HEAD + "[tables]\nname = 'a'\n", "'tables' must be a list, not a section"),
        (HEAD + "[service]\npoll_interval = nan\n", "'poll_interval' must be a finite number"),
        (HEAD + "[service]\nretry_max = 0\n", "'retry_max' must be more than 0"),
        (HEAD + "[service]\nretry_max = '5'\n", "'retry_max' must be a number, not text"),
        (HEAD + "[batch]\nmax_changes = 2.5\n", "'max_changes' must be a whole number, not a decimal number"),
        (HEAD.replace("field-07", "field 07"), "a name has 1 to 63 letters, digits, '.', '_' or '-'"),
        (HEAD.replace("field-07", "x" * 64), "a name has 1 to 63 letters, digits, '.', '_' or '-'"),
        (
            HEAD.replace("service=clinic", "clinic"),
            "not a connection string: write service=..., key=value pairs or postgresql://...",
        ),
        (HEAD.replace("service=clinic", "dbname=community"), "the upstream is the source itself"),
    ],
)
def test_each_slip_in_a_section_has_its_words(text: str, message: str) -> None:
    assert only(text).message == message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nats://broker.example.org", "on this computer only"),
        ("tls://", "not an address"),
        ("tls://a.example.org,,b.example.org", "not an address"),
        ("tls://us:er@a.example.org", "known by its key"),
        ("tls://a.example.org/x", "nothing belongs behind"),
    ],
)
def test_a_slip_in_the_address_of_a_broker_has_its_words(url: str, words: str) -> None:
    problem = only(HEAD.replace('"dbname=community"', f'"{url}"\nname = "community"'))
    assert words in problem.message


def test_a_broker_does_not_say_whose_it_is() -> None:
    problem = only(HEAD.replace("dbname=community", "tls://a.example.org,b.example.org:4333"))
    assert problem.message == "a broker does not say whose it is: 'name' is missing"


@pytest.mark.parametrize("url", ["file://media/stick", "file:///", "file:///a/../b", "file:///a?b", "file://[::1"])
def test_a_folder_on_a_stick_is_named_by_its_whole_path(url: str) -> None:
    problem = only(HEAD.replace('"dbname=community"', f'"{url}"\nname = "community"'))
    assert "path" in problem.message


def test_a_stick_has_to_be_told_whose_it_is() -> None:
    problem = only(HEAD.replace("dbname=community", "file:///media/stick/dbsync"))
    assert "name" in problem.message
    assert "name = " in problem.hint


@pytest.mark.parametrize("section", ["serve", "sticks"])
def test_a_slip_in_a_section_for_servers_is_explained(section: str) -> None:
    assert only(f"{HEAD}[{section}]\nlistenn = 1\n").message == "unknown key 'listenn'"


@pytest.mark.parametrize(
    "url",
    [
        "https://:8443",
        "https://user:hunter2@community.example.org",
        "https://community.example.org/dbsync",
        "https://community.example.org?x=1",
        "https://community.example.org:port",
        "http://community.example.org",
    ],
)
def test_a_web_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    problem = only(HEAD.replace("dbname=community", url))
    assert problem.message
    assert url not in problem.message
    assert "hunter2" not in explain([problem])


def test_an_unknown_address_is_refused_without_being_repeated() -> None:
    problem = only(HEAD.replace("dbname=community", "mysql://u:hunter2@h/d"))
    assert problem.message.startswith("not an address dbsync knows")
    assert "hunter2" not in explain([problem])


def test_a_missing_variable_or_file_is_said_once(tmp_path: Path) -> None:
    assert only(HEAD.replace("service=clinic", "${SOURCE}")).message == "${SOURCE} is not set"
    assert only(HEAD.replace("clinic", "${a b}")).message.startswith("not a reference")
    assert only(HEAD.replace("clinic", "${open")).message.startswith("not a reference")
    path = tmp_path / "dbsync.toml"
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "latin").write_bytes(b"\xff")
    for name, reason in (("none", "No such file"), ("large", "too large"), ("latin", "utf-8"), ("a\\u0000b", "null")):
        path.write_text(HEAD.replace("clinic", f"${{file:{name}}}"))
        with pytest.raises(InvalidConfig, match=reason) as caught:
            load(path, {})
        assert len(caught.value.problems) == 1


def test_what_a_reference_was_filled_in_with_is_not_shown() -> None:
    text = f'{HEAD}[[tables]]\nname = "${{NAME}}"\nmode = "${{MODE}}"\n'
    assert "hunter2" not in shown(text, NAME="hunter2..", MODE="hunter2")


def test_passwords_are_masked_and_the_caret_stays_in_place() -> None:
    text = HEAD.replace("dbname=community", "host=a password=hunter2").replace("url = ", "name = 5; url = ")
    assert "hunter2" not in shown(text)
    line = 'upstream = { url = "postgresql://u:hunter2@h/d", nmae = "x" }'
    assert shown(f"{line}\n{NODE}").splitlines()[2:] == [
        '    1 | upstream = { url = "postgresql://u:***@h/d", nmae = "x" }',
        "      |                                              ^^^^ did you mean 'name'?",
    ]
    assert "hunter3" not in shown(HEAD + 'pasword = "hunter3 is it"\n')


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("[node]\nname = field-07\n", (2, 8), "not valid TOML: invalid value", 'text goes in quotes: "field-07"'),
        ("[node]\n  name = 'a'\n  name = 'b'\n", (3, 3), "not valid TOML: this key is set twice", ""),
        ("[node\n", (1, 6), "not valid TOML: expected ']' at the end of a table declaration", ""),
        ("a = [", (1, 6), "not valid TOML: invalid value", ""),
        ("a = " + "[" * 5000, (1, 1), "cannot be read: nested too deeply", ""),
        ("a = " + "1" * 5000, (1, 1), "cannot be read: a number is too long", ""),
    ],
)
def test_what_is_no_toml_is_shown_where_reading_stopped(
    text: str, place: tuple[int, int], message: str, hint: str
) -> None:
    problem = only(text)
    assert (problem.line, problem.column) == place
    assert (problem.message, problem.hint) == (message, hint)


def test_a_file_that_is_not_utf_8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "dbsync.toml"
    path.write_bytes(b"[node]\nname = 'f\xe9'\n")
    with pytest.raises(InvalidConfig) as caught:
        load(path, {})
    assert [problem.at() for problem in caught.value.problems] == ["dbsync.toml:2:10"]


def test_a_long_line_is_cut_around_the_place() -> None:
    line = f'upstream = {{ name = "{"x" * 60}", url = "host={"h" * 80}", zzz = 1 }} # {"y" * 90}'
    *_, source, carets = shown(f"{line}\n{NODE}").splitlines()
    assert len(source) < 120
    start = carets.index("^")
    assert source[start : start + 3] == "zzz"


@pytest.mark.parametrize(
    ("dsn", "masked"),
    [
        ("host=a password=s dbname=c", "host=a password=*** dbname=c"),
        ("host=a password = 'it''s' x=y", "host=a password = ***'s' x=y"),
        (r"password='a\' b' host=a", "password=*** host=a"),
        (r"password=a\ b host=a", "password=*** host=a"),
        ("password='open host=a", "password=***"),
        ("PASSWORD=s sslpassword=t passfile=/f sslkey=/k", "PASSWORD=*** sslpassword=*** passfile=/f sslkey=/k"),
        ("oauth_client_secret=s scram_client_key=t", "oauth_client_secret=*** scram_client_key=***"),
        ("postgresql://u:s@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u:s@t@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d?password=s&sslmode=require", "postgresql://u@h/d?password=***&sslmode=require"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("service=clinic", "service=clinic"),
        ("password=${PG}", "password=${PG}"),
        ("", ""),
    ],
)
def test_passwords_in_connection_strings_are_masked(dsn: str, masked: str) -> None:
    assert redact(dsn) == masked


words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6, max_size=12).map(
    lambda word: f"Z{word}"
)


@given(words, st.text(max_size=20), st.text(max_size=20))
def test_a_password_never_gets_through(secret: str, before: str, after: str) -> None:
    for dsn in (f"{before} password={secret} {after}", f"{before} postgres://u:{secret}@{after}"):
        assert secret not in redact(dsn) or secret in before + after


@given(st.text())
def test_masking_never_fails(text: str) -> None:
    redact(text)
    spans = secret_spans(text)
    assert list(spans) == sorted(spans)


PIECES = """
[node] [upstream] [[tables]] [tables] [batch] [service] name source url key mode exclude references generic type id
targets except skip truncate on_delete max_changes = = = = = . , [ ] { } " ' \"\"\" # 1 -2.5 true nan 1979-05-27
"ship" "lookup" "row_id" "clinic_*" "a" ["a"] {a="b"} [{type="a",id="b"}] ${X} "${X}" "${file:x}" "https://h"
"postgresql://u:p@h/d" "service=clinic" "password=x"
"""
pieces = st.sampled_from(PIECES.split())
soup = st.lists(pieces | st.just("\n"), max_size=40).map(" ".join)
values = st.recursive(
    st.sampled_from(
        ['"a"', '"a*"', '"row_id"', '"${X}"', "5", "true", "nan", "1979-05-27", '"dbname=a"', '""', '"\\u0000"']
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["a", "type", "id", "targets", "name", "'x.y'"]), inner, max_size=3).map(
            lambda items: "{ " + ", ".join(f"{key} = {value}" for key, value in items.items()) + " }"
        )
    ),
    max_leaves=6,
)
settings_keys = st.sampled_from(
    ["name", "source", "url", "key", "mode", "exclude", "references", "generic", "except", "skip", "truncate",
     "on_conflict", "max_changes", "retry_max", "keyy", "'[key]'"]
)  # fmt: skip
sections = st.tuples(
    st.sampled_from(["", "[node]", "[upstream]", "[[tables]]", "[batch]", "[service]", "[other]"]),
    st.dictionaries(settings_keys, values, max_size=5),
).map(lambda part: part[0] + "\n" + "".join(f"{key} = {value}\n" for key, value in part[1].items()))
nearly_right = st.lists(sections, max_size=5).map("".join)


@given(st.text() | soup | nearly_right | nearly_right.map(lambda text: HEAD + text))
@example("a = " + "[" * 400 + "]" * 400)
@example("a" + ".a" * 2000 + " = 1")
@example("[[tables]]\nname = 'a'\n" * 3)
@example("tables = [1, [], {}, [{}]]\nnode = []\nupstream = [{}]\nbatch = 'x'")
@example('[[tables]]\nname = "a"\nreferences = { "" = "", "[key]" = 5, "x" = "" }')
@example('[[tables]]\nname = "[]*"\nexcept = ["[!]", "[", "\\"", "\\"\\"*"]')
def test_any_text_gives_a_configuration_or_problems_with_a_place(text: str) -> None:
    advise(text)
    try:
        config = parse(text, path="dbsync.toml", environ={"X": "x"})
    except InvalidConfig as error:
        lines = text.replace("\r\n", "\n").split("\n")
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
            assert problem.message
        assert "\n\n" not in explain(error.problems)
    else:
        assert isinstance(config, Config)


def test_the_newest_needs_a_column_that_says_so() -> None:
    problem = table('name = "visit"\non_conflict = "newest"')
    assert "newest_by" in problem.message
    parse(
        f'{HEAD}[[tables]]\nname = "visit"\non_conflict = "newest"\nnewest_by = "modified"\n',
        path="dbsync.toml",
        environ={},
    )
    excluded = table('name = "visit"\nnewest_by = "modified"\nexclude = ["modified"]')
    assert excluded.message == "column 'modified' is excluded and decides who is newest"
