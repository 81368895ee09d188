"""``dbsync bundle``: batches on a stick."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dbsync.bundle.find import Left
from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.service import bundles, lists, logs
from dbsync.service import export as exports
from dbsync.service.answering import Answered
from dbsync.verify.words import counted

app = typer.Typer(
    help="""Batches on a stick: for where no line goes.

    A bundle is sealed for the upstream alone, and signed by this node. Until a receipt is back nothing is forgotten here: a
    lost stick costs nothing but time.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder: a mounted stick, or one on it.")]


@app.command("export")
def export(
    folder: FolderArgument,
    *,
    volume: Annotated[
        int, typer.Option(metavar="MB", min=1, max=4_294, help="The largest file; a FAT32 stick takes 4,294.")
    ] = 1_000,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write all that the upstream has no receipt for, and that the stick has not; its receipts are taken first.

    Lists of checked boxes that the upstream has not go along, and the question of a comparison that is under way (dbsync verify). What
    the upstream has for good, and bundles of this node that are damaged, leave the stick.

    JSON: files (list of names), batches and changes (written now), waiting (batches without a receipt, all of them on the
    stick), acknowledged (batches whose receipts were on the stick), lists (of checked boxes, on the stick now), arrived (lists
    of which the stick said that they are there), asked (a question of dbsync verify is on the stick), answered (the stick had the
    answer to the one before), left (what of the upstream's was not used: name, why, hint).
    """
    with logs.quietly():
        done = exports.export(settings(config), folder, limit=volume * 1_000_000)
    if json:
        output.as_json(
            {
                "files": [path.name for path in done.files],
                "batches": done.batches,
                "changes": done.changes,
                "waiting": done.waiting,
                "acknowledged": done.acknowledged,
                "lists": done.lists,
                "arrived": done.arrived,
                "asked": done.asked,
                "answered": done.answered,
                "left": done.left,
            }
        )
        return
    _say_home(done.acknowledged, done.arrived)
    for path in done.files:
        output.line(f"{path.name}  {path.stat().st_size:,} bytes")
    _say_left(done.left)
    if done.answered:
        output.line("a comparison was answered: dbsync verify")
    if done.asked:
        output.talk("a question of dbsync verify is on the stick")
    if not done.waiting and not done.lists:
        output.talk("nothing is pending")
        return
    if done.files:
        output.talk(f"{counted(done.changes, 'change')} in {counted(done.batches, 'batch', 'batches')}, sealed.")
    on_it = [counted(done.waiting, "batch", "batches")] if done.waiting else []
    on_it += [_boxes(done.lists)] if done.lists else []
    verb = "is" if done.waiting + done.lists == 1 else "are"
    output.talk(
        f"{' and '.join(on_it)} {verb} on the stick and {'stays' if verb == 'is' else 'stay'} here as well until a receipt is back;"
        " at the upstream: dbsync bundle import DIR"
    )


@app.command("import")
def import_(folder: FolderArgument, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Apply what is on a stick to this node's own database, and write the receipts onto it.

    Nodes that come with the code of an invitation are let in first. Bundles of any nodes, in any order, brought twice or in
    part: what is next is applied, what is here already is passed over, and what cannot be used yet stays, with a reason.
    Exits 1 when something stays.

    JSON: enrolled (names); brought, each with name, node, applied (batch numbers), known, changes, held; lists (of checked boxes),
    each with name, node, id, new (not here before); answered (questions of dbsync verify), each with name, node, new, tables, differing
    (rows); left, each with name, why, hint.
    """
    with logs.quietly():
        done = bundles.bring_in(settings(config), folder)
    if json:
        output.as_json(
            {
                "enrolled": done.enrolled,
                "brought": [_brought(one) for one in done.brought],
                "lists": [_list(one) for one in done.lists],
                "answered": [_answered(one) for one in done.answered],
                "left": done.left,
            }
        )
    else:
        _show(done)
    if done.left:
        raise typer.Exit(1)


@app.command("receipts")
def receipts(
    folder: FolderArgument,
    *,
    went_back: Annotated[
        bool,
        typer.Option("--went-back", help="The upstream was restored: what these receipts lack is to be sent again."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Take the receipts for this node from a stick; what they are for is in the upstream for good.

    Receipts on a stick may be old, so a person has to say that the upstream lost what it had: with --went-back, and a stick
    that comes from it now. What it has after all is passed over there.
    """
    if went_back:
        with logs.quietly():
            lost = exports.go_back(settings(config), folder)
        output.line(
            f"what the upstream lost goes with the next export: dbsync bundle export {folder}"
            if lost
            else "the upstream has all that this node has receipts for"
        )
        return
    with logs.quietly():
        taken = exports.receive(settings(config), folder)
    _say_home(taken.acknowledged, taken.arrived)
    if not taken.acknowledged and not taken.arrived:
        output.line("no receipts for this node that it did not have")


@app.command("inspect")
def inspect(folder: FolderArgument, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Look at what is on a stick, and change nothing: whose bundles, which batches, and whether they can be opened here.

    JSON: bundles, each with name, key, bytes, node, sender, readable, batches (numbers), why; left as for bundle import.
    """
    looked = bundles.look(settings(config), folder)
    if json:
        output.as_json({"bundles": looked.bundles, "left": looked.left})
        return
    for bundle in looked.bundles:
        output.line(
            f"{bundle.name}  {bundle.bytes:,} bytes, signed with {bundle.key} ({bundle.sender or 'nobody known here'}):"
            f" {counted(len(bundle.batches), 'batch', 'batches') if bundle.readable else bundle.why}"
        )
    _say_left(looked.left)


def _brought(one: bundles.Brought) -> dict[str, Any]:
    return {**asdict(one), "name": one.name.file()}


def _list(one: lists.Brought) -> dict[str, Any]:
    return {"name": one.name.file(), "node": one.name.node, "id": one.name.id, "new": one.new}


def _answered(one: Answered) -> dict[str, Any]:
    return {**asdict(one), "name": one.name.file(), "node": one.name.node}


def _boxes(count: int) -> str:
    return counted(count, "list of a checked box", "lists of checked boxes")


def _show(done: bundles.Imported) -> None:
    for name in done.enrolled:
        output.line(f"{name} is enrolled")
    for one in done.brought:
        known = f", {one.known} known already" if one.known else ""
        held = f"; {counted(one.held, 'change')} in quarantine: dbsync quarantine list --here" if one.held else ""
        output.line(
            f"{one.node}: {counted(len(one.applied), 'batch', 'batches')} applied{known}, {counted(one.changes, 'change')}{held}"
        )
    for node, count in sorted(Counter(one.name.node for one in done.lists if one.new).items()):
        output.line(f"{node}: {_boxes(count)} kept")
    for answered in done.answered:
        if answered.new:
            differing = f", {counted(answered.differing, 'row')} of which differ" if answered.differing else ""
            output.line(
                f"{answered.name.node}: a comparison of {counted(answered.tables, 'table')} answered{differing}"
            )
    _say_left(done.left)
    if done.brought or done.lists or done.answered:
        what = "receipts are" if done.brought or done.lists else "answer is"
        output.talk(f"the {what} on the stick: let it come back to its nodes")
    elif not done.left and not done.enrolled:
        output.talk("there is no bundle in this folder")


def _say_left(left: tuple[Left, ...]) -> None:
    for one in left:
        output.line(f"{one.name} stays: {one.why}")
        output.talk(f"  try  {one.hint}")


def _say_home(batches: int, boxes: int) -> None:
    if batches:
        output.line(f"{counted(batches, 'batch', 'batches')} acknowledged: the upstream has them for good")
    if boxes:
        output.line(f"{_boxes(boxes)} arrived: the upstream has kept {'it' if boxes == 1 else 'them'}")
