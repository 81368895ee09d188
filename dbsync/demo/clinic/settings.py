"""Settings of the clinic; CLINIC_DSN, a libpq connection string, names the database."""

import os

from psycopg.conninfo import conninfo_to_dict

_PARTS = conninfo_to_dict(os.environ.get("CLINIC_DSN", ""))

SECRET_KEY = "a demo needs no secret"  # noqa: S105
USE_TZ = True
TIME_ZONE = "Africa/Nairobi"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "dbsync.demo.clinic.apps.ClinicConfig"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _PARTS.get("dbname", "clinic"),
        "USER": _PARTS.get("user", ""),
        "PASSWORD": _PARTS.get("password", ""),
        "HOST": _PARTS.get("host", ""),
        "PORT": _PARTS.get("port", ""),
    }
}
