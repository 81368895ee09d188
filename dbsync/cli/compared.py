"""What came out of a comparison, for a person; and how one by stick stands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote

import typer

from dbsync.cli import output
from dbsync.config.models import Config
from dbsync.errors import Interrupted, UsageError
from dbsync.service import inquiry, logs
from dbsync.service.inquiry import Told, Wish
from dbsync.service.verify import Found
from dbsync.verify import words


def show(found: Found, *, ignore_extra: bool = False, so_far: bool = False, way: str = "") -> None:
    """Print it for a person: the tables, the first rows that differ, what to do, and the answer last; none of these ``so_far``."""
    report, pending, repaired = found.report, found.pending, found.repaired
    output.table(words.HEADINGS, [words.cells(compared) for compared in report.tables], right=words.HEADINGS[1:])
    _block(words.listing(report, ignore_extra=ignore_extra))
    _block(words.remarks(report))
    if so_far:
        output.line("")
        return
    if not report.agrees(ignore_extra=ignore_extra):
        what_next = words.remedies(report, ignore_extra=ignore_extra, pending=pending, way=way, held=found.held)
        _block(what_next if repaired is None else words.repaired(repaired))
    _block(words.closing(report, ignore_extra=ignore_extra, pending=pending))


def _block(lines: Iterable[str]) -> None:
    """Print lines after an empty one, if there are any."""
    for position, line in enumerate(lines):
        if not position:
            output.line("")
        output.line(line)


def by_stick(settings: Config, folder: Path | None, wish: Wish, *, show_values: bool, json: bool) -> None:
    """Do what this visit of a stick leads to, and say how the comparison stands; exits as ``verify`` does, 75 before it is done."""
    _refuse_values(show_values)
    with logs.quietly():
        told = inquiry.compare(
            settings, folder, wish, wait=lambda: output.talk("the service has the stick in hand ...")
        )
    for left in told.left:
        output.talk(f"{left.name} stays: {left.why}")
    next_step = f"take the stick to {settings.upstream.label} (there: dbsync bundle import DIR, or its service does it), bring it back"
    way = "" if folder is None else f"--stick {quote(str(folder))}"
    _show_told(told, wish, next_step, way, json=json)


def by_relay(settings: Config, wish: Wish, *, show_values: bool, json: bool) -> None:
    """Do what the relays in reach lead to, and say how the comparison stands; exits as :func:`by_stick` does."""
    _refuse_values(show_values)
    with logs.quietly():
        told = inquiry.compare_by_relay(settings, wish)
    goes = "went with a relay" if told.comparison.question else "leaves with the first relay that is in reach"
    next_step = f"the question {goes}; wait until one has been at {settings.upstream.label} and is back"
    _show_told(told, wish, next_step, "--relay", json=json)


def _refuse_values(wanted: bool) -> None:
    if wanted:
        raise UsageError(
            "--show-values needs a direct connection to the upstream", why="where no line goes only hashes travel"
        )


def _show_told(told: Told, wish: Wish, next_step: str, way: str, *, json: bool) -> None:
    """Say how a comparison stands, and what to do next; exits 75 before it is done, 1 where something differs."""
    again = " ".join(["dbsync verify", way]).strip()
    ignore_extra = wish.ignore_extra or told.comparison.ignore_extra
    if json:
        output.as_json(_as_json(told, ignore_extra=ignore_extra))
    elif told.settled:
        show(
            Found(report=told.report, pending=told.pending, repaired=told.comparison.repaired),
            ignore_extra=ignore_extra,
            way=way,
        )
        _block(words.moments(told.comparison.asked_at, told.comparison.answered_at))
        if told.open:
            output.talk(f"the names of the columns that differ come with the next visit, then: {again} --last")
    else:
        _show_under_way(told, f"{next_step}, then type: {again}")
    if not told.settled:
        raise typer.Exit(Interrupted.exit_code)
    if not told.report.agrees(ignore_extra=ignore_extra):
        raise typer.Exit(1)


def _show_under_way(told: Told, next_step: str) -> None:
    """Say what is known so far, and what to do next."""
    if told.comparison.answered_at is not None:
        show(Found(report=told.report, pending=None, repaired=None), so_far=True)
    if told.comparison.question:
        for line in words.under_way(tables=told.open, rows=told.report.source_rows, again=told.unsettled):
            output.line(line)
    output.talk(next_step)


def _as_json(told: Told, *, ignore_extra: bool) -> dict[str, object]:
    found = told.report.as_json(ignore_extra=ignore_extra, pending=told.pending)
    return {
        **found,
        "agree": found["agree"] if told.settled else None,
        "repaired": told.comparison.repaired,
        "visit": {
            "settled": told.settled,
            "asked_at": told.comparison.asked_at,
            "answered_at": told.comparison.answered_at,
            "asking": told.open,
            "again": told.unsettled,
        },
    }
