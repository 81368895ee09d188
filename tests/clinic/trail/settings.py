"""Settings of the app with the trails; CLINIC_DSN names the database, as for the clinic."""

from tests.clinic.settings import DATABASES, MIDDLEWARE, PASSWORD_HASHERS, SECRET_KEY, TEMPLATES, TIME_ZONE, USE_TZ

__all__ = [
    "DATABASES",
    "DEFAULT_AUTO_FIELD",
    "INSTALLED_APPS",
    "PASSWORD_HASHERS",
    "SECRET_KEY",
    "TEMPLATES",
    "TIME_ZONE",
    "USE_TZ",
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "tests.clinic.trail",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "auditlog",
    "easyaudit",
    "guardian",
    "reversion",
    "taggit",
]
MIDDLEWARE = [*MIDDLEWARE, "easyaudit.middleware.easyaudit.EasyAuditMiddleware"]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
