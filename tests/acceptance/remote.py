"""A laptop that no line ever reaches, and the server that it meets by stick alone."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from dbsync.apply.lists import keep
from dbsync.identity.lists import CheckedList, write_list
from tests.acceptance.test_bundle_route import Place
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import Databases, Pair
from tests.support.pipeline import piped
from tests.support.served import free_port


class Remote:
    """A laptop that nobody knows, its server, and where a stick appears when it is put in."""

    def __init__(self, folder: Path, pair: Pair, databases: Databases) -> None:
        self.stick = folder / "media" / "dbsync"
        self.pulled = folder / "pocket"
        self.pulled.mkdir()
        self.stick.parent.mkdir()
        with piped(databases, pair, SCHEMA, TABLES) as both:
            pass  # installed
        sticks = f'[sticks]\nfolders = ["{self.stick}"]\n[serve]\nlisten = "127.0.0.1:{free_port()}"\n'
        self.server = Place(folder, "community", both.upstream, sticks)
        self.laptop = Place(folder, "field-01", both.source, '[upstream]\nurl = "service=nowhere"\n')

    @property
    def url(self) -> str:
        """Give the stick's address."""
        return f"file://{self.stick}"

    def put_in(self) -> None:
        """Put the stick in."""
        shutil.copytree(self.pulled, self.stick)

    def pull(self) -> None:
        """Take the stick away; it stays what it is."""
        shutil.rmtree(self.pulled)
        self.stick.rename(self.pulled)

    def enrol(self) -> None:
        """Let the laptop and the server know each other, by what is on the stick and a code that is not."""
        self.put_in()
        code = json.loads(self.server.must("nodes", "invite", "field-01", "--stick", str(self.stick), "--json"))["code"]
        assert all(code.encode() not in path.read_bytes() for path in self.stick.iterdir())
        self.laptop.must("enrol", self.url, code)

    def state(self) -> tuple[str, str]:
        """Say what the laptop's status says of the stick."""
        link = json.loads(self.laptop.must("status", "--json"))["link"]
        return link["state"], link["reason"] or ""


def checked(by: str, number: int) -> CheckedList:
    """Give the list of a box that was checked at a node."""
    return CheckedList(
        id=UUID(int=number),
        by=by,
        checked_by="Naledi",
        table="requisition",
        column="identifier",
        at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
        both=("R-1",),
        missing_from_data=(f"a secret specimen {number}",),
        missing_from_box=(),
    )


def box(laptop: Place, number: int) -> CheckedList:
    """Check a box on a laptop, as its inspector does."""
    found = checked(laptop.name, number)
    with laptop.database.connect() as connection:
        keep(connection, write_list(found, laptop.keys), own=True)
    return found


def boxes(place: Place) -> dict[str, bool]:
    """Say which lists a place has, by their ids, and which of them have arrived or came from elsewhere."""
    found = json.loads(place.must("lists", "--json"))["lists"]
    return {one["id"]: one["sent_at"] is not None or not one["own"] for one in found}
