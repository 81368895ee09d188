"""A table goes."""

from typing import Any, ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("growing", "m05_visits")]
    operations: ClassVar[list[Any]] = [migrations.DeleteModel("Leaflet")]
