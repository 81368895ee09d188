"""A column goes, and one gets another name."""

from typing import Any, ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("growing", "m02_added")]
    operations: ClassVar[list[Any]] = [
        migrations.RemoveField("patient", "fax"),
        migrations.RenameField("patient", "first_name", "given_name"),
    ]
