"""The story of two laptops and a server, in chapters. Whatever it says is read from the databases."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from dbsync.demo.agreement import Row, agreement, compare, extras
from dbsync.demo.places import Laptop, Place
from dbsync.demo.processes import Answer, answer, until
from dbsync.demo.stage import Stage
from dbsync.demo.telling import Teller, seconds
from dbsync.errors import DbsyncError

AWAY = 40
"""People that Joseph registers while he is offline."""

_PERSON = "SELECT id, name FROM clinic_subject WHERE identifier = %s"
_VISIT = (
    "SELECT v.id, s.id, s.name FROM clinic_visit v JOIN clinic_subject s ON s.id = v.subject_id"
    " WHERE s.identifier = %s AND v.code = %s"
)
_VISITS = (
    "SELECT s.identifier, count(v.id), count(p.id) FROM clinic_subject s"
    " LEFT JOIN clinic_visit v ON v.subject_id = s.id LEFT JOIN clinic_specimen p ON p.visit_id = v.id"
    " WHERE s.id = %s GROUP BY s.identifier"
)
_MEMBERS = (
    "SELECT h.id, string_agg(s.name, ' and ' ORDER BY s.name) FROM clinic_household h"
    " JOIN clinic_subject s ON s.household_id = h.id WHERE h.code = %s GROUP BY h.id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The chapters, played on a stage and told by a teller."""

    stage: Stage
    teller: Teller

    @property
    def amina(self) -> Laptop:
        """Give the first laptop."""
        return self.stage.laptops[0]

    @property
    def joseph(self) -> Laptop:
        """Give the second laptop."""
        return self.stage.laptops[1]

    @property
    def server(self) -> Place:
        """Give the server."""
        return self.stage.community

    def tell(self) -> bool:
        """Tell everything; say whether all databases agree in the end."""
        self._beginning()
        own = self._move_in()
        chapters: tuple[Callable[[], None], ...] = (
            self._same_numbers,
            self._follow_a_reference,
            self._same_household,
            self._offline,
            self._rename,
            self._delete,
        )
        for chapter in chapters:
            chapter()
        return self._compare(own)

    def _beginning(self) -> None:
        """Let the server's own people enter theirs before dbsync is there."""
        people = (("HH-01", "S-0001", "Wanjiru"), ("HH-01", "S-0002", "Kamau"), ("HH-02", "S-0003", "Achieng"))
        for household, identifier, name in people:
            self.server.application.do(
                "register", household=household, village="Kisumu", identifier=identifier, name=name
            )
            self.server.application.do("see", identifier=identifier, code="1000")

    def _move_in(self) -> frozenset[Row]:
        teller = self.teller
        teller.chapter("dbsync moves in")
        teller.say("The application stays as it is. This is all that a DBA types on Amina's laptop, field-01:")
        self._on_both(_init)
        self._on_both(lambda _: ("check",))
        self._show(self.amina, "install-upstream")
        self._on_both(lambda _: ("install-triggers",))
        self._on_both(lambda _: ("backfill",))
        own = extras(compare(self.amina))
        teller.command("dbsync run", ["(in the background from now on)"])
        for laptop in self.stage.laptops:
            laptop.hurry()
            laptop.start_service()
        self._arrive()
        teller.say("The same was done on Joseph's laptop, field-02. From here on, nobody types anything.")
        return own

    def _same_numbers(self) -> None:
        self.teller.chapter("The same numbers, different people")
        self.teller.say("Amina registers Neema and Joseph registers Baraka. Each laptop counts from 1:")
        people = ((self.amina, "HH-41", "S-1001", "Neema"), (self.joseph, "HH-51", "S-2001", "Baraka"))
        for laptop, household, identifier, name in people:
            laptop.application.do("register", household=household, village="Ahero", identifier=identifier, name=name)
        took = self._arrive()
        self.teller.table(
            ("PERSON", "NAMED BY", "ID ON THE LAPTOP", "ID ON THE SERVER"),
            [
                (name, identifier, f"{laptop.ask(_PERSON, identifier)[0][0]} on {laptop.name}", self._id(identifier))
                for laptop, _, identifier, name in people
            ],
        )
        self.teller.say(
            f"Both were on the server after {seconds(took)}. Ids never travel: a person is known by the identifier,"
            " and the server counts for itself (it had registered three people of its own before)."
        )

    def _follow_a_reference(self) -> None:
        self.teller.chapter("A visit finds its person")
        self.teller.say("Amina sees Neema and draws blood for a malaria test. The visit points to a row by its id:")
        self.amina.application.do("see", identifier="S-1001", code="1000")
        self._arrive()
        rows = []
        for place in (self.amina, self.server):
            ((visit, subject, name),) = place.ask(_VISIT, "S-1001", "1000")
            rows.append((place.name, f"visit {visit}", f"-> subject {subject}", name))
        self.teller.table(("WHERE", "VISIT", "POINTS TO", "WHO IS"), rows)
        self.teller.say(
            "The reference travelled as what it means (the subject called S-1001) and became the server's own id there."
            " On the server, subject 1 is Wanjiru: a copied id would have given her Neema's blood."
        )

    def _same_household(self) -> None:
        self.teller.chapter("Both enter the same household")
        self.teller.say("Amina and Joseph meet at household HH-40. She registers Zawadi there, and he registers Juma:")
        people = ((self.amina, "S-1002", "Zawadi"), (self.joseph, "S-2002", "Juma"))
        for laptop, identifier, name in people:
            laptop.application.do("register", household="HH-40", village="Ahero", identifier=identifier, name=name)
        self._arrive()
        rows = []
        for place in self.stage.places:
            found = place.ask(_MEMBERS, "HH-40")
            rows += [(place.name, f"household {household}", "HH-40", members) for household, members in found]
        self.teller.table(("WHERE", "ROW", "CODE", "WHO LIVES THERE"), rows)
        self.teller.say("Two rows with one code are one household: the server has one row, and both people in it.")

    def _offline(self) -> None:
        self.teller.chapter("Joseph goes offline")
        self.teller.say(
            f"There is no network where he goes. He works on: {AWAY} households, people, visits, specimens."
        )
        self.joseph.lose_network()
        self.joseph.application.do("work_a_week", prefix="21", village="Muhoroni", people=AWAY)
        until(lambda: self.joseph.state() == "unreachable", "the laptop notices that the server is away")
        self._show(self.joseph, "status")
        self.amina.application.do("note_result", identifier="S-1001", code="1000", value="0.125")
        took = until(self.amina.is_settled, "Amina's change arrives")
        self.teller.say(f"Meanwhile Amina notes the result of Neema's test: on the server after {seconds(took)}.")
        waiting = self.joseph.pending()
        self.joseph.find_network()
        took = self._arrive()
        self.teller.say(
            f"In the evening Joseph is back in the network: after {seconds(took)} all {waiting:,} changes are on the"
            " server. Nobody had to press a button."
        )

    def _rename(self) -> None:
        self.teller.chapter("A key is corrected")
        self.teller.say("Neema's card says S-1010: S-1001 was a slip. Amina corrects the identifier, the very key:")
        before = self._id("S-1001")
        rows = [("before", *self._visits(before))]
        self.amina.application.do("correct_identifier", wrong="S-1001", right="S-1010")
        self._arrive()
        rows.append(("after", *self._visits(before)))
        self.teller.table(("ON THE SERVER", "ROW", "IDENTIFIER", "VISITS", "SPECIMENS"), rows)
        self.teller.say("It is the same row with the same visit: a new name, not a second person.")

    def _delete(self) -> None:
        self.teller.chapter("A delete travels")
        self.teller.say("Joseph saw Baraka, and entered the visit twice. He deletes the second, with its specimen:")
        for code in ("1000", "1001"):
            self.joseph.application.do("see", identifier="S-2001", code=code)
        self._arrive()
        row = self._id("S-2001")
        rows = [("before", *self._visits(row))]
        self.joseph.application.do("delete_visit", identifier="S-2001", code="1001")
        self._arrive()
        rows.append(("after", *self._visits(row)))
        self.teller.table(("ON THE SERVER", "ROW", "IDENTIFIER", "VISITS", "SPECIMENS"), rows)
        self.teller.say("Only rows that somebody deleted are deleted; what the other laptop entered stays.")

    def _compare(self, own: frozenset[Row]) -> bool:
        teller = self.teller
        teller.chapter("Do they agree?")
        for words in (("status",), ("verify", "--ignore-extra")):
            begun = [laptop.begin(*words) for laptop in self.stage.laptops]
            for laptop, process in zip(self.stage.laptops, begun, strict=True):
                teller.say(f"{laptop.person}'s laptop, {laptop.name}:")
                teller.command(f"dbsync {' '.join(words)}", _without_extras(answer(process).lines))
        found = agreement(self.stage.laptops, own)
        for complaint in found.complaints():
            teller.bad(complaint)
        if list(found.complaints()):
            teller.bad("The databases do not agree.")
            return False
        teller.good(
            f"Compared row by row by natural key: the server holds every row of both laptops and the {len(own)} rows of"
            " its own, and not one more. The databases agree."
        )
        return True

    def _show(self, laptop: Laptop, *words: str) -> None:
        """Run a command on a laptop and show it with what it printed."""
        found = laptop.command(*words)
        self.teller.command(shlex.join(["dbsync", *words]), found.lines)
        _succeeded(laptop, words, found)

    def _on_both(self, words: Callable[[Laptop], tuple[str, ...]]) -> None:
        """Run a command on both laptops at the same time and show the first one's."""
        first, second = self.stage.laptops
        begun = second.begin(*words(second))
        try:
            self._show(first, *words(first))
        finally:
            found = answer(begun)
        _succeeded(second, words(second), found)

    def _arrive(self) -> float:
        """Wait until the server has everything; give the seconds it took."""
        return until(lambda: all(laptop.is_settled() for laptop in self.stage.laptops), "everything is on the server")

    def _id(self, identifier: str) -> int:
        return int(self.server.ask(_PERSON, identifier)[0][0])

    def _visits(self, subject: int) -> tuple[str, str, int, int]:
        ((identifier, visits, specimens),) = self.server.ask(_VISITS, subject)
        return f"subject {subject}", str(identifier), int(visits), int(specimens)


def _init(laptop: Laptop) -> tuple[str, ...]:
    dsns = ("--source", "service=clinic", "--upstream", "service=community")
    return ("init", "--node", laptop.name, *dsns, "--tables", "clinic_*")


def _succeeded(laptop: Laptop, words: tuple[str, ...], found: Answer) -> None:
    if found.code:
        raise DbsyncError(
            f"dbsync {words[0]} ended with exit code {found.code}", where=laptop.name, why=found.talk.strip()
        )


def _without_extras(lines: list[str]) -> list[str]:
    """Leave out the list of rows that other nodes sent: it is long, and they are no difference."""
    return [line for line in lines if line and not line.endswith("   extra") and not line.startswith("... and ")]
