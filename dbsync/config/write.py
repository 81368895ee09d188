"""Write a proposed dbsync.toml, with its reasons as comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import tomlkit

from dbsync.config import dsn
from dbsync.config.proposal import Proposal, ProposedTable
from dbsync.config.redact import secret_spans
from dbsync.model.names import TableName
from dbsync.model.registration import Mode

_WIDTH = 116
_CLEAR_TEXT = (
    "A password stands here in clear. Better: leave it out and let libpq find it (PGPASSFILE, or a service file with",
    'service=...), or write "${NAME}" in its place and set NAME in the environment.',
)


def render(proposal: Proposal, node: str, source: str, upstream: str) -> str:
    """Render a proposal as the text of a dbsync.toml; the same proposal gives the same text."""
    lookups = [entry for entry in proposal.tables if entry.mode is Mode.LOOKUP]
    shipped = [entry for entry in proposal.tables if entry.mode is Mode.SHIP]
    lines = [
        *_comment(
            f"What dbsync ships from {proposal.database}: {_count(shipped, 'table')}, and {_count(lookups, 'lookup')}."
            " Proposed by dbsync init from what the database says; it is yours to change."
        ),
        *_comment(
            "The key decides which rows of different nodes are the same row. Read the keys through, then: dbsync check"
        ),
        "",
        "[node]",
        f"name   = {_value(node)}",
        *_connection("source", source),
        "",
        "[upstream]",
        *_connection("url", upstream),
        *_named(upstream),
        *_section("Lookups: they exist on both sides, are not shipped, and only resolve references", lookups),
        *_section("Shipped", shipped),
        *_left_out(proposal),
    ]
    return "\n".join(lines) + "\n"


def entry(proposed: ProposedTable) -> str:
    """Render one entry, with its reasons."""
    return "\n".join(_entry(proposed))


def _connection(setting: str, text: str) -> Iterator[str]:
    if secret_spans(text):
        yield from (f"# {line}" for line in _CLEAR_TEXT)
    yield f"{setting.ljust(6)} = {_value(text)}" if setting == "source" else f"{setting} = {_value(text)}"


def _named(upstream: str) -> Iterator[str]:
    """Name an upstream whose address is a stick's; it keeps the name when a line comes."""
    if dsn.scheme(upstream) == "file":
        yield 'name = "upstream"'


def _section(title: str, entries: Sequence[ProposedTable]) -> Iterator[str]:
    if entries:
        yield ""
        yield f"# --- {title} ---"
    for entry in entries:
        yield ""
        yield from _entry(entry)


def _entry(entry: ProposedTable) -> Iterator[str]:
    yield from (line for note in entry.notes for line in _comment(_sentence(note)))
    yield "[[tables]]"
    lookup = entry.mode is Mode.LOOKUP
    name, mode, reason = f"name = {_value(str(entry.name))}", 'mode = "lookup"', f"key: {entry.why}"
    if entry.key is not None:
        yield from (name, mode) if lookup else (name,)
        yield from _line(f"key = {_list(entry.key)}", entry.why)
    elif lookup:
        yield name
        yield from _line(mode, reason)
    else:
        yield from _line(name, reason)
    yield from (f"#     {_list(other)} would do as well" for other in entry.candidates)
    if entry.exclude:
        yield f"exclude = {_list(entry.exclude)}"
    if entry.generic:
        pairs = ", ".join(f"{{ type = {_value(one)}, id = {_value(other)} }}" for one, other in entry.generic)
        yield f"generic = [{pairs}]"
    yield from _references(entry)


def _references(entry: ProposedTable) -> Iterator[str]:
    if entry.references:
        line = f"references = {_inline(entry.references)}"
        if len(line) <= _WIDTH:
            yield line
        else:
            yield "[tables.references]"
            yield from (f"{_name(column)} = {_value(str(table))}" for column, table in entry.references.items())
    if entry.guesses:
        yield from _comment("Not shipped as references, since no constraint says so, but their names look like it:")
        yield f"# references = {_inline(_also(entry))}"


def _line(code: str, reason: str) -> Iterator[str]:
    """Put the reason behind the setting, or above it where the line would grow long."""
    reason = _one_line(reason)
    if len(code) + len(reason) + 5 <= _WIDTH:
        yield f"{code}   # {reason}"
    else:
        yield from _comment(reason)
        yield code


def _also(entry: ProposedTable) -> Mapping[str, TableName]:
    return {**entry.references, **entry.guesses}


def _left_out(proposal: Proposal) -> Iterator[str]:
    if proposal.left_out:
        yield ""
        yield "# --- Left out ---"
    width = max((len(str(omission.name)) for omission in proposal.left_out), default=0)
    for omission in proposal.left_out:
        yield f"# {str(omission.name).ljust(width)}   {_one_line(omission.why)}"


def _inline(references: Mapping[str, TableName]) -> str:
    return "{ " + ", ".join(f"{_name(column)} = {_value(str(table))}" for column, table in references.items()) + " }"


def _list(key: Iterable[str]) -> str:
    if isinstance(key, str):
        return _value(key)
    return "[" + ", ".join(_value(column) for column in key) + "]"


def _value(text: str) -> str:
    return tomlkit.item(text).as_string()


def _name(text: str) -> str:
    return tomlkit.key(text).as_string()


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in _one_line(text).split(" "):
        if len(line) + len(word) >= _WIDTH:
            yield line
            line = "#"
        line = f"{line} {word}"
    yield line


def _one_line(text: str) -> str:
    """Keep a comment a comment, whatever a table is called: control characters would end the line or the file."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _sentence(text: str) -> str:
    return text if text[:1] in "'(" else text[:1].upper() + text[1:]


def _count(entries: Sequence[ProposedTable], noun: str) -> str:
    return f"{len(entries)} {noun}{'' if len(entries) == 1 else 's'}"
