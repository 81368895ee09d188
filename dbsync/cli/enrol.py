"""``dbsync enrol``: this node's first contact with an upstream over https."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.config.discover import discover
from dbsync.config.fields import Route, route_of
from dbsync.config.load import load
from dbsync.errors import ConfigError


def enrol(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="The upstream's address: https://host or https://host:port, or file:///the/stick"
        ),
    ],
    code: Annotated[str, typer.Argument(metavar="CODE", help="What dbsync nodes invite printed over there.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if other keys of this upstream are kept: it has new ones.")
    ] = False,
    relay: Annotated[
        bool, typer.Option("--relay", help="It is a middleman's address: its code comes from dbsync relay invite.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Exchange keys with an upstream, with a code from its operator.

    The upstream's operator types dbsync nodes invite NAME, NAME being this node's, and sends the code by a way he trusts.
    Afterwards the upstream takes this node's changes, and this node believes nobody else's receipts. The keys are kept in
    the source database, so type this as who installs; upstream.url in dbsync.toml becomes this address.
    Where no line goes, URL is the folder of a stick with the invitation that dbsync nodes invite --stick wrote. The request to
    be let in is left on it, sealed, and bundles may follow at once: it is granted where the stick is imported.
    With --relay it is a middleman that is met, who carries sealed bundles while there is no route; [[relays]] has him then.
    """
    # They take long to import, and only this needs them.
    from dbsync.service.enrol import enrol as exchange  # noqa: PLC0415
    from dbsync.service.enrol import enrol_with_relay  # noqa: PLC0415

    path = discover(config, os.environ)
    settings = load(path, os.environ)
    if relay:
        done = enrol_with_relay(settings, url, code, replace=replace)
        output.line(f"{settings.node.name} is enrolled with the relay {done.label} (key {done.key_id})")
        if url.rstrip("/") not in {known.url.rstrip("/") for known in settings.relays}:
            _write_relay(path, url, done.label)
        return
    done = exchange(settings, url, code, replace=replace)
    by_stick = route_of(url) is Route.FILE
    how = (
        f"knows {done.label}, and asks it on the stick to be let in"
        if by_stick
        else f"is enrolled with {done.name or done.label}"
    )
    output.line(f"{settings.node.name} {how} (key {done.key_id})")
    if settings.upstream.url.rstrip("/") != url.rstrip("/"):
        _write(path, url, done.label if by_stick and settings.upstream.name is None else None)
    output.talk("next: dbsync check   then: dbsync run")


def _write(path: Path, url: str, name: str | None) -> None:
    from dbsync.config.edit import set_upstream  # noqa: PLC0415 - tomlkit takes long to import

    with _or_by_hand(path, "[upstream]", url):
        set_upstream(path, url, name)


def _write_relay(path: Path, url: str, name: str) -> None:
    from dbsync.config.edit import add_relay  # noqa: PLC0415 - tomlkit takes long to import

    with _or_by_hand(path, "[[relays]]", url):
        add_relay(path, url, name)


@contextmanager
def _or_by_hand(path: Path, section: str, url: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        output.talk(f'{error.what} ({error.why}): write url = "{url}" into {section} of {path}')
        return
    output.talk(f"{path}: {section} has {url} now")
