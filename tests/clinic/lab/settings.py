"""Settings of the app alone; CLINIC_DSN names the database, as for the clinic. They print, as real ones do."""

from tests.clinic.settings import DATABASES, SECRET_KEY, TIME_ZONE, USE_TZ

__all__ = ["AUTH_USER_MODEL", "DATABASES", "DEFAULT_AUTO_FIELD", "INSTALLED_APPS", "SECRET_KEY", "TIME_ZONE", "USE_TZ"]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "lab.Staff"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tests.clinic.lab", "dbsync.contrib.django"]
print("the settings of the laboratory")
