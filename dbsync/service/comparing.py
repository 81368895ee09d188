"""Comparing with an upstream that no line leads to: what is done while a stick is in, or a relay in reach.

A question is about one moment of the source, and goes with the batches that the upstream needs to have all of that moment. The same
question, as it was written, goes onto every stick and with every relay until one brings the answer: they may be lost, and take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import structlog

from dbsync.bundle import sealed
from dbsync.bundle.find import Left
from dbsync.bundle.marks import marked
from dbsync.bundle.names import Kind, SealedName
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, FormatError
from dbsync.identity.keys import Keys, Signed
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service.asking import Asking
from dbsync.service.chosen import shipped
from dbsync.service.comparison import Ask, Comparison, Row, Standing, Store
from dbsync.service.held import HeldLink
from dbsync.service.resend import repairing
from dbsync.service.settling import Present, settle
from dbsync.verify.asking import Known, Source
from dbsync.verify.paper import Answer, Otherwise, Reply
from dbsync.verify.side import snapshot

T = TypeVar("T")
COMPARISON = "comparison"
"""What is told of that has no file."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """The comparison of a link, while that is held."""

    config: Config
    held: HeldLink
    keys: Keys
    stop: Callable[[], bool] = bool
    """Asked again and again while a question is made."""

    @property
    def store(self) -> Store:
        """Give where it is kept."""
        return Store(connection=self.held.reader.connection, link=self.held.name)

    def take_home(self, folder: Path, left: list[Left]) -> bool:
        """Take the answer that a stick has to the question under way, and do what it leads to; say whether there was one.

        What is in the way of a comparison goes to ``left``, and is in the way of no batch.
        """
        name = self._awaited()
        if name is None or name not in sealed.found(folder, Kind.ANSWER, name.node):
            return False
        return self._tried(left, name.file(), lambda: self._take(name, sealed.read(folder, name))) is not None

    def take(self, name: SealedName, answer: Signed, left: list[Left]) -> bool:
        """Take an answer that came by another way; one to a question that nobody asks any more leads to nothing."""
        return name == self._awaited() and self._tried(left, name.file(), lambda: self._take(name, answer)) is not None

    @contextmanager
    def asking(self, left: list[Left]) -> Iterator[Asking | None]:
        """See the source as it is now, if there is something to be asked about it, until the question is written."""
        with ExitStack() as stack:
            yield self._tried(left, COMPARISON, lambda: self._begun(stack))

    def write(self, asking: Asking | None, left: list[Left]) -> None:
        """Write the question, when the batches that belong to it have left."""
        if asking is not None:
            self._tried(left, COMPARISON, asking.write)

    def put_on(self, folder: Path) -> bool:
        """Have the question under way on a stick, once; what is no longer asked leaves it. Say whether one waits for its answer."""
        question = self.question()
        for kind in (Kind.QUESTION, Kind.ANSWER):
            for name in sealed.found(folder, kind, self.held.node.name):
                if question is None or name.id != question.id:
                    sealed.remove(folder, name)
        if question is None:
            return False
        paper = self.paper(question)
        if paper is not None and not sealed.is_there(folder, question, paper):
            sealed.write(folder, question, paper)
        return True

    def question(self) -> SealedName | None:
        """Name the question under way."""
        with translated("source"):
            comparison = self.store.read()
        if comparison is None or comparison.question is None:
            return None
        return SealedName(node=self.held.node.name, id=comparison.question, kind=Kind.QUESTION)

    def paper(self, question: SealedName) -> Signed | None:
        """Give a question as it was written; None where it is under way no more."""
        with translated("source"):
            return self.store.paper(question.id)

    def _begun(self, stack: ExitStack) -> Asking | None:
        with translated("source"):
            comparison = self.store.read()
            tables = self.store.tables()
        if comparison is not None and self._asked_others(comparison):
            with translated("source"):
                self.store.forget_question()
            comparison = replace(comparison, question=None)
        if comparison is None or comparison.question is not None or not self._is_open(comparison, tables):
            return None
        source = stack.enter_context(connect(self.config.node.source, name="source", application="dbsync verify"))
        registry = shipped(self.config, source)
        stack.enter_context(snapshot(source, "source"))
        return Asking(
            held=self.held,
            keys=self.keys,
            store=self.store,
            comparison=comparison,
            tables=tables,
            source=source,
            registry=registry,
            stop=self.stop,
        )

    def _asked_others(self, comparison: Comparison) -> bool:
        """Say whether the question under way was sealed for keys that the upstream has lost: nobody will answer it."""
        if comparison.question is None:
            return False
        with translated("source"):
            paper = self.store.paper(comparison.question)
        return paper is not None and not self.held.is_for(marked(paper.signature), [self.held.theirs.sealing])

    def _tried(self, left: list[Left], name: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except DbsyncError as error:
            if error.try_again:
                raise
            if name == COMPARISON:
                with translated("source"):
                    self.store.note_trouble(str(error))
            left.append(Left(name=name, why=str(error), hint=error.hint or "dbsync verify"))
            return None

    def _take(self, name: SealedName, signed: Signed) -> int:
        """Take an answer; give about how many tables it is."""
        answer = Answer.read(sealed.unseal(signed, name, own=self.keys, sender=self.held.theirs))
        with translated("source"):
            comparison = self.store.read()
        assert comparison is not None
        if len(answer.tables) != len(comparison.asked):
            raise FormatError("the answer is to another question", where=name.file())
        self._settle(comparison, answer)
        log.info("comparison_answered", link=self.held.name, tables=len(answer.tables))
        return len(answer.tables)

    def _awaited(self) -> SealedName | None:
        """Name the answer to the question under way."""
        question = self.question()
        return None if question is None else replace(question, kind=Kind.ANSWER)

    def _is_open(self, comparison: Comparison, tables: Mapping[TableName, Standing]) -> bool:
        """Say whether there is anything to be asked: about tables, rows, or the names of columns."""
        if not tables or any(table.ask is not Ask.NOTHING for table in tables.values()):
            return comparison.settled_at is None
        with translated("source"):
            unsettled = any(not settled for counts in self.store.counts().values() for _, settled in counts)
            return unsettled or (not comparison.named and bool(self.store.unnamed()))

    def _settle(self, comparison: Comparison, answer: Answer) -> None:
        """Judge what was answered, by what the rows are now; all of it is kept at once."""
        assert comparison.question is not None
        outcome = self._judge(comparison, answer)
        upstream = _learned(comparison.upstream, answer.tables)
        with translated("source"), self.store.connection.transaction():
            for standing, rows in outcome:
                self.store.note_table(standing)
                self.store.note_rows(standing.table, rows)
            everything = self.store.tables().values()
            settled = all(table.ask is Ask.NOTHING for table in everything) and all(
                settled for counts in self.store.counts().values() for _, settled in counts
            )
            self.store.note_answered(comparison.question, at=answer.at, upstream=upstream, settled=settled)
        if settled and comparison.repair and comparison.repaired is None:
            repair(self.config, self.store)

    def _judge(self, comparison: Comparison, answer: Answer) -> list[tuple[Standing, list[Row]]]:
        with (
            connect(self.config.node.source, name="source", application="dbsync verify") as source,
            translated("source"),
        ):
            registry = shipped(self.config, source)
            tables = self.store.tables()
            asked = [registry.tables[name] for name in comparison.asked if name in registry.tables]
            with snapshot(source, "source"):
                seen = Source.seen(source, asked, comparison.upstream)
                exact = answer.number == comparison.number
                return [
                    settle(reply, tables[name], self.store.rows(name), _present(seen, name, exact=exact))
                    for name, reply in zip(comparison.asked, answer.tables, strict=True)
                    if name in registry.tables
                ]


def _present(seen: Source, name: TableName, *, exact: bool) -> Present:
    return Present(at=lambda places: seen.now(name, places), uncaptured=lambda: seen.uncaptured(name), exact=exact)


def _learned(known: Known, replies: Sequence[Reply]) -> Known:
    for reply in replies:
        if isinstance(reply, Otherwise):
            known = known.learn(reply.tables, reply.view)
    return known


def repair(config: Config, store: Store) -> int:
    """Put the rows that differ into the change log once more; give how many. Done twice, it costs a row twice."""
    with translated("source"):
        places = store.to_repair()
    with repairing(config) as mend:
        wanted = {name: found for name, found in places.items() if name in mend.registry.tables}
        for group in mend.order(wanted):
            with mend.together(group):
                for name in group:
                    mend.log(name, list(dict.fromkeys(wanted[name])))
        rows = mend.rows.total()
    with translated("source"):
        store.note_repaired(rows)
    return rows
