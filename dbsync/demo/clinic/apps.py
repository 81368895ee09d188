"""The clinic as a Django app."""

from django.apps import AppConfig


class ClinicConfig(AppConfig):
    """The app ``clinic``."""

    name = "dbsync.demo.clinic"
    label = "clinic"
    default_auto_field = "django.db.models.BigAutoField"
