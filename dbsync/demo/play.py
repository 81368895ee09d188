"""The demo from curtain to curtain: set the stage, tell the story, say how it ended."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dbsync.demo.field import FieldStory
from dbsync.demo.places import DATABASE, Laptop, Place
from dbsync.demo.stage import CLEAN_UP, Stage, stage
from dbsync.demo.story import Story
from dbsync.demo.telling import Teller, seconds
from dbsync.errors import DbsyncError

_TITLE = "Amina and Joseph visit households, each with a laptop. What they enter belongs on the server."
_PICTURE = (
    "",
    "     field-01, Amina's laptop   ---.",
    "                                    >-->   community, the server",
    "     field-02, Joseph's laptop  ---'",
    "",
)
_FIELD_TITLE = "Amina and Joseph work where there is no network. What they enter belongs on the server all the same."
_FIELD_PICTURE = (
    "",
    "     field-01, Amina's laptop   ---->   a driver's laptop   ----.",
    "                                                                >-->   community, the server",
    "     field-02, Joseph's laptop  ---->   a stick on the bus  ---'",
    "",
)


def play(*, keep: bool, field: bool = False) -> bool:
    """Play the demo; say whether all databases agree in the end. ``keep`` leaves everything running.

    ``field`` plays the second act: laptops that have a network once.
    """
    began = time.monotonic()
    teller = Teller()
    teller.title(_FIELD_TITLE if field else _TITLE)
    teller.plain(_FIELD_PICTURE if field else _PICTURE)
    teller.say(
        "Three PostgreSQL servers start, and the clinic's Django project migrates a database on each of them ..."
    )
    with stage(keep=keep) as found:
        try:
            agree = (FieldStory if field else Story)(stage=found, teller=teller).tell()
        except DbsyncError:
            print("\nThe story broke off. The last lines of the logs:", *found.logs(), sep="\n", file=sys.stderr)
            raise
    teller.plain(["", f"   {seconds(time.monotonic() - began)} on PostgreSQL {found.version}."])
    teller.plain(
        _kept(found) if keep else ["   Nothing is left running. To look around afterwards: dbsync demo --keep"]
    )
    return agree


def _kept(found: Stage) -> Iterator[str]:
    """Say how to look around and how to clean up."""
    yield "   Everything is still running. To look around:"
    for place in found.places:
        yield ""
        yield f'   {place.name}:  {_psql(place)} "{place.cluster.dsn(DATABASE)}"'
        if isinstance(place, Laptop):
            yield f"     cd {place.folder} && PGSERVICEFILE=pg_service.conf {_program()} status"
    yield ""
    yield "   To stop and remove it all:"
    yield f"     {found.folder / CLEAN_UP}"


def _program() -> str:
    """Give the name by which a shell finds this program."""
    return "dbsync" if shutil.which("dbsync") else str(Path(sys.executable).with_name("dbsync"))


def _psql(place: Place) -> str:
    return "psql" if shutil.which("psql") else str(place.cluster.binaries.bindir / "psql")
