"""The clinic as a Django app."""

import os
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class ClinicConfig(AppConfig):
    """The app ``clinic``."""

    name = "tests.clinic"
    label = "clinic"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(shift_ids, sender=self)


def shift_ids(using: str, **_: Any) -> None:
    """Let content types and permissions begin at CLINIC_FIRST_ID, since on real nodes their ids differ too.

    Django creates those rows after the migrations, in the handlers that follow this one.
    """
    first = int(os.environ.get("CLINIC_FIRST_ID", "1"))
    with connections[using].cursor() as cursor:
        for table in ("django_content_type", "auth_permission"):
            if first > 1:
                cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s, false)", [table, first])
