"""What a node has for its upstream beside batches, where a relay carries it: checked boxes, and the question of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from dbsync.bundle import sealed
from dbsync.bundle.find import Left
from dbsync.bundle.names import Kind, SealedName, read_sealed_name
from dbsync.identity.keys import Keys, Signed
from dbsync.postgres import translated
from dbsync.service.comparing import Comparing
from dbsync.service.held import HeldLink
from dbsync.service.lists import Outgoing, unsent

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """The sealed papers of one node, while its link is held."""

    held: HeldLink
    keys: Keys
    comparing: Comparing

    def wanted(self) -> list[SealedName]:
        """Name what waits for the upstream: lists of which it has not said that it has them, the question under way."""
        with translated("source"):
            lists = [self._lists.name(identity) for identity, _ in unsent(self.held.reader.connection)]
        question = self.comparing.question()
        return lists if question is None else [*lists, question]

    def written(self, folder: Path, names: list[SealedName]) -> Iterator[SealedName]:
        """Have these in a folder as they go, each there whole; give those that are."""
        with translated("source"):
            lists = dict(unsent(self.held.reader.connection))
        for name in names:
            if name.kind is Kind.QUESTION:
                paper = self.comparing.paper(name)
                if paper is None:
                    continue  # its answer has arrived meanwhile
                if not sealed.is_there(folder, name, paper):
                    sealed.write(folder, name, paper)
            elif not self._lists.is_there(folder, name):
                if name.id not in lists:
                    continue  # it has arrived meanwhile
                sealed.write(folder, name, self._lists.seal(name, lists[name.id]))
            yield name

    def take_arrived(self, signed: Signed | None) -> int:
        """Take the upstream's word for which lists are there; give how many waited for it."""
        arrived = self._lists.take_home(signed)
        if arrived:
            log.info("lists_arrived", link=self.held.name, lists=arrived)
        return arrived

    def take_answer(self, name: SealedName, signed: Signed) -> None:
        """Take the answer to a question; what is wrong with it is told, and is in the way of nothing else."""
        left: list[Left] = []
        self.comparing.take(name, signed, left)
        self.tell(left)

    def tell(self, left: list[Left]) -> None:
        """Say what is in the way of a comparison."""
        for one in left:
            log.warning("comparison_troubled", link=self.held.name, paper=one.name, reason=one.why, hint=one.hint)

    @property
    def _lists(self) -> Outgoing:
        held = self.held
        return Outgoing(connection=held.reader.connection, node=held.node.name, keys=self.keys, theirs=held.theirs)


def answers(names: list[str], node: str) -> Iterator[SealedName]:
    """Name the answers for a node among what somebody says he has.

    >>> [name.kind.value for name in answers(["field-07.00000000-0000-0000-0000-000000000001.answer.age"], "field-07")]
    ['answer']
    """
    found = map(read_sealed_name, names)
    return (name for name in found if name is not None and (name.kind, name.node) == (Kind.ANSWER, node))
