"""Papers: small things that somebody signs and others carry, each written in one way only and read without mercy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.strict import members_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(Generic[T]):
    """One kind of paper."""

    name: str
    """What it is called where it is not believed: ``the certificate``."""
    comment: str
    """Its trusted comment: a signature under another one is for something else."""
    say: Callable[[T], Mapping[str, Any]]
    """Says it as JSON."""
    understand: Callable[[Mapping[str, Any]], T]
    """Reads what was said; anything it raises but an error of the program says that this is none."""
    hint: str = ""

    def write(self, found: T, keys: Keys) -> Signed:
        """Write and sign one."""
        data = self._written(found)
        return Signed(data=data, signature=keys.sign(data, self.comment))

    def read(self, signed: Signed, keys: PublicKeys) -> T:
        """Read one by whoever has these keys. Raises FormatError for anything else."""
        if keys.verify(signed.data, signed.signature) != self.comment:
            raise self.refused("the signature is for something else")
        return self.told(signed.data)

    def told(self, data: bytes) -> T:
        """Read one whose signature was checked before. Raises FormatError for what is none, or is written in another way."""
        try:
            found = self.understand(members_of(orjson.loads(data)))
            same = self._written(found) == data
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self.refused("it cannot be read") from None
        if not same:
            raise self.refused("it is not written as version 1 writes it")
        return found

    def refused(self, why: str) -> FormatError:
        """Make the error for one that is not believed."""
        return FormatError(f"{self.name} is not believed", where=self.name.split()[-1], why=why, hint=self.hint)

    def _written(self, found: T) -> bytes:
        return orjson.dumps(dict(self.say(found)))
