"""A table more in dbsync.toml: what somebody asks for, what the database says to it, and what would not do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal

from dbsync.config.models import Config
from dbsync.config.patterns import is_pattern
from dbsync.config.proposal import Proposal, ProposedTable
from dbsync.errors import Refusal, UsageError
from dbsync.keys.propose import propose
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Mode

Seen = tuple[Catalog, Catalog | None]
"""What the source has, and what the upstream has where it was in reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody says of a table, or the names of several."""

    names: tuple[str, ...]
    mode: Mode | None = None
    key: tuple[str, ...] | Literal["row_id"] = ()
    exclude: tuple[str, ...] = ()
    references: Mapping[str, TableName] = field(default_factory=dict)

    @property
    def is_of_one(self) -> bool:
        """Say whether it says what only one table can have."""
        return bool(self.key or self.exclude or self.references)

    def over(self, proposed: ProposedTable) -> ProposedTable:
        """Give a proposal with what was said in the place of what was found."""
        entry = replace(
            proposed,
            mode=self.mode or proposed.mode,
            exclude=tuple(dict.fromkeys((*proposed.exclude, *self.exclude))),
            references={**proposed.references, **self.references},
            guesses={column: table for column, table in proposed.guesses.items() if column not in self.references},
        )
        return replace(entry, key=self.key, why="as it was given", candidates=()) if self.key else entry


def planned(before: Config, wish: Wish, seen: Seen | None) -> tuple[ProposedTable, ...]:
    """Give the entries to be added: of what is asked for, and of what that refers to and has none yet.

    Without a look at the database they say what was given. Refuses what stands in the file already, and what is not there.
    """
    if wish.is_of_one and (len(wish.names) > 1 or is_pattern(wish.names[0])):
        raise UsageError("a key, columns and references are those of one table", hint="name one table at a time")
    if seen is None:
        proposal = Proposal(database="", tables=tuple(ProposedTable(name=name) for name in _named(wish)))
    else:
        proposal = propose(*seen, wish.names)
        _refuse_unknown(wish, seen[0], proposal)
    asked = {one.name for one in proposal.tables if any(one.name.matches(name) for name in wish.names)}
    _refuse_known(before, asked, wish)
    return tuple(
        wish.over(one) if one.name in asked else one
        for one in proposal.tables
        if one.name in asked or before.entry_for(one.name) is None
    )


def refuse_what_would_not_do(after: Config, entries: Sequence[ProposedTable], seen: Seen | None) -> None:
    """Refuse entries whose keys or references cannot be, by what the source says of its tables."""
    if seen is None:
        return
    _, findings = register(after, seen[0])
    added = {str(one.name) for one in entries}
    wrong = [found for found in findings if found.severity is Severity.ERROR and found.where in added]
    if wrong:
        raise Refusal(
            "that would not do, and nothing was written",
            where=", ".join(dict.fromkeys(found.where for found in wrong)),
            why="; ".join(found.what for found in wrong),
            hint=wrong[0].remedy,
        )


def _named(wish: Wish) -> Iterator[TableName]:
    for name in wish.names:
        try:
            yield TableName.parse(name)
        except ValueError:
            raise UsageError(
                f"not a table's name: {name!r}", hint="write table, schema.table or '\"A table\"'"
            ) from None


def _refuse_unknown(wish: Wish, catalog: Catalog, proposal: Proposal) -> None:
    for name in wish.names:
        if not any(table.matches(name) for table in catalog.tables):
            close = get_close_matches(name, [str(table) for table in catalog.tables], n=3)
            why = f"did you mean {' or '.join(close)}?" if close else ""
            raise Refusal(
                f"the source has no table {name}", where="source", why=why, hint="dbsync tables --unregistered"
            )
    for left in proposal.left_out:
        if str(left.name) in wish.names:
            raise Refusal(
                f"{left.name} is better left out",
                where="source",
                why=left.why,
                hint=f"dbsync config edit add-table {left.name} --offline   writes it all the same",
            )


def _refuse_known(before: Config, asked: set[TableName], wish: Wish) -> None:
    """Refuse tables that an entry names; one that a pattern selects gets an entry of its own."""
    known = sorted(str(entry.table) for entry in before.tables if entry.table in asked)
    if known:
        raise Refusal(
            f"{', '.join(known)} stands in dbsync.toml already",
            where="dbsync.toml",
            why="a table has one entry",
            hint=f"dbsync config show   says in which line; change it there{'' if wish.mode else ', then: dbsync check'}",
        )
