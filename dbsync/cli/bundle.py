"""``dbsync bundle``: batches on a stick."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dbsync.bundle.find import Left
from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.service import bundles, logs
from dbsync.service import export as exports
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

    Bundles that the upstream has for good, and those of this node that are damaged, leave the stick.

    JSON: files (list of names), batches and changes (written now), waiting (batches without a receipt, all of them on the
    stick), acknowledged (batches whose receipts were on the stick), left (receipts that were not used: name, why, hint).
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
                "left": done.left,
            }
        )
        return
    _say_acknowledged(done.acknowledged)
    for path in done.files:
        output.line(f"{path.name}  {path.stat().st_size:,} bytes")
    _say_left(done.left)
    if not done.waiting:
        output.talk("nothing is pending")
        return
    if done.files:
        output.talk(f"{counted(done.changes, 'change')} in {counted(done.batches, 'batch', 'batches')}, sealed.")
    output.talk(
        f"{counted(done.waiting, 'batch is', 'batches are')} on the stick and stay here as well until a receipt is back;"
        " at the upstream: dbsync bundle import DIR"
    )


@app.command("import")
def import_(folder: FolderArgument, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Apply what is on a stick to this node's own database, and write the receipts onto it.

    Nodes that come with the code of an invitation are let in first. Bundles of any nodes, in any order, brought twice or in
    part: what is next is applied, what is here already is passed over, and what cannot be used yet stays, with a reason.
    Exits 1 when something stays.

    JSON: enrolled (names); brought, each with name, node, applied (batch numbers), known, changes, held; left, each with name, why, hint.
    """
    with logs.quietly():
        done = bundles.bring_in(settings(config), folder)
    if json:
        output.as_json(
            {"enrolled": done.enrolled, "brought": [_brought(one) for one in done.brought], "left": done.left}
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
    _say_acknowledged(taken)
    if not taken:
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


def _show(done: bundles.Imported) -> None:
    for name in done.enrolled:
        output.line(f"{name} is enrolled")
    for one in done.brought:
        known = f", {one.known} known already" if one.known else ""
        held = f"; {counted(one.held, 'change')} in quarantine: dbsync quarantine list --here" if one.held else ""
        output.line(
            f"{one.node}: {counted(len(one.applied), 'batch', 'batches')} applied{known}, {counted(one.changes, 'change')}{held}"
        )
    _say_left(done.left)
    if done.brought:
        output.talk("the receipts are on the stick: let it come back to its nodes")
    elif not done.left and not done.enrolled:
        output.talk("there is no bundle in this folder")


def _say_left(left: tuple[Left, ...]) -> None:
    for one in left:
        output.line(f"{one.name} stays: {one.why}")
        output.talk(f"  try  {one.hint}")


def _say_acknowledged(count: int) -> None:
    if count:
        output.line(f"{counted(count, 'batch', 'batches')} acknowledged: the upstream has them for good")
