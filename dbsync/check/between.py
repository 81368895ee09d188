"""What takes both ends to tell: what either is asked is told among the upstream's findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from dbsync.check import clock
from dbsync.check.log import Known
from dbsync.check.lookups import of_lookups
from dbsync.check.namesake import of_namesakes
from dbsync.check.quarantine import of_quarantine
from dbsync.check.side import Examined, Session, read_only
from dbsync.config.models import Config
from dbsync.model.findings import Finding
from dbsync.model.registration import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Both ends of a link, as far as they answer."""

    here: Examined
    there: Examined
    registry: Registry
    config: Config

    def compare(self) -> None:
        """Compare the lookups and the clocks; dbsync's own schema is not needed for that."""
        self._ask("lookups", self._lookups)
        self._ask("clocks", self._clocks)

    def remember(self, known: Known) -> None:
        """Ask the upstream what it has of this node."""
        self._ask("the quarantine", lambda _, there: of_quarantine(there, known.lineage, here=False))
        self._ask("other databases of this name", lambda _, there: of_namesakes(there, known, self.config))

    def _ask(self, what: str, questions: Callable[[Session, Session], Iterator[Finding]]) -> None:
        source = self.here.session
        if source is not None:
            self.there.glance(what, lambda upstream: questions(source, upstream))

    def _lookups(self, source: Session, upstream: Session) -> Iterator[Finding]:
        if self.here.catalog is None or self.there.catalog is None:
            return
        with read_only(source):
            yield from of_lookups(
                source,
                upstream,
                self.registry,
                self.here.catalog,
                self.there.catalog,
                installed=self.here.revision is not None and self.there.revision is not None,
            )

    def _clocks(self, source: Session, upstream: Session) -> Iterator[Finding]:
        return clock.of_clocks(source, partial(clock.now, upstream), self.config.service.clock_limit)
