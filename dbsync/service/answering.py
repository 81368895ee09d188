"""Comparisons of nodes that no line leads to, at their destination: what a stick or a relay asks for them is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import psycopg

from dbsync.apply import receipts
from dbsync.bundle import files, sealed
from dbsync.bundle.find import Left
from dbsync.bundle.names import Kind, SealedName
from dbsync.errors import FormatError, NotAdmitted, Refusal
from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.batch import Header
from dbsync.postgres import translated
from dbsync.service.admission import NotYet, admit_paper
from dbsync.statements import statement
from dbsync.verify.paper import Answer, Question, Told, ToldAgain
from dbsync.verify.replies import reply
from dbsync.verify.side import snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one question came to."""

    name: SealedName
    new: bool = True
    """Whether the stick did not have the answer yet."""
    tables: int = 0
    differing: int = 0
    """Rows of the node that are not here, or are here otherwise; as far as they could be told."""


@dataclass(kw_only=True)
class Answering:
    """Answers the questions on a stick, each once, and at the very batch that it is about if that is on the stick too.

    Batches behind that one would be seen by the answer and not by the question. What is no question for us, or comes too early, is
    put to ``left``.
    """

    connection: psycopg.Connection
    """In autocommit."""
    keys: Keys
    folder: Path
    left: list[Left]
    answered: list[Answered] = field(default_factory=list)
    _open: dict[SealedName, Question] = field(default_factory=dict)

    def begin(self) -> None:
        """Read what is asked and has no answer on the stick."""
        for name in sealed.found(self.folder, Kind.QUESTION):
            if sealed.is_whole(self.folder, replace(name, kind=Kind.ANSWER), self.keys.public):
                self.answered.append(Answered(name=name, new=False))
            else:
                with self._told(name):
                    self._open[name] = self._read(name)

    def before(self, header: Header) -> None:
        """Answer what is about just the batches before this one, which is about to be applied."""
        wanted = (header.node, header.incarnation, header.link, header.number - 1)
        for name, asked in list(self._open.items()):
            if (asked.node, asked.incarnation, asked.link, asked.number) == wanted:
                self._answer(name)

    def finish(self, turn: Callable[[str], AbstractContextManager[None]]) -> None:
        """Answer the others."""
        for name in list(self._open):
            with turn(name.node):
                self._answer(name)

    def _read(self, name: SealedName) -> Question:
        return _read(self.connection, self.keys, name, sealed.read(self.folder, name))

    def _answer(self, name: SealedName) -> None:
        question = self._open.pop(name)
        with self._told(name):
            done, paper = _answered(self.connection, self.keys, name, question)
            sealed.write(self.folder, replace(name, kind=Kind.ANSWER), paper)
            self.answered.append(done)

    @contextmanager
    def _told(self, name: SealedName) -> Iterator[None]:
        """Let what is in the way of one question be in the way of nothing else."""
        try:
            yield
        except (FormatError, Refusal, files.Gone) as error:
            self.left.append(Left(name=name.file(), why=str(error), hint=error.hint))


def answered(connection: psycopg.Connection, keys: Keys, name: SealedName, signed: Signed) -> tuple[Answered, Signed]:
    """Answer a question that a relay brought; the connection is in autocommit.

    Raises FormatError for what is none, NotAdmitted for one by nobody who may ask, NotYet for one that comes too early.
    """
    return _answered(connection, keys, name, _read(connection, keys, name, signed))


def _read(connection: psycopg.Connection, keys: Keys, name: SealedName, signed: Signed) -> Question:
    sender = admit_paper(connection, name, signed)
    question = Question.read(sealed.unseal(signed, name, own=keys, sender=sender))
    if question.node != name.node:
        raise FormatError("the question is another node's", where=name.file(), hint="dbsync verify   (at the node)")
    return question


def _answered(
    connection: psycopg.Connection, keys: Keys, name: SealedName, question: Question
) -> tuple[Answered, Signed]:
    """Answer one question for whoever asked alone, all of it from one snapshot."""
    with snapshot(connection, "upstream"):
        number, at = _standing(connection, question)
        replies = reply(connection, question)
    answer = replace(name, kind=Kind.ANSWER)
    data = Answer(number=number, at=at, tables=replies).write()
    done = Answered(name=name, tables=len(replies), differing=sum(map(_differing, replies)))
    return done, sealed.seal(data, answer, keys=keys, theirs=_keys_of(connection, name))


def _standing(connection: psycopg.Connection, question: Question) -> tuple[int, datetime]:
    """Say which batch is the newest here, and when that is. Raises NotYet before all that is asked about can be here."""
    with translated("upstream"):
        last = receipts.last_receipt(connection, question.node, question.incarnation, question.link)
        moment = connection.execute(statement("certificate", "moment")).fetchone()
    assert moment is not None
    number = last.number if last else 0
    if number < question.number:
        raise NotYet(
            f"a comparison of {question.node} has to wait",
            where=question.node,
            why=f"it is about what batch {question.number} brings, and batch {number + 1} is not here yet",
            hint="bring the stick that has it, or let the node export again: it writes all that is missing",
        )
    return number, moment[0]


def _keys_of(connection: psycopg.Connection, name: SealedName) -> PublicKeys:
    """Give the keys that the node has now: it may have changed them since it asked."""
    peer = registry.find(connection, name.node)
    if peer is None or peer.keys is None:
        raise NotAdmitted(f"{name.node} is known here no more", where=name.file(), hint="dbsync nodes list")
    return peer.keys


def _differing(one: object) -> int:
    match one:
        case Told(apart=apart) if apart is not None:
            return len(apart.different) + len(apart.missing)
        case ToldAgain(rows=rows):
            return len(rows)
        case _:
            return 0
