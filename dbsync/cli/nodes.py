"""``dbsync nodes``: whom this server lets in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from dbsync.check.wording import filled
from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.errors import Refusal, UsageError
from dbsync.identity.keys import PublicKeys
from dbsync.identity.registry import Peer
from dbsync.model.words import ago
from dbsync.service import nodes

HEADINGS = ("NODE", "STATE", "KEY", "PASSES ON", "SEEN", "REASON")
NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
_TIME = re.compile(r"(\d{1,4})\s*(min|h|d)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

app = typer.Typer(
    help="""Whom this server lets in: nodes that bring it their changes, each by its own key.

    The registry is in the database that [node] names: type these where dbsync serve runs.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The node's name, as in its dbsync.toml.")]
KnownArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The node's name, as in its dbsync.toml.", autocompletion=complete.peers),
]


@app.command("invite")
def invite(  # noqa: PLR0913 - the options of a command
    name: NameArgument,
    *,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long the code is good: 30min, 12h, 7d.")] = "7d",
    passes_on: Annotated[
        bool, typer.Option("--passes-on", help="It is a tier: it brings other nodes' changes as well as its own.")
    ] = False,
    relay: Annotated[
        bool,
        typer.Option("--relay", help="It is a middleman: it carries sealed bundles of the nodes that are known here."),
    ] = False,
    stick: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="No line goes there: write this server's keys onto a stick, for the node."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let a node come: prints a code that is good for one use, to be typed there.

    Carry the code as you would a password. With it the two exchange their keys, and each is sure of the other: nothing
    is shared afterwards. A node that was revoked comes back with new keys. The code is not on the stick of --stick: carry it
    another way.

    JSON: node, code, expires_at.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a node", why="a name has 1 to 63 letters, digits, '.', '_' or '-'", hint=""
        )
    found = nodes.invite(
        settings(config), name, passes_on=passes_on, expires=duration(expires), relay=relay, stick=stick
    )
    if json:
        output.as_json({"node": found.name, "code": found.code, "expires_at": found.expires_at})
        return
    output.line(found.code)
    command = "dbsync relay enrol" if relay else "dbsync enrol"
    url = "URL" if stick is None else "file:///..."
    output.talk(f"on {name}, until {found.expires_at:%Y-%m-%d %H:%M %Z}:  {command} {url} {found.code}")
    if stick is not None:
        output.talk(
            "its URL is where the stick is mounted there; what it leaves on it is taken in by dbsync bundle import DIR"
        )


@app.command("list")
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List everybody this node knows.

    JSON: nodes, each with name, role (node, relay, upstream), state (invited, invitation expired, enrolled, revoked,
    upstream), key, passes_on, lineage, invited_at, enrolled_at, revoked_at, reason, seen_at.
    """
    found = nodes.peers(settings(config))
    if json:
        output.as_json({"nodes": [_json(peer) for peer in found]})
        return
    if not found:
        output.talk("nobody is known here yet: dbsync nodes invite NAME")
        return
    output.table(HEADINGS, [_row(peer) for peer in found])


@app.command("show")
def show(name: KnownArgument, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show one of them.

    JSON: as in nodes list, with signing (a minisign public key) and sealing (an age recipient).
    """
    peer = nodes.peer(settings(config), name)
    public = {"signing": peer.keys.signing, "sealing": peer.keys.sealing} if peer.keys else {}
    if json:
        output.as_json({**_json(peer), **public})
        return
    for label, value in {**_json(peer), **public}.items():
        if value is not None:
            output.line(f"{label:<12}{value}")


@app.command("revoke")
def revoke(
    name: KnownArgument,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is told to whoever still has its key.")],
    config: ConfigOption = None,
) -> None:
    """Take nothing more of a node, from this moment on: its laptop was lost, or it has left.

    What it brought stays. To let it come back: dbsync nodes invite.
    """
    nodes.revoke(settings(config), name, reason)
    output.line(f"{name} is revoked: nothing more of it is taken")


@app.command("rename")
def rename(
    name: KnownArgument,
    to: Annotated[str, typer.Argument(metavar="TO", help="The new name, as it will be in its dbsync.toml.")],
    *,
    config: ConfigOption = None,
) -> None:
    """Know a node by another name; its keys stay, and what it brought stays under the old one.

    The node has to take the name itself: in its dbsync.toml, and in its database by the statement that is printed. It sends
    what is still on record once more, and what is here already is left out.
    """
    if not NAME.fullmatch(to):
        raise UsageError(f"{to!r} is no name of a node", why="a name has 1 to 63 letters, digits, '.', '_' or '-'")
    nodes.rename(settings(config), name, to)
    output.line(f"{name} is {to} now")
    take = filled("UPDATE dbsync.node SET name = {};", to)
    output.talk(f'  next  at the node: {take}   -- in its database, and name = "{to}" in its dbsync.toml')


@app.command("rotate")
def rotate(*, config: ConfigOption = None) -> None:
    """Give this node new keys: typed on the node, nobody has to do anything at the upstream.

    The upstream and the relays of [[relays]] must be in reach; they know the new keys first. The old ones stay in a folder
    beside, and are of no use any more. Where it breaks off, type it again.
    """
    from dbsync.service.rotate import rotate as change  # noqa: PLC0415 - takes long to import, and only this needs it

    public = change(settings(config))
    output.line(f"this node's key is {public.key_id} now")


@app.command("keys")
def keys(
    *,
    new: Annotated[bool, typer.Option("--new", help="Make them, where there are none.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show this node's own public keys, as minisign -P and age -r take them.

    JSON: key, signing, sealing, fingerprint (20 bytes in hexadecimal; an invitation's code holds the first 10).
    """
    chosen = settings(config)
    folder = Path(chosen.node.keys)
    if new and nodes.make_keys(folder) is None:
        raise Refusal(
            "there are keys already",
            where=str(folder),
            why="keys are never overwritten",
            hint=f"dbsync nodes keys   shows them; for others: mv {folder} {folder}.before   then type the same again",
        )
    found = _public(nodes.own_keys(chosen))
    if json:
        output.as_json(found)
        return
    for label, value in found.items():
        output.line(f"{label:<12}{value}")


def _public(public: PublicKeys) -> dict[str, str]:
    return {
        "key": public.key_id,
        "signing": public.signing,
        "sealing": public.sealing,
        "fingerprint": public.fingerprint.hex(),
    }


def _json(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "role": peer.role.value,
        "state": nodes.state(peer, datetime.now(UTC)).value,
        "key": peer.keys.key_id if peer.keys else None,
        "passes_on": peer.passes_on,
        "lineage": str(peer.lineage) if peer.lineage else None,
        "invited_at": peer.invited_at,
        "enrolled_at": peer.enrolled_at,
        "revoked_at": peer.revoked_at,
        "reason": peer.revoked_why,
        "seen_at": peer.seen_at,
    }


def _row(peer: Peer) -> tuple[str, ...]:
    now = datetime.now(UTC)
    return (
        peer.name,
        nodes.state(peer, now).value,
        peer.keys.key_id if peer.keys else "",
        "yes" if peer.passes_on else "",
        f"{ago((now - peer.seen_at).total_seconds())} ago" if peer.seen_at else "",
        peer.revoked_why or "",
    )


def duration(text: str) -> timedelta:
    """Read how long something lasts.

    >>> duration("12h")
    datetime.timedelta(seconds=43200)
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no length of time", hint="--expires 30min, 12h or 7d")
    return int(found[1]) * _UNITS[found[2]]
