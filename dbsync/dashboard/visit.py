"""A request by somebody who is logged in, and what a page is made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from jinja2 import Environment
from starlette.responses import HTMLResponse, Response

from dbsync import __version__
from dbsync.config.models import Config
from dbsync.dashboard.door import Visitor
from dbsync.dashboard.facts import Facts
from dbsync.dashboard.said import templates
from dbsync.dashboard.sentence import health
from dbsync.dashboard.users import Role
from dbsync.errors import DbsyncError

_STATUS = {1: 409, 2: 400, 69: 503, 75: 503}
"""HTTP's status for an error's exit code: a refusal, words that are off, out of reach, in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request, read."""

    who: Visitor
    root: str
    """The path before every page's own."""
    query: Mapping[str, str]
    path: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    def asked(self, name: str) -> str:
        """Give a word of the query; empty where there is none."""
        return self.query.get(name, "").strip()


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What every page has around it."""

    config: Config
    assets: str = ""
    """What stands in the address of the files that pages are shown with."""

    @cached_property
    def _templates(self) -> Environment:
        return templates(self.assets)

    def may_act(self, who: Visitor) -> bool:
        """Say whether somebody may do what the pages offer."""
        return self.config.web.allow_actions and who.role is Role.OPERATOR

    def page(self, visit: Visit, template: str, facts: Facts, **said: object) -> Response:
        """Render a page for somebody."""
        who = visit.who
        html = self._templates.get_template(template).render(
            place=self.config.node.name,
            root=visit.root,
            who=who,
            acts=self.may_act(who),
            facts=facts,
            health=health(facts),
            version=__version__,
            **said,
        )
        return HTMLResponse(html)

    def alone(self, root: str, template: str, *, status: int = 200, **said: object) -> Response:
        """Render a page that tells nothing: for somebody who is not logged in, or while nothing can be told."""
        html = self._templates.get_template(template).render(place=self.config.node.name, root=root, **said)
        return HTMLResponse(html, status_code=status)

    def failed(self, root: str, error: DbsyncError, back: str) -> Response:
        """Say an error with its four parts."""
        return self.alone(root, "failed.html", status=_STATUS.get(error.exit_code, 500), error=error, back=back)

    def part(self, name: str, root: str, facts: Facts) -> str:
        """Render a part of pages by itself, as it is sent to those that show it."""
        return self._templates.get_template(f"parts/{name}.html").render(
            root=root, facts=facts, health=health(facts), version=__version__
        )
