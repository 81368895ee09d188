"""``dbsync certificate``: a signed statement of what the destination has."""

from __future__ import annotations

from os import strerror
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.identity.certificate import Certificate, read_certificate
from dbsync.identity.keys import Signed
from dbsync.verify.words import counted

if TYPE_CHECKING:
    from dbsync.config.models import Config
    from dbsync.service.certificate import Certified

SIGNATURE = ".minisig"


def certificate(
    node: Annotated[
        str | None,
        typer.Argument(
            metavar="NODE",
            help="At a destination: which node's; else this node asks its upstream.",
            autocompletion=complete.peers,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it there, and its signature beside it (.minisig)."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Read the one that a stick brought, in this folder."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say, signed by the destination, up to where it has this node's changes; and list what it has not.

    Without a line to the upstream it is the certificate that a relay in reach or the stick has brought.

    For whoever decides that a laptop may be wiped: exits 0 when the destination has every change captured up to this moment and
    none waits in its quarantine, else 1. The destination's signature is minisign's.

    JSON: complete, until, stale (older than the last receipt), doubts (why there may be rows that nobody captured),
    missing (table: changes), and of the certificate
    destination, node, number, applied_at, waiting, above (tier: up to which batch it has everything), at; certificate is
    null before the first batch.
    """
    chosen = settings(config)
    if node is not None:
        _issue(chosen, node, out, json=json)
        return
    from dbsync.service.certificate import ask  # noqa: PLC0415 - takes long to import

    found = ask(chosen, folder)
    if json:
        output.as_json(_found_json(found))
    else:
        _tell(found)
    if not found.complete:
        output.talk("do not wipe this laptop yet: dbsync run   then: dbsync certificate")
    if found.signed is not None:
        _write(out, found.signed)
    if not found.complete:
        raise typer.Exit(1)


def _issue(chosen: Config, node: str, out: Path | None, *, json: bool) -> None:
    """Certify, at a destination, what is there of a node."""
    from dbsync.service.certificate import issue_here  # noqa: PLC0415 - takes long to import
    from dbsync.service.nodes import own_keys  # noqa: PLC0415 - likewise

    signed = issue_here(chosen, node)
    _issued(read_certificate(signed, own_keys(chosen)), json=json)
    _write(out, signed)


def _tell(found: Certified) -> None:
    """Say what the destination has, and what it has not."""
    if found.certificate is not None:
        _show(found.certificate)
    for doubt in found.doubts:
        output.line(doubt)
    missing = sum(waiting.changes for waiting in found.missing.values())
    if missing:
        tables = ", ".join(f"{table} {waiting.changes:,}" for table, waiting in found.missing.items())
        output.line(
            f"{counted(missing, 'change')} captured here {'is' if missing == 1 else 'are'} missing there: {tables}"
        )
    elif found.certificate is None and found.stale:
        output.line(f"no certificate is there, and batch {found.acknowledged} has its receipt")
    elif found.stale:
        output.line(f"the certificate is older than the last receipt, which is for batch {found.acknowledged}")
    elif not found.doubts:
        output.line(f"every change captured here up to {found.until:%Y-%m-%d %H:%M:%S %Z} is there")


def _found_json(found: Certified) -> dict[str, object]:
    return {
        "complete": found.complete,
        "until": found.until,
        "stale": found.stale,
        "doubts": list(found.doubts),
        "missing": {table: waiting.changes for table, waiting in found.missing.items()},
        "certificate": _json(found.certificate),
    }


def _issued(found: Certificate, *, json: bool) -> None:
    if json:
        output.as_json({"certificate": _json(found)})
    else:
        _show(found)


def _show(found: Certificate) -> None:
    output.line(
        f"{found.destination} certifies: everything of {found.node} up to batch {found.number}, applied"
        f" {found.applied_at:%Y-%m-%d %H:%M:%S %Z}"
    )
    output.line(f"  as of {found.at:%Y-%m-%d %H:%M:%S %Z}")
    if found.waiting:
        output.line(
            f"  of it {counted(found.waiting, 'change')} in quarantine there: dbsync quarantine list   (at {found.destination})"
        )
    for tier, number in found.above.items():
        reached = (
            "it cannot be told yet"
            if number is None
            else "all of it"
            if number >= found.number
            else f"up to batch {number}"
        )
        output.line(f"  {tier}: {reached}")


def _json(found: Certificate | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "destination": found.destination,
        "node": found.node,
        "number": found.number,
        "applied_at": found.applied_at,
        "waiting": found.waiting,
        "above": dict(found.above),
        "at": found.at,
    }


def _write(out: Path | None, signed: Signed) -> None:
    if out is None:
        return
    try:
        out.write_bytes(signed.data)
        out.with_name(out.name + SIGNATURE).write_bytes(signed.signature)
    except OSError as error:
        raise UsageError(
            f"the certificate cannot be written to {out}",
            where="--out",
            why=strerror(error.errno or 0),
            hint="dbsync certificate --out FILE   in a folder that you may write to",
        ) from error
    output.talk(f"{out} and {out.name}{SIGNATURE}: minisign -V -P (dbsync nodes show of the destination) -m {out}")
