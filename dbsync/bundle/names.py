"""How files on a stick are called. Nothing inside a file names another one, so nothing can lead out of the folder. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

_BUNDLE = re.compile(
    r"(?P<node>[A-Za-z0-9._-]{1,63})\.(?P<life>[0-9a-f]{8})\.(?P<first>\d{6,18})-(?P<last>\d{6,18})\.dbsync"
    r"(?:\.(?P<volume>\d{3}))?"
)
_RECEIPTS = re.compile(r"(?P<node>[A-Za-z0-9._-]{1,63})\.receipts\.json")
_REQUEST = re.compile(r"(?P<node>[A-Za-z0-9._-]{1,63})\.enrolment\.age")
_SEALED = re.compile(
    r"(?P<node>[A-Za-z0-9._-]{1,63})\.(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<kind>list|question|answer)\.age"
)
SIGNATURE = ".minisig"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleName:
    """The name of a bundle: whose batches of which life, from which number to which."""

    node: str
    life: str
    """The first eight digits of the incarnation."""
    first: int
    last: int

    @classmethod
    def of(cls, node: str, incarnation: UUID, first: int, last: int) -> BundleName:
        """Name the batches of one life of a node."""
        return cls(node=node, life=incarnation.hex[:8], first=first, last=last)

    def file(self, volume: int = 0) -> str:
        """Give the name of its file, or of one of its volumes.

        >>> BundleName(node="field-07", life="3f2a9c1d", first=5, last=9).file(2)
        'field-07.3f2a9c1d.000005-000009.dbsync.002'
        """
        plain = f"{self.node}.{self.life}.{self.first:06d}-{self.last:06d}.dbsync"
        return f"{plain}.{volume:03d}" if volume else plain


def read_name(text: str) -> tuple[BundleName, int] | None:
    """Read the name of a bundle's file and its volume, 0 for a whole one; None for any other name.

    >>> read_name("field-07.3f2a9c1d.000005-000009.dbsync")
    (BundleName(node='field-07', life='3f2a9c1d', first=5, last=9), 0)
    >>> read_name("../field-07.3f2a9c1d.000005-000009.dbsync") is None
    True
    """
    found = _BUNDLE.fullmatch(text)
    if found is None or int(found["first"]) > int(found["last"]) or found["volume"] == "000":
        return None
    name = BundleName(node=found["node"], life=found["life"], first=int(found["first"]), last=int(found["last"]))
    return name, int(found["volume"] or 0)


def is_of(name: BundleName, text: str) -> bool:
    """Say whether a file is a bundle's, or one of its volumes, or the signature of one.

    >>> name = BundleName(node="field-07", life="3f2a9c1d", first=5, last=9)
    >>> is_of(name, name.file(2) + SIGNATURE), is_of(name, name.file()), is_of(name, "field-07.receipts.json")
    (True, True, False)
    """
    found = read_name(text.removesuffix(SIGNATURE))
    return found is not None and found[0] == name


class Kind(StrEnum):
    """What a sealed paper is."""

    LIST = "list"
    QUESTION = "question"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedName:
    """The name of a sealed paper: of which node, which one, and what it is."""

    node: str
    id: UUID
    kind: Kind

    def file(self) -> str:
        """Give the name of its file.

        >>> SealedName(node="field-07", id=UUID(int=1), kind=Kind.LIST).file()
        'field-07.00000000-0000-0000-0000-000000000001.list.age'
        """
        return f"{self.node}.{self.id}.{self.kind.value}.age"


def read_sealed_name(text: str) -> SealedName | None:
    """Read the name of a sealed paper's file; None for any other name, its signature's too.

    >>> read_sealed_name("field-07.00000000-0000-0000-0000-000000000001.list.age").kind.value
    'list'
    >>> read_sealed_name("field-07.00000000-0000-0000-0000-000000000001.list.age.minisig") is None
    True
    """
    found = _SEALED.fullmatch(text)
    return None if found is None else SealedName(node=found["node"], id=UUID(found["id"]), kind=Kind(found["kind"]))


def receipts_name(node: str) -> str:
    """Name the file of a node's receipts."""
    return f"{node}.receipts.json"


def certificate_name(node: str) -> str:
    """Name the file of a node's certificate."""
    return f"{node}.certificate.json"


def lists_name(node: str) -> str:
    """Name the file that says which lists of a node have arrived."""
    return f"{node}.lists.json"


def invitation_name(node: str) -> str:
    """Name the file in which a node finds the keys of its upstream."""
    return f"{node}.invitation.json"


def request_name(node: str) -> str:
    """Name the file in which a node asks to be let in."""
    return f"{node}.enrolment.age"


def read_request_name(text: str) -> str | None:
    """Give the node that asks to be let in by a file of this name.

    >>> read_request_name("field-07.enrolment.age"), read_request_name("field-07.enrolment.age.minisig")
    ('field-07', None)
    """
    found = _REQUEST.fullmatch(text)
    return None if found is None else found["node"]


def read_receipts_name(text: str) -> str | None:
    """Give the node whose receipts a file of this name holds.

    >>> read_receipts_name("field-07.receipts.json"), read_receipts_name("field-07.receipts.json.minisig")
    ('field-07', None)
    """
    found = _RECEIPTS.fullmatch(text)
    return None if found is None else found["node"]
