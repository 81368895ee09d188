"""The app itself: what is done when Django is ready. dbsync's own modules are imported when they are needed, not at each start."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, register
from django.db.models.signals import post_migrate


class DbsyncConfig(AppConfig):
    """``INSTALLED_APPS = [..., "dbsync.contrib.django"]``: it has no models and makes no tables."""

    name = "dbsync.contrib.django"
    label = "dbsync"
    verbose_name = "dbsync"

    def ready(self) -> None:
        """Take part in ``manage.py check`` and ``manage.py migrate``."""
        register(_check, Tags.models)
        post_migrate.connect(_look, sender=self, dispatch_uid="dbsync.drift")


def _check(app_configs: Any, **_: Any) -> list[CheckMessage]:
    from dbsync.contrib.django.modelled import check_models  # noqa: PLC0415 - see above

    return check_models(app_configs)


def _look(using: str, verbosity: int = 1, **_: Any) -> None:
    from dbsync.contrib.django.drift import look  # noqa: PLC0415 - see above

    look(using, verbosity)
