"""A column gets another type, which rewrites the table, and a key column gets longer."""

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("growing", "m03_gone")]
    operations: ClassVar[list[Any]] = [
        migrations.AlterField("patient", "weight", models.DecimalField(max_digits=8, decimal_places=3, null=True)),
        migrations.AlterField("patient", "number", models.CharField(max_length=40, unique=True)),
    ]
