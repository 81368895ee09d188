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

from dbsync.bundle.names import read_name, read_sealed_name
from dbsync.cli import output
from dbsync.cli.inspect import PORT, PortOption
from dbsync.cli.nodes import NAME, duration
from dbsync.cli.options import JsonOption
from dbsync.errors import DbsyncError, Refusal, UsageError
from dbsync.model.words import ago, size
from dbsync.verify.words import counted

if TYPE_CHECKING:
    from dbsync.identity.registry import Peer
    from dbsync.relay.middleman import Middleman, Standing
    from dbsync.relay.places import Place
    from dbsync.relay.pulling import Pulled

VARIABLE = "DBSYNC_RELAY"
HEADINGS = ("NODE", "STATE", "BUNDLES", "SIZE", "SINCE", "SEEN", "TROUBLE")
PLACES = ("ADDRESS", "NODE", "VISITED", "TROUBLE")

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


@app.command("pull")
def pull(
    url: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="A laptop's address, as its [outbox] has it: https://host:port"),
    ] = None,
    *,
    forget: Annotated[bool, typer.Option("--forget", help="Go to this address no more.")] = False,
    folder: FolderOption = HERE,
) -> None:
    """Fetch what waits on a laptop that serves its outbox, and go there from now on whenever it is in reach.

    Without URL, all addresses are gone to that were ever told. While dbsync relay run is at work it does so by itself, and only
    has to be told an address once. Receipts are brought home at each visit. Exits 69 when nobody was met.
    """
    from dbsync.service import logs  # noqa: PLC0415 - takes long to import

    logs.configure(quiet=True)
    if forget and url is None:
        raise UsageError("it is not said which address to forget", hint="dbsync relay pull URL --forget")
    with _opened(folder) as relay:
        if url is not None and forget:
            known = relay.records.places.forget(url)
            output.line(f"{url} is not gone to any more" if known else f"{url} was not known")
            return
        urls = [url] if url is not None else [place.url for place in relay.records.places.all()]
        _go_to(relay, urls)


def _go_to(relay: Middleman, urls: list[str]) -> None:
    """Visit laptops; of several those that are away are told, and only where all are it is an error."""
    away: list[DbsyncError] = []
    for url in urls:
        try:
            found = relay.go_to(url)
        except DbsyncError as error:
            away.append(error)
            if len(urls) > 1:
                output.talk(str(error))
            continue
        output.line(f"{url} is gone to by dbsync relay run: dbsync relay status" if found is None else _pulled(found))
    if not urls:
        raise Refusal("no laptop's address is known", where="relay", hint="dbsync relay pull https://HOST:PORT")
    if len(away) == len(urls):
        raise away[-1]


def _pulled(found: Pulled) -> str:
    taken = counted(found.bundles, "bundle") if found.bundles else "nothing new"
    back = f"; receipts of {counted(found.acknowledged, 'batch', 'batches')} went home" if found.acknowledged else ""
    return f"taken from {found.node}: {taken}{back}"


@app.command("import")
def import_(
    stick: Annotated[Path, typer.Argument(metavar="DIR", help="The folder on the stick.")],
    *,
    folder: FolderOption = HERE,
) -> None:
    """Take the bundles on a stick into custody, and bring receipts home on it, also while dbsync relay run is at work.

    What is on the stick stays there. A node learns of its batches by the receipts: those that this relay has of it are
    written onto the stick. Exits 1 when something on it was not taken.
    """
    from dbsync.service import logs  # noqa: PLC0415 - takes long to import

    logs.configure(quiet=True)
    with _opened(folder) as relay:
        done = relay.take_in(stick)
    known = f", {done.known:,} here already" if done.known else ""
    output.line(f"taken from the stick: {counted(done.bundles, 'bundle')}{known}")
    if done.receipts:
        output.line(f"receipts are on it for {', '.join(done.receipts)}")
    for left in done.left:
        output.talk(f"{left.name}: {left.why}" + (f"; {left.hint}" if left.hint else ""))
    if done.left:
        raise typer.Exit(1)


@app.command("inspect")
def inspect(*, port: PortOption = PORT, folder: FolderOption = HERE) -> None:
    """Look through what nodes that trust this relay have handed over, and check a box of specimens against it.

    Prints an address that lets one browser on this computer in, once; Ctrl-C ends it. Of nodes that do not trust it only the
    number of bundles is shown.
    """
    from dbsync.cli.inspect import look  # noqa: PLC0415
    from dbsync.inspector.carried import Carried  # noqa: PLC0415 - takes long to import, and other commands need it not

    with _opened(folder) as relay:
        look(Carried(relay=relay), port)


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
    """Let go of a bundle or a paper that the upstream will never take, such as one of a laptop that was restored since.

    Nothing is lost: its node keeps every change that has no receipt, and hands over again what is still to go.
    """
    found, paper = read_name(bundle), read_sealed_name(bundle)
    with _opened(folder) as relay:
        if paper is not None:
            relay.spool.drop_paper(paper)
        elif found is not None and not found[1]:
            relay.spool.drop(found[0])
        else:
            raise UsageError(f"{bundle!r} is no bundle's name", hint="dbsync relay status --json   (lists them)")
    output.line(f"{bundle} is no longer in custody")


