"""``dbsync relay``: a middleman's laptop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbsync.bundle.names import read_name
from dbsync.cli import output
from dbsync.cli.nodes import NAME, duration
from dbsync.cli.options import JsonOption
from dbsync.cli.status import ago, size
from dbsync.errors import UsageError
from dbsync.verify.words import counted

if TYPE_CHECKING:
    from dbsync.identity.registry import Peer
    from dbsync.relay.middleman import Middleman, Standing

VARIABLE = "DBSYNC_RELAY"
HEADINGS = ("NODE", "STATE", "BUNDLES", "SIZE", "SINCE", "SEEN", "TROUBLE")

app = typer.Typer(
    help="""A middleman's laptop: carries sealed bundles from nodes to their upstream, and receipts home.

    It needs no PostgreSQL and cannot read what it carries. Nodes keep every change until the upstream's receipt is back: a
    relay that is lost costs nothing but time.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FolderOption = Annotated[
    Path,
    typer.Option("--folder", metavar="DIR", envvar=VARIABLE, help="The relay's folder, made by dbsync relay init."),
]
HERE = Path()


@app.command("init")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What others call this relay.")],
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where nodes on the local network reach it.")
    ] = "127.0.0.1:8443",
    folder: FolderOption = HERE,
) -> None:
    """Make a relay: its folder, relay.toml and keys."""
    from dbsync.relay.middleman import begin  # noqa: PLC0415 - takes long to import, and other commands need it not

    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name", why="a name has 1 to 63 letters, digits, '.', '_' or '-'", hint="")
    path = begin(folder, name, listen)
    output.line(f"{name} is a relay now: {path}")
    output.talk(f"next, at the upstream: dbsync nodes invite {name} --relay   then here: dbsync relay enrol URL CODE")


@app.command("enrol")
def enrol(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The upstream's address: https://host or https://host:port")
    ],
    code: Annotated[str, typer.Argument(metavar="CODE", help="What dbsync nodes invite --relay printed over there.")],
    *,
    folder: FolderOption = HERE,
) -> None:
    """Exchange keys with the upstream that bundles go to."""
    from dbsync.config.edit import set_upstream  # noqa: PLC0415 - tomlkit takes long to import

    with _opened(folder) as relay:
        met = relay.enrol(url, code)
        output.line(f"{relay.config.relay.name} is enrolled with {met.name} (key {met.keys.key_id})")
    set_upstream(_file(folder), url)
    output.talk("next: dbsync relay invite NODE   then: dbsync relay run")


@app.command("invite")
def invite(
    name: Annotated[str, typer.Argument(metavar="NODE", help="The node's name, as in its dbsync.toml.")],
    *,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long the code is good: 30min, 12h, 7d.")] = "7d",
    folder: FolderOption = HERE,
) -> None:
    """Let a node hand over its bundles: prints a code that is good for one use, to be typed there."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a node", hint="")
    with _opened(folder) as relay:
        code = relay.invite(name, duration(expires))
    output.line(code)
    output.talk(f"on {name}:  dbsync enrol --relay URL {code}")


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NODE", help="The node's name.")],
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is told to whoever still has its key.")],
    folder: FolderOption = HERE,
) -> None:
    """Take nothing more of a node. What is in custody is brought to the upstream, which decides for itself."""
    with _opened(folder) as relay:
        relay.records.revoke(name, reason)
    output.line(f"{name} is revoked: nothing more of it is taken")


@app.command("drop")
def drop(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="Its file's name, as dbsync relay status --json has it.")
    ],
    *,
    folder: FolderOption = HERE,
) -> None:
    """Let go of a bundle that the upstream will never take, such as one of a laptop that was restored since.

    Nothing is lost: its node keeps every change that has no receipt, and hands over again what is still to go.
    """
    found = read_name(bundle)
    if found is None or found[1]:
        raise UsageError(f"{bundle!r} is no bundle's name", hint="dbsync relay status --json   (lists them)")
    with _opened(folder) as relay:
        relay.spool.drop(found[0])
    output.line(f"{bundle} is no longer in custody")


@app.command("run")
def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Bring what is in custody to the upstream, then exit.")] = False,
    folder: FolderOption = HERE,
) -> None:
    """Take bundles from nodes, and bring them to the upstream whenever it is in reach, until told to stop.

    With --once, exits 0 when everything in custody was delivered, 69 when there is no route, 1 when the upstream does not
    take something (dbsync relay status says what and why).
    """
    from dbsync.service import logs  # noqa: PLC0415 - takes long to import

    logs.configure(quiet=once)
    with _opened(folder) as relay:
        if not once:
            relay.run()
            return
        done = relay.visit()
    output.line(f"{counted(done.bundles, 'bundle')} delivered" if done.bundles else "nothing was in custody")
    if done.troubled:
        output.talk("not everything was taken: dbsync relay status")
        raise typer.Exit(1)


@app.command("status")
def status(*, folder: FolderOption = HERE, json: JsonOption = False) -> None:
    """Show what is in custody, and whom this relay knows.

    JSON: relay, upstream (name or null), nodes (name, enrolled_at, revoked_at, seen_at), held (file, node, bytes,
    received_at, trouble).
    """
    with _opened(folder) as relay:
        found = relay.standing()
    if json:
        output.as_json(_json(found))
        return
    upstream = found.upstream.name if found.upstream else "no upstream yet: dbsync relay enrol URL CODE"
    total = sum(held.bytes for held in found.held)
    output.line(f"{found.name} -> {upstream}   {counted(len(found.held), 'bundle')} in custody, {size(total)}")
    if found.nodes:
        output.table(HEADINGS, [_row(peer, found) for peer in found.nodes], right=["BUNDLES", "SIZE"])


def _row(peer: Peer, found: Standing) -> tuple[str, ...]:
    now = datetime.now(UTC)
    own = [held for held in found.held if held.name.node == peer.name]
    state = "revoked" if peer.revoked_at else "enrolled" if peer.enrolled_at else "invited"
    return (
        peer.name,
        state,
        f"{len(own):,}",
        size(sum(held.bytes for held in own)),
        f"{ago((now - own[0].received_at).total_seconds())} ago" if own else "",
        f"{ago((now - peer.seen_at).total_seconds())} ago" if peer.seen_at else "",
        next((held.trouble for held in own if held.trouble), ""),
    )


def _json(found: Standing) -> dict[str, object]:
    return {
        "relay": found.name,
        "upstream": found.upstream.name if found.upstream else None,
        "nodes": [
            {"name": p.name, "enrolled_at": p.enrolled_at, "revoked_at": p.revoked_at, "seen_at": p.seen_at}
            for p in found.nodes
        ],
        "held": [
            {
                "file": held.name.file(),
                **asdict(held.name),
                "bytes": held.bytes,
                "received_at": held.received_at,
                "trouble": held.trouble,
            }
            for held in found.held
        ],
    }


def _file(folder: Path) -> Path:
    from dbsync.relay.middleman import FILE  # noqa: PLC0415 - takes long to import

    return Path(os.path.normpath(folder)) / FILE


@contextmanager
def _opened(folder: Path) -> Iterator[Middleman]:
    from dbsync.config.load import load_relay  # noqa: PLC0415 - takes long to import
    from dbsync.relay.middleman import opened  # noqa: PLC0415

    with opened(load_relay(_file(folder))) as relay:
        yield relay
