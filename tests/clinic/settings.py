"""Settings of the clinic; CLINIC_DSN, a libpq connection string, names the database."""

import os

from psycopg.conninfo import conninfo_to_dict

_PARTS = conninfo_to_dict(os.environ.get("CLINIC_DSN", ""))

SECRET_KEY = "a test needs no secret"
USE_TZ = True
TIME_ZONE = "Africa/Nairobi"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "clinic.User"
SITE_ID = 1
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# The clinic comes first so that its signal handlers run before those that create content types.
INSTALLED_APPS = [
    "tests.clinic.apps.ClinicConfig",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.sites",
    "django.contrib.admin",
    "simple_history",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
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