@app.command("run")
def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Bring what is in custody to the upstream, then exit.")] = False,
    folder: FolderOption = HERE,
) -> None:
    """Take bundles from nodes, and bring them to the upstream whenever it is in reach, until told to stop.

    Nodes come by themselves, and those that serve an outbox are gone to at the addresses that dbsync relay pull was told.
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


@app.command("check")
def check(*, folder: FolderOption = HERE, json: JsonOption = False) -> None:
    """Look for everything that keeps this relay from taking bundles, or from bringing them on; changes nothing.

    Room for the spool, certificates, the way to the upstream and whether that still takes what this relay brings, bundles that it
    refused. Exits 0 when nothing stands in the way (warnings do not), 1 when something does.

    JSON: as of dbsync check.
    """
    from dbsync.relay.check import of_relay  # noqa: PLC0415 - takes long to import

    with _opened(folder) as relay:
        output.checked(list(of_relay(relay)), json=json)


@app.command("status")
def status(*, folder: FolderOption = HERE, json: JsonOption = False) -> None:
    """Show what is in custody, and whom this relay knows.

    SEEN is when a node was last met, whoever came to whom; VISITED, when one was last met at an address.

    JSON: relay, upstream (name or null), visited_at (when that was reached last), trouble (what is in the way since, or
    null), nodes (name, enrolled_at, revoked_at, seen_at), held (file, node, bytes,
    received_at, trouble), papers (lists, questions and answers: file, node, received_at, trouble), places (url, node, visited_at,
    trouble), alerts (as of dbsync status).
    """
    with _opened(folder) as relay:
        found = relay.standing()
    if json:
        output.as_json(_json(found))
        return
    upstream = found.upstream.name if found.upstream else "no upstream yet: dbsync relay enrol URL CODE"
    total = sum(held.bytes for held in found.held)
    papers = f", {counted(len(found.papers), 'sealed paper')}" if found.papers else ""
    output.line(f"{found.name} -> {upstream}   {counted(len(found.held), 'bundle')} in custody, {size(total)}{papers}")
    if found.trouble:
        seen = _since(found.upstream.seen_at if found.upstream else None)
        output.line(f"{upstream} was reached last: {seen}; in the way: {found.trouble}")
    if found.nodes:
        output.table(HEADINGS, [_row(peer, found) for peer in found.nodes], right=["BUNDLES", "SIZE"])
    if found.places:
        output.table(PLACES, [_place(place) for place in found.places])
    for alert in found.alerts:
        if alert.trouble:
            output.line(f"not everybody heard: {alert.what} ({alert.trouble}): dbsync alerts test --relay DIR")


def _row(peer: Peer, found: Standing) -> tuple[str, ...]:
    own = [held for held in found.held if held.name.node == peer.name]
    papers = [paper for paper in found.papers if paper.name.node == peer.name]
    troubles = (*(held.trouble for held in own), *(paper.trouble for paper in papers))
    state = "revoked" if peer.revoked_at else "enrolled" if peer.enrolled_at else "invited"
    return (
        peer.name,
        state,
        f"{len(own):,}",
        size(sum(held.bytes for held in own)),
        _since(own[0].received_at) if own else "",
        _since(peer.seen_at) if peer.enrolled_at else "",
        next((trouble for trouble in troubles if trouble), ""),
    )


def _place(place: Place) -> tuple[str, ...]:
    return place.url, place.node or "", _since(place.visited_at), place.trouble or ""


def _since(moment: datetime | None) -> str:
    return f"{ago((datetime.now(UTC) - moment).total_seconds())} ago" if moment else "never"


def _json(found: Standing) -> dict[str, object]:
    return {
        "relay": found.name,
        "upstream": found.upstream.name if found.upstream else None,
        "visited_at": found.upstream.seen_at if found.upstream else None,
        "trouble": found.trouble,
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
        "papers": [
            {"file": p.name.file(), "node": p.name.node, "received_at": p.received_at, "trouble": p.trouble}
            for p in found.papers
        ],
        "places": [asdict(place) for place in found.places],
        "alerts": [asdict(alert) for alert in found.alerts],
    }


def _file(folder: Path) -> Path:
    from dbsync.relay.middleman import FILE  # noqa: PLC0415 - takes long to import

    return Path(os.path.normpath(folder)) / FILE


@contextmanager
def _opened(folder: Path) -> Iterator[Middleman]:
    from dbsync.config.load import load_relay  # noqa: PLC0415 - takes long to import
    from dbsync.relay.middleman import opened  # noqa: PLC0415

    with opened(load_relay(_file(folder), os.environ)) as relay:
        yield relay
