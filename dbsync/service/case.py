"""A case of the quarantine in words: what, why, what waits, and what to type next. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence

from dbsync.apply.load import Released
from dbsync.model.policy import Conflict
from dbsync.model.words import ago
from dbsync.service.quarantine import Case, Leaves, Values, shown_leaves
from dbsync.verify.words import counted

OPS = {"I": "insert", "U": "update", "D": "delete", "B": "backfill"}
_NO_KEY = "(no key)"


def said_key(key: Leaves | None) -> str:
    """Show a case's key.

    >>> said_key(["SUBJ-0012", None]), said_key(None)
    ('(SUBJ-0012, null)', '(no key)')
    """
    return (shown_leaves(key) if key else None) or _NO_KEY


def said(case: Case, waiting: Sequence[Case], *, here: bool = False) -> Iterator[str]:
    """Say a case; ``waiting`` are the first changes behind it, ``here`` that it waits in this node's own database."""
    yield (
        f"Row {case.id}: {_what(case)}, from {case.node} batch {case.number}, {ago(case.age)} ago"
        f"     conflict: {case.conflict}"
    )
    yield f"Why    {case.reason}{'' if case.reason.endswith('.') else '.'}"
    if case.state != "waiting":
        yield from _decided(case)
        return
    if case.behind is not None:
        yield f"Try    dbsync quarantine show {case.behind}{' --here' if here else ''}   it is decided with that row"
        return
    yield from _waits(case, waiting)
    yield f"Tried  {counted(case.attempts, 'time')}, last at {case.tried_at:%Y-%m-%d %H:%M} UTC"
    yield from (f"{label.ljust(7)}{text}" for label, text in zip(_LABELS, advice(case, here=here), strict=False))


_LABELS = ("Try", "Or")


def advice(case: Case, *, here: bool = False) -> Iterator[str]:
    """Say what may be typed to end a case, the likeliest first."""
    where = " --here" if here else ""
    retry = f"dbsync quarantine retry {case.id}{where}"
    if case.conflict == Conflict.REFERENCE_MISSING and case.awaits_table and case.awaits_key:
        again = resend_command(str(case.awaits_table), case.awaits_key)
        yield f"{again}      at {case.node}; this one goes in by itself when the row arrives"
    elif case.conflict in _UNTOLD and case.key:
        again = resend_command(str(case.table), case.key)
        yield f"dbsync check, dbsync install-triggers, {again}      at {case.node}; if this one still waits then, skip it"
    else:
        yield _ADVICE.get(case.conflict, _OTHERWISE).format(retry=retry, table=case.table, node=case.node)
    yield f'dbsync quarantine skip {case.id}{where} --reason "..."      (kept in the ledger)'


_UNTOLD = (Conflict.REFERENCE_MISSING, Conflict.UNKEYABLE)
"""The node could not tell which row a column refers to, and has to send its own row again."""
_SOURCE_WINS = "{retry} --source-wins      what the source has is written upstream"
_OTHERWISE = "mend the row in the source, or what refuses it upstream, then: {retry}"
_ADVICE: Mapping[str, str] = {
    Conflict.MISSING_COLUMN: (
        "migrate the upstream; it goes in by itself then. At once: {retry}\n"
        '       If it was dropped there: on_skew = "follow" for {table} leaves it out, and it goes in by itself.\n'
        "       If no migration brings that column any more: skip, and dbsync backfill {table} --again      at {node}"
    ),
    Conflict.UNKEYABLE: "dbsync check, dbsync install-triggers, dbsync backfill {table} --again      at {node}",
    Conflict.DELETE_HELD: "{retry} --source-wins      deletes the row upstream",
    Conflict.STILL_REFERENCED: "take away what refers to the row upstream, then: {retry}",
    Conflict.INSERT_EXISTS: _SOURCE_WINS,
    Conflict.UPDATE_ORIGIN_DIFFERS: _SOURCE_WINS,
    Conflict.DELETE_ORIGIN_DIFFERS: "{retry} --source-wins      deletes the row upstream",
    Conflict.UPDATE_MISSING: "{retry} --source-wins      makes the row anew upstream",
    Conflict.MULTIPLE_UNIQUE_CONFLICTS: "give one of the two rows another value, upstream or in the source, then: {retry}",
}

SOURCE_MAY_WIN = frozenset(conflict for conflict, words in _ADVICE.items() if "--source-wins" in words)
"""Conflicts that a person may decide for the source."""


def resend_command(table: str, key: Leaves) -> str:
    """Write the command that sends a row again, as a shell takes it.

    >>> print(resend_command("visit", ["SUBJ 12", "-1"]))
    dbsync resend visit --key -- 'SUBJ 12' -1
    >>> print(resend_command("visit", [None, "1"]))
    echo '[null, "1"]' | dbsync resend visit --keys-from -
    """
    values = [leaf for leaf in key if leaf is not None]
    name = shlex.quote(table)
    if len(values) < len(key):
        return f"echo {shlex.quote(json.dumps(list(key), ensure_ascii=False))} | dbsync resend {name} --keys-from -"
    apart = "-- " if any(value.startswith("-") for value in values) else ""
    return f"dbsync resend {name} --key {apart}{shlex.join(values)}"


def said_values(values: Values) -> Iterator[str]:
    """List what a change holds, and what it replaces where that is another value."""
    before = dict(values.old)
    for name, value in values.new or values.old:
        was = f"   (before: {_value(before[name])})" if name in before and before[name] != value else ""
        yield f"  {name} = {_value(value)}{was}"


def said_released(done: Released) -> str:
    """Say what became of cases that were tried again."""
    return f"{counted(done.released, 'change')} applied, {counted(done.waiting, 'change')} still waiting"


def said_still(case: Case) -> str:
    """Say why a case that was tried waits still."""
    return f"row {case.id} still waits: {case.conflict}, {case.reason}"


def said_busy(done: Released) -> str:
    """Name the nodes whose cases could not be tried now."""
    return ", ".join(dict.fromkeys(done.busy))


def _what(case: Case) -> str:
    renamed = f" renamed to {said_key(case.key)}" if case.renames and case.old_key else ""
    return f"{OPS.get(case.op, case.op)} {case.table} {said_key(case.old_key if renamed else case.key)}{renamed}"


def _decided(case: Case) -> Iterator[str]:
    when = f"{case.decided_at:%Y-%m-%d %H:%M} UTC" if case.decided_at else ""
    yield f"Done   {case.state} by {case.decided_by} at {when}{f': {case.decision}' if case.decision else ''}"


def _waits(case: Case, waiting: Sequence[Case]) -> Iterator[str]:
    if not case.waits:
        yield "Waits  nothing behind it. All others pass."
        return
    same = all(other.relation == case.relation and other.key == case.key for other in waiting)
    of = " of the same row" if same and len(waiting) == case.waits else " that depend on it"
    yield f"Waits  {counted(case.waits, 'later change')}{of}. All others pass."
    if not same:
        yield from (f"         {other.id}  {_what(other)}" for other in waiting)
        if case.waits > len(waiting):
            yield f"         ... and {case.waits - len(waiting):,} more"


def _value(value: str | None) -> str:
    return "null" if value is None else repr(value)
