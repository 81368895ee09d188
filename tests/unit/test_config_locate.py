"""The places of keys and values in a TOML document."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbsync.config.locate import Loc, Positions, Span, locate

names = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=6),
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
spaces = st.sampled_from(["", " ", "\t ", "   "])
gaps = st.sampled_from(["", " ", "\n", ' # a [comment], with {signs} = "\n  ', "\n\n\t"])


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def written_names(draw: st.DrawFn, name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    forms = [quoted(name)] + ([name] if plain else []) + ([f"'{name}'"] if "'" not in name else [])
    return draw(st.sampled_from(forms))


@dataclass
class Writer:
    """Writes a document and notes where everything went, by counting characters."""

    draw: st.DrawFn
    text: str = ""
    keys: dict[Loc, Span] = field(default_factory=dict)
    values: dict[Loc, Span] = field(default_factory=dict)

    def put(self, written: str) -> Span:
        line = self.text.count("\n") + 1
        column = len(self.text) - (self.text.rfind("\n") + 1) + 1
        self.text += written
        return Span(line=line, column=column, length=len(written.partition("\n")[0]))

    def blank(self, strategy: st.SearchStrategy[str]) -> None:
        self.put(self.draw(strategy))

    def pairs(self, section: Loc, depth: int, between: str) -> None:
        for name in self.draw(st.lists(names, max_size=3, unique=True)):
            if between == "," and self.keys_of(section):
                self.put(",")
            self.blank(spaces)
            self.pair((*section, name), depth)
            self.blank(spaces)
            if between == "\n":
                self.blank(st.sampled_from(["\n", "  # [why] = 'not'\n", "\n\n"]))

    def keys_of(self, section: Loc) -> list[Loc]:
        return [loc for loc in self.keys if loc[:-1] == section and loc != section]

    def pair(self, loc: Loc, depth: int) -> None:
        self.keys[loc] = self.put(self.draw(written_names(str(loc[-1]))))
        self.blank(spaces)
        self.put("=")
        self.blank(spaces)
        self.value(loc, depth)

    def value(self, loc: Loc, depth: int) -> None:
        kinds = ["text", "number"] + (["list", "table"] if depth < 2 else [])
        match self.draw(st.sampled_from(kinds)):
            case "list":
                self.array(loc, depth)
            case "table":
                start = self.put("{")
                self.pairs(loc, depth + 1, ",")
                self.put("}")
                self.note(loc, start)
            case "text":
                self.values[loc] = self.put(self.draw(scalars()))
            case _:
                self.values[loc] = self.put(self.draw(st.sampled_from(["1", "-2.5", "true", "1979-05-27 07:32:00"])))

    def array(self, loc: Loc, depth: int) -> None:
        start = self.put("[")
        for index in range(self.draw(st.integers(0, 3))):
            self.blank(gaps)
            self.value((*loc, index), depth + 1)
            self.blank(gaps)
            self.put(",")
        self.blank(gaps)
        self.put("]")
        self.note(loc, start)

    def note(self, loc: Loc, start: Span) -> None:
        first_line = self.text.split("\n")[start.line - 1]
        whole = self.text.count("\n") + 1 == start.line
        end = len(first_line) if not whole else len(self.text) - (self.text.rfind("\n") + 1)
        self.values[loc] = Span(line=start.line, column=start.column, length=end - start.column + 1)

    def header(self, name: str, index: int | None) -> Loc:
        loc: Loc = (name,) if index is None else (name, index)
        brackets = ("[", "]") if index is None else ("[[", "]]")
        start = self.put(brackets[0])
        key = self.put(self.draw(written_names(name)))
        self.put(brackets[1])
        self.keys.setdefault((name,), key)
        self.keys.setdefault(loc, key)
        self.note(loc, start)
        self.blank(st.sampled_from(["\n", " # so\n"]))
        return loc


@st.composite
def scalars(draw: st.DrawFn) -> str:
    text = draw(texts)
    clean = text.replace("\r", "").replace("\\", "")
    printable = "".join(character for character in clean if character.isprintable() or character == "\n")
    forms = [quoted(text)]
    if '"' not in printable:
        forms.append(f'"""{printable}"""')
    if "'" not in printable:
        forms.append(f"'''{printable}'''")
        forms.append("'" + printable.replace("\n", "") + "'")
    return draw(st.sampled_from(forms))


@st.composite
def documents(draw: st.DrawFn) -> Writer:
    writer = Writer(draw)
    writer.pairs((), 0, "\n")
    taken = {str(loc[0]) for loc in writer.keys}
    for name in draw(st.lists(names.filter(lambda name: name not in taken), max_size=3, unique=True)):
        elements = draw(st.sampled_from([None, 1, 2]))
        for index in [None] if elements is None else range(elements):
            writer.pairs(writer.header(name, index), 0, "\n")
    return writer


@given(documents())
def test_every_key_and_value_is_found_where_it_was_written(written: Writer) -> None:
    tomllib.loads(written.text)
    found = locate(written.text)
    assert found.keys == written.keys
    assert found.values == written.values


@given(st.text(max_size=80) | st.text(st.sampled_from("[]{}=.,#\"'\\ \nab1"), max_size=60))
@example("a = [" * 3000)
@example('a = """')
@example("[[a")
def test_any_text_is_searched_without_an_error(text: str) -> None:
    lines = text.split("\n")
    found = locate(text)
    for span in [*found.keys.values(), *found.values.values()]:
        assert 1 <= span.line <= len(lines)
        assert 1 <= span.column <= len(lines[span.line - 1]) + 1


DOCUMENT = '''\
top.deep = 1

[a."b c"]
x = """
several
lines"""
[[rows]]
list = [ # why
  "one",
  { two = 2 },
]
[[rows]]
[rows.sub]
y = 1
[[rows.more]]
z = 2 # so
'''


@pytest.mark.parametrize(
    ("loc", "key", "value"),
    [
        (("top",), (1, 1, 3), (1, 1, 3)),
        (("top", "deep"), (1, 5, 4), (1, 12, 1)),
        (("a", "b c"), (3, 4, 5), (3, 1, 9)),
        (("a", "b c", "x"), (4, 1, 1), (4, 5, 3)),
        (("rows", 0), (7, 3, 4), (7, 1, 8)),
        (("rows", 0, "list"), (8, 1, 4), (8, 8, 7)),
        (("rows", 0, "list", 0), (9, 3, 5), (9, 3, 5)),
        (("rows", 0, "list", 1, "two"), (10, 5, 3), (10, 11, 1)),
        (("rows", 1), (12, 3, 4), (12, 1, 8)),
        (("rows", 1, "sub", "y"), (14, 1, 1), (14, 5, 1)),
        (("rows", 1, "more", 0, "z"), (16, 1, 1), (16, 5, 1)),
    ],
)
def test_headers_and_dotted_keys_lead_to_their_place(
    loc: Loc, key: tuple[int, int, int], value: tuple[int, int, int]
) -> None:
    found = locate(DOCUMENT)
    assert _triple(found.key(loc)) == key
    assert _triple(found.value(loc)) == value


def test_what_is_not_there_is_looked_for_in_what_encloses_it() -> None:
    found = locate("[upstream]\nname = 'x'\n")
    assert _triple(found.value(("upstream", "url"))) == (1, 1, 10)
    assert found.value(("node", "name")) is None
    assert Positions(keys={}, values={}).key(()) is None


def _triple(span: Span | None) -> tuple[int, int, int] | None:
    return None if span is None else (span.line, span.column, span.length)
