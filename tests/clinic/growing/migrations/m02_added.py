"""Columns come: one that may be null, one that must not be, and rows are changed in the same transaction."""

from typing import Any, ClassVar

from django.db import migrations, models


def weigh(apps: Any, schema_editor: Any) -> None:
    apps.get_model("growing", "Patient").objects.filter(weight=None).update(weight=1)


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("growing", "m01_first")]
    operations: ClassVar[list[Any]] = [
        migrations.AddField("patient", "born", models.DateField(null=True)),
        migrations.RunPython(weigh),
        migrations.AddField("patient", "consent", models.CharField(max_length=10, default="asked")),
    ]
