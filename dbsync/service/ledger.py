"""A conflict of the ledger in words: what was found, what was decided, and what taking it back did. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dbsync.model.policy import Conflict
from dbsync.model.words import ago
from dbsync.service.case import said_key
from dbsync.service.conflicts import Entry, Undone
from dbsync.service.undo import Step

_FOUND: dict[str, str] = {
    Conflict.INSERT_EXISTS: "the source inserted a row that upstream had already, with other values",
    Conflict.UPDATE_ORIGIN_DIFFERS: "both sides had changed the same columns",
    Conflict.UPDATE_MISSING: "the source changed a row that upstream did not have",
    Conflict.DELETE_ORIGIN_DIFFERS: "the source deleted a row that had been changed upstream",
    Conflict.DELETE_MISSING: "the source deleted a row that upstream did not have",
}
_DECIDED = {
    "source": "what the source wanted was written",
    "upstream": "upstream kept what it had",
    "none": "there was nothing to do",
    "quarantine": "it waits for a person: dbsync quarantine list",
}


def found(entry: Entry) -> str:
    """Say what two sides had done."""
    return _FOUND.get(entry.conflict, entry.conflict)


def decided(entry: Entry) -> str:
    """Say what was decided."""
    return _DECIDED.get(entry.decision, entry.decision)


def may_be_undone(entry: Entry) -> bool:
    """Say whether there is something to take back."""
    return entry.undone_at is None and entry.decision in ("source", "upstream")


def said(entry: Entry, *, here: bool) -> Iterator[str]:
    """Say a conflict; ``here`` that it was found in this node's own database."""
    where = " --here" if here else ""
    first = f", first captured at {entry.origin}" if entry.origin and entry.origin != entry.node else ""
    yield (
        f"Conflict {entry.id}: {entry.table} {said_key(entry.key)}, from {entry.node} batch {entry.number}{first},"
        f" {ago(entry.age)} ago     {entry.conflict}"
    )
    yield f"Found  {found(entry)}"
    if entry.columns:
        yield f"Differ {', '.join(entry.columns)}"
    waits = where if entry.decision == "quarantine" else ""
    yield f'Rule   on_conflict = "{entry.rule}": {decided(entry)}{waits}'
    if entry.undone_at:
        yield f"Undone by {entry.undone_by} at {entry.undone_at:%Y-%m-%d %H:%M} UTC"
    elif may_be_undone(entry):
        yield f"Try    dbsync conflicts undo {entry.id}{where} --dry-run      then without --dry-run"


def said_undone(done: Undone, *, dry_run: bool) -> str:
    """Say what an undo did, or would do."""
    row = f"{done.entry.table} {said_key(done.entry.key)}"
    verb = "would be" if dry_run else "was"
    match done.step:
        case Step.UPDATE:
            return f"{row}: {', '.join(done.columns)} {verb} given back what the loser wanted"
        case Step.INSERT:
            return f"{row} {verb} inserted again"
        case Step.DELETE:
            return f"{row} {verb} deleted"
