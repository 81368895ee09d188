"""Serving the pages for people: by themselves; beside what nodes reach, see serve."""

from __future__ import annotations

from dbsync.config.models import Config
from dbsync.dashboard.app import Dashboard
from dbsync.pulse import PATIENCE, PULSE
from dbsync.service.notify import vouching
from dbsync.web.serve import ready, refuse_in_the_clear


def serve_pages(config: Config) -> None:
    """Serve the pages until told to stop. Raises ConfigError where passwords would not be safe."""
    refuse_in_the_clear(config.web)  # before the database is asked
    dashboard = Dashboard(config=config, listening=config.web)
    with (
        dashboard.opened() as app,
        ready(app, config.web, at_end=dashboard.live.stop) as serving,
        vouching(lambda: PULSE.silent < PATIENCE),
    ):
        serving.run()
