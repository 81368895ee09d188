"""Settings of the clinic with dbsync as a guest in it: one line more."""

from tests.clinic.settings import *  # noqa: F403
from tests.clinic.settings import INSTALLED_APPS as CLINIC

INSTALLED_APPS = [*CLINIC, "dbsync.contrib.django"]
